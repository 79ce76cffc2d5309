"""Steps in few calls are the simulator's steps, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.networks.build import build_network
from ccenv.networks.mlp import GatedMLP

NETWORKS = (
    {"num_blocks": (3, 5, 2), "block_size": (4, 2, 3), "head_units": (7,)},
    {"num_blocks": (4,), "block_size": 8, "activation": "relu"},
    {"num_blocks": (2, 2), "block_size": 16},
)


def make_env(sizes, rows=6, quickly=True, **more):
    network = build_network(GatedMLP, 0, in_features=64, **sizes)
    env = BlockSelectionVectorEnv(rows, dataset="digits", network=network, **more)
    env._quick_steps.is_usual &= quickly
    env.reset(seed=0)
    return env


def goes_quickly(env):
    return env._quick_steps.fit(env.simulator)


def assert_same_bits(one, other):
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        assert_same_bits(list(one.values()), list(other.values()))
    elif isinstance(one, list | tuple):
        for a, b in zip(one, other, strict=True):
            assert_same_bits(a, b)
    else:
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


def spoil(found):
    """Overwrites all that a step has given, as its caller may."""
    for value in found.values() if isinstance(found, dict) else found:
        if isinstance(value, np.ndarray) and value.flags.writeable:
            value[...] = 1
        elif isinstance(value, dict | tuple | list):
            spoil(value)


@settings(max_examples=15, deadline=None)
@given(
    sizes=st.sampled_from(NETWORKS),
    group=st.sampled_from((1, 3)),
    mode=st.sampled_from(("SAME_STEP", "NEXT_STEP")),
    dtype=st.sampled_from((bool, np.int8, np.int64, np.float32)),
    price=st.sampled_from((0.0, 0.37, 1.0, 8.0)),
    observation=st.sampled_from(("layer_input", "summary")),
    seed=st.integers(0, 99),
)
def test_quick_steps_are_the_simulators_bit_for_bit_whatever_callers_overwrite(
    sizes, group, mode, dtype, price, observation, seed
):
    more = {"group_size": group, "autoreset_mode": mode, "reward_kwargs": {"cost_weight": price}}
    quick, plain = (make_env(sizes, 6, q, observation=observation, **more) for q in (True, False))
    assert goes_quickly(quick)
    assert not goes_quickly(plain)
    assert_same_bits(quick.reset(seed=seed), plain.reset(seed=seed))
    numbers = np.random.default_rng(seed)
    for _ in range(2 * quick.simulator.num_layers + 2):
        bits = (numbers.random(quick.action_space.shape) < 0.6).astype(dtype)
        theirs, ours = plain.step(bits.copy()), quick.step(bits)
        assert_same_bits(ours, theirs)
        assert_same_bits(quick.simulator.state.macs.numpy(), plain.simulator.state.macs.numpy())
        # The next step depends on nothing that a caller holds; of its twin all stays as it is.
        spoil(ours)
        bits[...] = 1


@pytest.mark.parametrize("odd", [2, -1, 255])
def test_what_is_no_bit_is_refused_and_the_episode_goes_on(odd):
    env = make_env(NETWORKS[2])
    env.reset(seed=0)
    bits = np.zeros((6, 2), dtype=np.int16 if odd == 255 else np.int8)
    bits[3, 1] = odd
    with pytest.raises(ValueError, match=f"0 or 1, got {odd};"):
        env.step(bits)
    with pytest.raises(ValueError, match="shape"):
        env.step(np.zeros((6, 3), dtype=np.int8))
    with pytest.raises(TypeError, match="array of bits"):
        env.step(np.full((6, 2), "1"))
    assert env.simulator.layer == 0
    frozen = np.ones((2, 6), dtype=np.int8).T
    frozen.flags.writeable = False
    assert env.step(frozen)[4]["mask"].all()


def test_other_rewards_networks_and_actions_go_the_simulators_way():
    assert not goes_quickly(make_env(NETWORKS[1], reward="terminal_cost"))
    assert not goes_quickly(make_env(NETWORKS[1], action="weight"))
    assert not goes_quickly(make_env(NETWORKS[1], weights="cotrain"))
    assert not goes_quickly(make_env(NETWORKS[1], context={"cost_weight": 1.0}))
    env = make_env(NETWORKS[1])
    env.simulator.reward = env.simulator.reward.held()
    assert not goes_quickly(env)


def test_answers_that_are_no_numbers_are_refused():
    env = make_env(NETWORKS[1])
    env.reset(seed=0)
    env.simulator.network.head_layers[0].bias[0] = np.inf
    with pytest.raises(ValueError, match="finite logits"):
        env.step(np.ones((6, 4), dtype=np.int8))
