"""The environment's setting `dtype`: what a policy sees and is paid, how a network learns."""

import pytest
import torch

import ccenv
from ccenv.agents import AGENTS
from ccenv.annexes.deploy.export import SkippingClassifier
from ccenv.annexes.deploy.latency import measure_latency
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.networks.core.precision import dtype_of
from ccenv.simulator.rollout import collect_rollout
from ccenv.simulator.simulator import Simulator
from tests.ccenv.episodes import same_weights, seeded

SETTINGS = {"dataset": "probe", "num_blocks": (4, 4), "block_size": 8, "weights": "cotrain"}


def simulator_of(rows=8, **settings):
    return seeded(rows, **{**SETTINGS, "dtype": "bfloat16", **settings})


def learned(dtype, **settings):
    """A rollout, and the network after one update."""
    simulator = simulator_of(dtype=dtype, group_size=4, **settings)
    agent = AGENTS["rloo"](simulator, seed=0, sampling="independent")
    rollout = collect_rollout(simulator, agent, agent.generator)
    told = agent.update(rollout) | simulator.update_network()
    return rollout, told, simulator


@pytest.mark.parametrize("observation", ["layer_input", "summary"])
def test_observations_returns_and_weights_are_float32_and_near_those_of_float32(observation):
    rollout, told, simulator = learned("bfloat16", observation=observation)
    expected, wanted, _ = learned("float32", observation=observation)
    assert rollout.observations.dtype == rollout.returns.dtype == torch.float32
    assert not torch.equal(rollout.observations, expected.observations)
    torch.testing.assert_close(rollout.observations, expected.observations, atol=0.03, rtol=0.03)
    torch.testing.assert_close(rollout.returns, expected.returns, atol=0.05, rtol=0.05)
    assert told["network_loss"] == pytest.approx(wanted["network_loss"], rel=0.03)
    tensors = [*simulator.network.parameters(), *simulator.trainer.network.state_dict().values()]
    assert all(one.dtype == torch.float32 and bool(one.isfinite().all()) for one in tensors)
    states = simulator.trainer.optimizer.state.values()
    moments = [part for state in states for part in state.values()]
    assert {part.dtype for part in moments} == {torch.float32}


def test_a_seed_gives_the_same_run_again_and_the_weights_before_it_are_those_of_float32():
    _, told, simulator = learned("bfloat16")
    _, again, _ = learned("bfloat16")
    assert told == again
    simulator.seed(0)
    assert same_weights(simulator.network, simulator_of(dtype="float32").network)


@pytest.mark.parametrize("dtype", ["float16", torch.bfloat16, None, [1]])
def test_another_dtype_is_refused_before_anything_is_loaded(dtype):
    with pytest.raises(ValueError, match=r"expected dtype of 'float32' or 'bfloat16', got"):
        Simulator(2, dataset="there is none", dtype=dtype)


def test_a_view_shows_float32_and_passes_the_checker():
    env = BlockSelectionVectorEnv(4, **SETTINGS, dtype="bfloat16")
    ccenv.check_vector_env(env)


def test_an_exported_classifier_computes_in_it_and_says_what_it_has_not(tmp_path):
    simulator = simulator_of()
    agent = AGENTS["reinforce"](simulator, seed=0)
    SkippingClassifier.from_agent(agent).save(tmp_path / "classifier.safetensors")
    loaded = SkippingClassifier.load(tmp_path / "classifier.safetensors")
    assert dtype_of(loaded.network) == "bfloat16"
    images, _ = simulator.data.batch(torch.arange(5))
    simulator.begin(torch.arange(5))
    for mask in loaded.classify(images)[1]:
        outcome = simulator.step(mask).outcome
    torch.testing.assert_close(loaded(images), outcome.logits, atol=0.02, rtol=0.02)
    with pytest.raises(ValueError, match="in float32 on the CPU"):
        loaded.fuse()
    assert measure_latency(simulator, agent, 1, repeats=2).dense_milliseconds > 0
