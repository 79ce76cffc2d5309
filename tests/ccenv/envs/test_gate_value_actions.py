"""Laws of `action="weight"`: gate values as actions of Gymnasium's two views."""

import numpy as np
import pytest

import ccenv

EXPERTS = {
    "dataset": "digits",
    "network": "experts",
    "network_kwargs": {
        "num_experts": 4,
        "expert_size": 3,
        "channels": (2, 2),
        "first_units": 2,
    },
    "weights": "cotrain",
}
LAYERS = {"dataset": "digits", "num_blocks": (3, 5), "block_size": 4, "weights": "cotrain"}
BOTH = pytest.mark.parametrize("settings", [EXPERTS, LAYERS], ids=["experts", "layers"])


def played(env, actions, seed=3):
    """Rewards and infos of an episode."""
    env.reset(seed=seed)
    return [env.step(action)[1::3] for action in actions]


@BOTH
def test_values_of_zero_and_one_are_masks_bit_for_bit(settings):
    masks = ccenv.BlockSelectionVectorEnv(6, **settings)
    weights = ccenv.BlockSelectionVectorEnv(6, action="weight", **settings)
    masks.action_space.seed(0)
    gates = range(masks.simulator.num_layers)
    actions = [masks.action_space.sample() for _ in gates]
    for first, second in zip(
        played(masks, actions),
        played(weights, [a.astype(np.float32) for a in actions]),
        strict=True,
    ):
        assert np.array_equal(first[0], second[0])
        assert np.array_equal(first[1]["mask"], second[1]["mask"])
        assert np.array_equal(first[1]["macs"], second[1]["macs"])


@BOTH
def test_values_count_and_zero_is_not_computed(settings):
    env = ccenv.BlockSelectionVectorEnv(6, action="weight", **settings)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(env.simulator.num_layers)]
    for action in actions:
        action[:, 0] = 0
    whole = [(action > 0).astype(np.float32) for action in actions]
    own, ones = played(env, actions)[-1], played(env, whole)[-1]
    assert not own[1]["mask"][:, 0].any()
    assert own[1]["mask"][:, 1:3].all()
    assert np.array_equal(own[1]["macs"], ones[1]["macs"])
    assert (own[1]["nll"] != ones[1]["nll"]).all()


@pytest.mark.parametrize(
    ("settings", "action", "message"),
    [
        ({}, [0.5, 1.5, 0, 0], r"in \[0, 1\], got 1.5"),
        ({}, [0.5, np.nan, 0, 0], r"in \[0, 1\], got nan"),
        ({}, [0.5, 1], r"shape \[4\], one gate value a block, got \[2\]"),
        ({"action": "mask"}, [0.5, 1, 0, 0], "0 or 1, got 0.5"),
    ],
)
def test_other_actions_are_refused(settings, action, message):
    env = ccenv.BlockSelectionEnv(**{"action": "weight"} | settings, **EXPERTS)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(np.array(action))


def test_an_unknown_kind_of_action_is_refused():
    with pytest.raises(ValueError, match="unknown action"):
        ccenv.BlockSelectionVectorEnv(4, action="values", **EXPERTS)
