"""Laws of obliviousness: one trace for all inputs, the same answers, a bill of all it touches."""

import pytest
import torch

from ccenv.agents.noisy_topk import NoisyTopK
from ccenv.agents.reference_policies import BlockDropout
from ccenv.agents.topk import TopK
from ccenv.base.masks import random_mask
from ccenv.base.seeding import stream
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.rollout import collect_rollout
from ccenv.simulator.simulator import Simulator

EXPERTS = {"num_experts": 6, "expert_size": 4, "channels": [2, 4], "first_units": 4}
PLACES = {
    "mlp": {"num_blocks": (4, 6), "block_size": 4},
    "experts": {"network": "experts", "network_kwargs": EXPERTS},
    "resnet": {"network": "resnet", "network_kwargs": {"depth": 8, "width": 4}},
    "probe-exit": {"network": "probe-exit", "dataset": "probe"},
}


def simulator_of(name, rows=24, **more):
    simulator = Simulator(rows, **{"dataset": "digits", "weights": "cotrain"} | PLACES[name] | more)
    simulator.seed(0)
    return simulator


def episode(simulator, masks):
    simulator.begin(torch.arange(len(masks[0])))
    return [simulator.step(mask) for mask in masks]


@pytest.mark.parametrize("name", PLACES)
def test_every_input_leaves_the_same_trace_and_has_the_answer_that_its_masks_say(name):
    plain = simulator_of(name)
    masks = [random_mask(24, n, 0.5, stream(g, "m")) for g, n in enumerate(plain.num_blocks)]
    expected = episode(plain, masks)
    wrapped = simulator_of(name).obliviously()
    found = episode(wrapped, masks)
    torch.testing.assert_close(
        found[-1].outcome.logits, expected[-1].outcome.logits, atol=1e-5, rtol=1e-5
    )
    # Unwrapped, inputs are told apart by what they touch.
    assert any(len(step.outcome.mask.unique(dim=0)) > 1 for step in expected)
    assert all(len(seen.unique(dim=0)) == 1 for seen in wrapped.oblivious.trace)
    first = [seen[0].tolist() for seen in wrapped.oblivious.trace]
    episode(wrapped, [~mask for mask in masks])
    assert [seen[0].tolist() for seen in wrapped.oblivious.trace] == first
    assert (found[-1].outcome.macs == plain.dense_macs).all()


def test_slots_are_filled_up_billed_and_hide_how_many_blocks_were_asked_for():
    wrapped = simulator_of("mlp").obliviously(3)
    masks = [random_mask(24, n, 0.3, stream(n, "masks")) for n in (4, 6)]
    few = [mask & (mask.int().cumsum(dim=1) <= 3) for mask in masks]
    found, expected = episode(wrapped, masks), episode(simulator_of("mlp"), few)
    torch.testing.assert_close(found[-1].outcome.logits, expected[-1].outcome.logits)
    assert all((step.outcome.mask.sum(dim=1) == 3).all() for step in found)
    assert [len(seen.unique(dim=0)) for seen in wrapped.oblivious.trace] == [1, 1]
    assert [seen.shape[1] for seen in wrapped.oblivious.trace] == [4 + 3, 6 + 3]
    assert wrapped.oblivious.num_reads == [4, 6]
    # 64 pixels to 3 blocks of 4, these to 3 blocks of 4, these to 10 classes.
    assert found[-1].outcome.macs.unique().tolist() == [64 * 12 + 12 * 12 + 12 * 10]


def test_a_policy_is_judged_under_it_as_it_is_and_pays_more():
    simulator = simulator_of("mlp")
    agent = BlockDropout(simulator, keep_probability=0.5)
    plain, wrapped = evaluate(simulator, agent), evaluate(simulator.obliviously(), agent)
    assert wrapped.error == pytest.approx(plain.error, abs=3 / plain.num_images)
    assert (wrapped.compute_cost, wrapped.density) == (pytest.approx(1), (1.0, 1.0))
    assert plain.compute_cost < 0.6


@pytest.mark.parametrize("make", [TopK, NoisyTopK])
def test_a_network_that_learns_along_learns_from_what_was_chosen(make):
    plain, wrapped = simulator_of("experts"), simulator_of("experts").obliviously()
    for simulator in (plain, wrapped):
        agent = make(simulator, num_kept=2)
        collect_rollout(simulator, agent, agent.generator)
        simulator.update_network()
    pairs = zip(plain.network.parameters(), wrapped.network.parameters(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in pairs)


def test_what_cannot_be_hidden_is_refused():
    with pytest.raises(ValueError, match=r"slots in 1\.\.num_blocks"):
        simulator_of("mlp").obliviously(5)
