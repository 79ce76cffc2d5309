"""Laws of one trace for all inputs, and of context, concurrent and oblivious on one simulator."""

import copy

import pytest
import torch

from ccenv.agents import AGENTS
from ccenv.annexes.simulator.oblivious import Oblivious
from ccenv.base.seeding import stream
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.resume import restore_simulator, simulator_state
from ccenv.simulator.rollout import collect_rollout, walk
from ccenv.simulator.simulator import Simulator
from tests.ccenv.episodes import episode, masks_for, seeded, walked
from tests.ccenv.simulator.test_concurrent import composite_answer, copies_at_gates

BLOCKS = (4, 6)
PRICES = {"cost_weight": (0.1, 10.0)}
BUDGETS = {"budget": (0.3, 0.9), "distribution": "uniform"}
TOGETHER = [
    {"context": PRICES, "oblivious": "all"},
    {"context": PRICES, "oblivious": [2, 3]},
    {"context": PRICES, "concurrent": "inactive"},
    {"context": BUDGETS, "concurrent": "unsafe"},
    {"concurrent": "unsafe", "oblivious": "all"},
    {"context": PRICES, "concurrent": "policy", "oblivious": 3},
]
APART = [
    ({"context": BUDGETS, "oblivious": "all"}, "got context: a budget of each input"),
    ({"context": {"budget": 0.5}, "oblivious": 2}, "got context: a budget of each input"),
    ({"concurrent": "inactive", "oblivious": 3}, "got concurrent: updates where every request"),
]


EXPERTS = {"num_experts": 6, "expert_size": 4, "channels": [2, 4], "first_units": 4}
PLACES = {
    "mlp": {"num_blocks": BLOCKS, "block_size": 4},
    "experts": {"network": "experts", "network_kwargs": EXPERTS},
    "resnet": {"network": "resnet", "network_kwargs": {"depth": 8, "width": 4}},
    "probe-exit": {"network": "probe-exit", "dataset": "probe"},
}


def simulator_of(rows=8, place="mlp", **more):
    return seeded(rows, **{"dataset": "digits", "weights": "cotrain"} | PLACES[place] | more)


@pytest.mark.parametrize("slots", ["all", [2, 3]])
def test_an_oblivious_simulator_with_prices_answers_as_the_plain_one_and_charges_its_trace(slots):
    plain, hidden = simulator_of(context=PRICES), simulator_of(context=PRICES, oblivious=slots)
    kept = BLOCKS if slots == "all" else slots
    # So few that slots cut nothing.
    masks = [m & (m.cumsum(1) <= k) for m, k in zip(masks_for(plain), kept, strict=True)]
    (seen, *_), expected = episode(plain, masks, torch.arange(8))
    (seen_too, *_), found = episode(hidden, masks, torch.arange(8))
    assert torch.equal(seen, seen_too)
    assert torch.equal(plain.context.values["cost_weight"], hidden.context.values["cost_weight"])
    for step, other in zip(found, expected, strict=True):
        assert torch.equal(step.observation[:, 0], other.observation[:, 0])
        torch.testing.assert_close(step.terms["accuracy"], other.terms["accuracy"])
        price = hidden.context.values["cost_weight"]
        assert torch.equal(step.terms["cost"], -price * step.outcome.layer_cost)
        assert len(step.outcome.layer_cost.unique()) == 1
    answers = [steps[-1].outcome.logits for steps in (found, expected)]
    torch.testing.assert_close(*answers, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["inactive", "unsafe"])
def test_with_a_budget_an_answer_is_a_composite_too_and_nobody_spends_more(kind):
    simulator = simulator_of(context=BUDGETS, concurrent=kind)
    for seed in range(3):
        before = copy.deepcopy(simulator.network)
        versions = copies_at_gates(simulator, simulator.network)
        steps = walked(simulator, masks_for(simulator, seed, 0.9))
        executed = [step.outcome.mask for step in steps]
        logits, images = steps[-1].outcome.logits, simulator.state.images
        assert torch.equal(logits, composite_answer(versions, simulator, executed))
        if kind == "inactive":
            with torch.no_grad():
                assert torch.equal(logits, before(images, executed))
        limit = simulator.context.values["budget"].double() * simulator.dense_macs
        assert bool((steps[-1].outcome.macs <= limit).all())
    assert simulator.network_version == 2


def test_obliviously_updates_land_between_gates_and_the_trace_stays():
    simulator = simulator_of(concurrent="unsafe", oblivious="all")
    told = [walked(simulator, masks_for(simulator, seed))[-1].told for seed in range(3)]
    assert [one["versions"][0].tolist() for one in told] == [[0, 0, 0], [0, 1, 1], [1, 2, 2]]
    assert all(float(one["writable_share"].max()) == 0 for one in told)
    assert all(len(seen.unique(dim=0)) == 1 for seen in simulator.extension("oblivious").trace)


@pytest.mark.parametrize("settings", TOGETHER, ids=str)
def test_agents_learn_are_judged_and_resume_in_each_combination(settings):
    whole, stopped = simulator_of(**settings), simulator_of(**settings)
    agent = AGENTS["reinforce"](whole)
    agent.learn(32)
    verdict = evaluate(whole, agent, split="validation")
    assert len(verdict.masks) == len(BLOCKS)
    # An episode that has begun is drawn again, with its prices.
    whole.begin()
    restore_simulator(stopped, copy.deepcopy(simulator_state(whole)))
    assert torch.equal(whole.observe(whole.state), stopped.observe(stopped.state))
    walks = [walk(simulator, agent, stream(1, "draws")) for simulator in (whole, stopped)]
    assert all(map(torch.equal, *(observations for observations, _, _ in walks)))
    for one, other in zip(*(steps for _, _, steps in walks), strict=True):
        assert torch.equal(one.reward, other.reward)
        assert all(torch.equal(one.told[name], other.told[name]) for name in one.told)
    if "cost_weight" in settings.get("context", {}):
        low, high = (
            evaluate(whole.at(cost_weight=w), agent, deterministic=True) for w in (0.1, 10.0)
        )
        assert high.mean_return < low.mean_return
    if "oblivious" in settings:
        assert len(set(verdict.masks[0].sum(dim=1).tolist())) == 1


@pytest.mark.parametrize(("settings", "reason"), APART, ids=str)
def test_what_would_tell_inputs_apart_is_refused_beside_oblivious_before_anything_is_loaded(
    settings, reason
):
    nowhere = {"dataset": lambda split: pytest.fail("a data set was loaded")}
    with pytest.raises(ValueError, match=reason):
        Simulator(4, **PLACES["mlp"] | {"weights": "cotrain"} | nowhere | settings)
    built = {n: value for n, value in settings.items() if n != "oblivious"}
    with pytest.raises(ValueError, match=reason):
        simulator_of(**built).extended(Oblivious())


def test_copies_that_judge_share_no_extension_with_what_they_were_copied_from():
    simulator = simulator_of(context=PRICES, concurrent="unsafe", oblivious="all")
    before = repr(simulator_state(simulator))
    prices = simulator.context.values
    for other in (simulator.on_split("validation", 5), simulator.at(cost_weight=2.0)):
        steps = walked(other, masks_for(other))
        assert other.extension("concurrent") is None
        assert not steps[-1].told
        assert set(map(id, other.extensions)).isdisjoint(map(id, simulator.extensions))
    assert simulator.context.values is prices
    assert not simulator.extension("oblivious").trace
    assert repr(simulator_state(simulator)) == before


@pytest.mark.parametrize("name", PLACES)
def test_every_input_leaves_the_same_trace_and_has_the_answer_that_its_masks_say(name):
    plain = simulator_of(24, name)
    masks = masks_for(plain)
    expected = walked(plain, masks)
    wrapped = simulator_of(24, name).extended(Oblivious())
    found = walked(wrapped, masks)
    torch.testing.assert_close(
        found[-1].outcome.logits, expected[-1].outcome.logits, atol=1e-5, rtol=1e-5
    )
    # Unwrapped, inputs are told apart by what they touch.
    assert any(len(step.outcome.mask.unique(dim=0)) > 1 for step in expected)
    assert all(len(seen.unique(dim=0)) == 1 for seen in wrapped.extension("oblivious").trace)
    first = [seen[0].tolist() for seen in wrapped.extension("oblivious").trace]
    walked(wrapped, [~mask for mask in masks])
    assert [seen[0].tolist() for seen in wrapped.extension("oblivious").trace] == first
    assert (found[-1].outcome.macs == plain.dense_macs).all()


def test_slots_are_filled_up_billed_and_hide_how_many_blocks_were_asked_for():
    wrapped = simulator_of(24).extended(Oblivious(3))
    masks = masks_for(wrapped, density=0.3)
    few = [mask & (mask.int().cumsum(dim=1) <= 3) for mask in masks]
    found, expected = walked(wrapped, masks), walked(simulator_of(24), few)
    torch.testing.assert_close(found[-1].outcome.logits, expected[-1].outcome.logits)
    assert all((step.outcome.mask.sum(dim=1) == 3).all() for step in found)
    assert [len(seen.unique(dim=0)) for seen in wrapped.extension("oblivious").trace] == [1, 1]
    assert [seen.shape[1] for seen in wrapped.extension("oblivious").trace] == [4 + 3, 6 + 3]
    # 64 pixels to 3 blocks of 4, these to 3 blocks of 4, these to 10 classes.
    assert found[-1].outcome.macs.unique().tolist() == [64 * 12 + 12 * 12 + 12 * 10]


@pytest.mark.parametrize("make", [AGENTS["topk"], AGENTS["noisy_topk"]])
def test_a_network_that_learns_along_learns_from_what_was_chosen(make):
    plain, wrapped = simulator_of(24, "experts"), simulator_of(24, "experts").extended(Oblivious())
    for simulator in (plain, wrapped):
        agent = make(simulator, num_kept=2)
        collect_rollout(simulator, agent, agent.generator)
        simulator.update_network()
    pairs = zip(plain.network.parameters(), wrapped.network.parameters(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in pairs)


def test_what_cannot_be_hidden_is_refused():
    with pytest.raises(ValueError, match=r"slots in 1\.\.num_blocks"):
        simulator_of(24).extended(Oblivious(5))
