"""Laws of what constructors say of odd settings: what was expected, what came, what to do."""

import inspect
import re

import gymnasium as gym
import numpy as np
import pytest
import torch

import ccenv
from ccenv.agents.reinforce import Reinforce
from ccenv.base.values import MOST_SHOWN, shown
from ccenv.data import Split
from ccenv.envs.scalar import BlockSelectionEnv
from ccenv.envs.stable_baselines import BlockSelectionVecEnv
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.simulator.policy import Policy
from ccenv.simulator.settings import EXTENSIONS, setting_defaults
from ccenv.simulator.simulator import Simulator

SMALL = {"dataset": "synthetic", "weights": "cotrain", "num_blocks": (2,), "block_size": 2}
LONG = 5_000 * "x"
INPUTS = np.zeros((20, 8), np.float32)
DOORS = {
    "scalar": lambda **settings: BlockSelectionEnv(**SMALL | settings),
    "vector": lambda **settings: BlockSelectionVectorEnv(4, **SMALL | settings),
    "sb3": lambda **settings: BlockSelectionVecEnv(4, **SMALL | settings),
    "simulator": lambda **settings: Simulator(4, **SMALL | settings),
    "gymnasium": lambda **settings: gym.make("ccenv:BlockSelection-v0", **SMALL | settings),
}


ODD = [np.zeros((2, 3)), {}, int, 10**20, float("nan"), None, "", [], [1, 2], b"", object(), -1]
"""What a setting rarely is."""
ROWS = {"scalar": BlockSelectionEnv, "vector": BlockSelectionVectorEnv}


def keywords_of(kind):
    """Every keyword of an environment's constructor."""
    own = inspect.signature(kind.__init__).parameters.values()
    return {*setting_defaults(), *EXTENSIONS, *(p.name for p in own if p.kind is p.KEYWORD_ONLY)}


def refused(make):
    """Whether a value is refused in a line that says what was expected, not what Python met."""
    try:
        make()
    except (TypeError, ValueError) as error:
        text = str(error)
        if re.search("^[^\n]*(expected|unknown)[^\n]*$", text) and len(text) < 700:
            return True
        raise
    return False


def walked(env):
    """An environment after a step."""
    env.reset(seed=0)
    env.step(env.action_space.sample())


@pytest.mark.parametrize(
    ("door", "name"), [(door, name) for door in ROWS for name in sorted(keywords_of(ROWS[door]))]
)
def test_an_odd_value_works_or_is_refused_in_words_of_ours(door, name):
    for odd in ODD:
        # What is taken is taken for a whole step.
        refused(lambda odd=odd: walked(DOORS[door](**{name: odd})))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["network_kwargs", "reward_kwargs", "weights_kwargs"])
def test_keyword_arguments_are_a_mapping_of_names(door, name):
    for odd in (-1, "abc", [1], {1: 2}, np.array(3)):
        with pytest.raises(ValueError, match=f"expected {name} to be a mapping.*leave it out"):
            DOORS[door](**{name: odd})


@pytest.mark.parametrize(
    "make",
    [
        lambda number: BlockSelectionVectorEnv(number, **SMALL),
        lambda number: BlockSelectionVecEnv(number, **SMALL),
        lambda number: Simulator(number, **SMALL),
        lambda number: gym.make_vec("ccenv:BlockSelection-v0", num_envs=number, **SMALL),
    ],
)
def test_a_number_of_rows_is_one_whole_number(make):
    for odd in (np.array(3), np.array([3]), [3], (3, 4), 3.0, torch.tensor(3), True, 0, LONG):
        with pytest.raises(ValueError, match=r"expected num_envs .* give num_envs as an int") as e:
            make(odd)
        assert len(str(e.value)) < 400
    env = make(np.int64(3))
    assert type(getattr(env, "num_envs", 3)) is int


@pytest.mark.parametrize("name", ["num_blocks", "block_size", "head_units"])
def test_sizes_are_whole_numbers_and_no_array_without_dimensions(name):
    with pytest.raises(ValueError, match=f"expected {name} to be whole numbers .* give an int"):
        DOORS["simulator"](**{name: np.array(3)})


@pytest.mark.parametrize(
    "name",
    [
        "dataset",
        "split",
        "network",
        "reward",
        "observation",
        "weights",
        "activation",
        "device",
        "transforms",
    ],
)
def test_a_long_name_is_shortened_in_the_message(name):
    for long in (LONG, f"{LONG}:{LONG}", f"./{LONG}.npz"):
        with pytest.raises(ValueError, match=r"\.\.\. .*characters\)") as refused:
            DOORS["simulator"](**{name: long})
        assert len(str(refused.value)) < 700


def test_a_long_name_of_a_setting_is_shortened_in_the_message():
    with pytest.raises(ValueError, match="characters") as refused:
        DOORS["scalar"](**{LONG: 1})
    assert len(str(refused.value)) < 700


@pytest.mark.parametrize(
    "given",
    [
        (INPUTS, np.repeat([0, 10**12], 10)),
        Split(torch.zeros(20, 8), torch.zeros(20, dtype=torch.int64), 10**12),
        Split(torch.zeros(20, 8), torch.zeros(20, dtype=torch.int64), LONG),
    ],
)
def test_labels_of_more_classes_than_a_network_answers_for_are_to_be_renumbered(given):
    with pytest.raises(ValueError, match=r"expected 1 to 1,000,000 classes, got .*numpy\.unique"):
        DOORS["simulator"](dataset=lambda split: given)


class Actor(torch.nn.Linear):
    """As another library's: a module without `act`."""


class Silent:
    def act(self, observation, layer, generator=None):
        return torch.ones(len(observation), 2, dtype=torch.bool)


class Nothing(Policy):
    policy_macs = (0,)


@pytest.mark.parametrize(
    ("policy", "error", "text"),
    [
        (3, TypeError, r"expected a policy with act\(.* got 3; wrap it"),
        (Actor, TypeError, "expected a policy with act"),
        (Silent(), TypeError, "expected Silent to have policy_macs"),
        (Nothing(), NotImplementedError, r"expected Nothing to define act\("),
    ],
)
def test_what_does_not_act_is_no_policy_and_is_told_how_to_become_one(policy, error, text):
    with pytest.raises(error, match=text):
        ccenv.evaluate(DOORS["simulator"](), policy)


def test_messages_show_no_content_of_arrays_tensors_and_modules():
    array = np.zeros((3, 4))
    assert shown(array) == "ndarray [3, 4] of float64"
    assert shown(torch.tensor(array)) == "Tensor [3, 4] of torch.float64"
    assert shown(Actor(2, 2)) == "a module Actor"
    for nested in ([array], {"x": Actor(2, 2)}, object(), np.ndarray, Actor, np.float64(3)):
        assert "\n" not in shown(nested)
        assert len(shown(nested)) < 2 * MOST_SHOWN


def test_an_evaluation_is_one_line_of_its_numbers():
    env = BlockSelectionVectorEnv(4, **SMALL)
    env.reset(seed=0)
    found = ccenv.evaluate(env, Reinforce(env, seed=0))
    text = str(found)
    assert "\n" not in text
    assert len(text) < 250
    assert "tensor" not in text
    for part in (f"error {100 * found.error:.2f} %", f"density {found.density[0]:.2f}", "sampled"):
        assert part in text
    assert found.masks[0].shape == (found.num_images, 2)


@pytest.mark.parametrize(
    ("separate", "advice"),
    [("sb3", "use ccenv.sb3.BlockSelectionVecEnv"), ("gymnasium", "BlockSelectionVectorEnv")],
)
def test_separate_environments_are_not_evaluated_and_the_batched_one_is_advised(separate, advice):
    def make():
        return BlockSelectionEnv(**SMALL)

    if separate == "sb3":
        from stable_baselines3.common.vec_env import DummyVecEnv

        env = DummyVecEnv([make])
    else:
        env = gym.vector.SyncVectorEnv([make])
    with pytest.raises(TypeError, match=rf"expected a block-selection environment.*{advice}"):
        ccenv.evaluate(env, Reinforce(make(), seed=0))
