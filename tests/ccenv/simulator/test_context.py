"""Contexts: prices and budgets of each episode, what an agent sees of them and what they do."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ccenv
from ccenv.agents import AGENTS
from ccenv.annexes.simulator.context import Range, read_context
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.base.seeding import stream
from ccenv.base.snapshot import state_of
from ccenv.networks.core.mlp import dense_tail_macs
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.resume import simulator_state
from ccenv.simulator.simulator import Simulator
from tests.ccenv.episodes import UNEVEN, episode, masks_for, seeded

PRICES = {"cost_weight": (0.1, 10.0)}
SYNTHETIC = UNEVEN | {"head_units": (6,)}
BUDGETS = {"budget": (0.2, 0.9), "distribution": "uniform"}
CONTEXTS = [PRICES, BUDGETS, {"cost_weight": 0.5}, {**PRICES, "budget": 0.6}]


def simulator(context, num_images=12, **settings):
    return seeded(num_images, context=context, **(SYNTHETIC | settings))


def test_the_reward_charges_each_episode_its_own_price():
    built, plain = simulator(PRICES), seeded(12, **SYNTHETIC)
    plain.network.load_state_dict(built.network.state_dict())
    _, steps = episode(built, masks_for(built, density=0.6), torch.arange(12))
    _, unpriced = episode(plain, masks_for(built, density=0.6), torch.arange(12))
    prices = built.context.values["cost_weight"]
    assert len(set(prices.tolist())) == 12
    for step, other in zip(steps, unpriced, strict=True):
        assert torch.equal(step.terms["accuracy"], other.terms["accuracy"])
        assert torch.equal(step.terms["cost"], -prices * step.outcome.layer_cost)
        assert torch.equal(step.reward, step.terms["accuracy"] + step.terms["cost"])


def test_prices_change_between_episodes_and_never_within_one():
    built = simulator(PRICES)
    (first, *_), steps = episode(built, masks_for(built, density=0.6))
    second = built.begin()
    assert torch.equal(first[:, 0], steps[0].observation[:, 0])
    assert not torch.equal(first[:, 0], second[:, 0])


@given(low=st.floats(0.01, 1), ratio=st.floats(1.01, 100), share=st.floats(0, 1), log=st.booleans())
def test_a_value_lies_in_its_range_and_is_seen_between_minus_one_and_one(low, ratio, share, log):
    found = Range(low, low * ratio, log)
    value = found.at(torch.tensor([share]))
    assert low * (1 - 1e-5) <= value.item() <= low * ratio * (1 + 1e-5)
    assert found.place(value).item() == pytest.approx(2 * share - 1, abs=1e-2)


def test_half_of_log_uniform_prices_lie_below_the_geometric_mean():
    values = read_context(PRICES)["cost_weight"].at(torch.rand(20_000, generator=stream(0, "x")))
    assert (values < 1).float().mean().item() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("context", CONTEXTS)
def test_an_observation_is_the_other_one_with_a_column_for_each_name_before_it(context):
    built, plain = simulator(context), seeded(12, **SYNTHETIC)
    plain.network.load_state_dict(built.network.state_dict())
    names = len(context) - ("distribution" in context)
    full = [torch.ones(12, n, dtype=torch.bool) for n in (3, 5)]
    [first], _ = episode(built, [], torch.arange(12))
    [other], _ = episode(plain, full[:0], torch.arange(12))
    assert torch.equal(first[:, names:], other)
    assert built.observe.obs_size == plain.observe.obs_size + names == first.shape[1]
    assert built.observe.lengths == tuple(n + names for n in plain.observe.lengths)


@given(seed=st.integers(0, 50), budget=st.floats(0.1, 1))
@settings(max_examples=25)
def test_a_budget_is_kept_and_a_block_is_skipped_only_where_it_could_not_be_paid(seed, budget):
    built = simulator({"budget": budget})
    chosen = masks_for(built, seed, 0.9)
    built.begin()
    limit = int(float(np.float32(budget)) * built.dense_macs)
    for layer, mask in enumerate(chosen):
        spent, before = built.state.macs, built.state.mask
        outcome = built.step(mask).outcome
        executed = outcome.mask
        assert not bool((executed & ~mask).any())
        inputs = before.sum(dim=1) * 4 if layer else torch.full((12,), 256)
        later = dense_tail_macs(built.network)
        each = inputs * (2 if layer else 4) + (2 * 6 if layer else 0)
        left = limit - spent - later - executed.sum(dim=1) * each
        skipped = (mask & ~executed).any(dim=1)
        assert bool((left[skipped] < each[skipped]).all())
        # Lower numbers are served first.
        kept_last = (executed * torch.arange(1, 1 + mask.shape[1])).amax(dim=1)
        rank = torch.arange(1, 1 + mask.shape[1])
        assert not bool(((mask & ~executed) & (rank < kept_last[:, None])).any())
    assert bool((outcome.macs <= limit).all())


def test_a_whole_budget_pays_everything_and_what_is_left_is_seen():
    built = simulator({"budget": 1.0})
    full = [torch.ones(12, n, dtype=torch.bool) for n in (3, 5)]
    (first, *_), steps = episode(built, full)
    assert torch.equal(steps[-1].outcome.compute_cost, torch.ones(12))
    assert torch.equal(first[:, 0], torch.ones(12))
    torch.testing.assert_close(steps[0].observation[:, 0], 1 - steps[0].outcome.compute_cost)


def test_rows_of_a_group_share_their_price():
    built = simulator(PRICES, group_size=4)
    built.begin()
    groups = built.context.values["cost_weight"].view(3, 4)
    assert bool((groups == groups[:, :1]).all())
    assert len(set(groups[:, 0].tolist())) == 3


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"cost_wight": 1}, "did you mean 'cost_weight'"),
        ({}, "cost_weight or budget in context"),
        (3, "context to be a dict"),
        ({"budget": 0}, r"budget in \(0, 1\]"),
        ({"budget": (0.5, 1.5)}, r"budget in \(0, 1\]"),
        ({"cost_weight": (2, 1)}, r"a number or \(low, high\)"),
        ({"cost_weight": (1, 2, 3)}, r"a number or \(low, high\)"),
        ({"cost_weight": "1"}, r"a number or \(low, high\)"),
        ({"cost_weight": float("nan")}, r"a number or \(low, high\)"),
        ({"cost_weight": (0, 1)}, "distribution='uniform'"),
        ({"cost_weight": -1}, "above 0"),
        ({"cost_weight": 1, "distribution": "log"}, "unknown distribution"),
        ({"budget": 0.001}, "budget of at least"),
    ],
)
def test_a_context_that_cannot_be_is_refused_with_what_to_do(context, message):
    with pytest.raises(ValueError, match=message):
        Simulator(4, context=context, **SYNTHETIC)


def test_a_price_twice_and_a_reward_without_a_cost_are_refused():
    with pytest.raises(ValueError, match="got both"):
        simulator(PRICES, reward_kwargs={"cost_weight": 0.5})
    built = simulator(PRICES, reward="negative_nll")
    with pytest.raises(ValueError, match="term 'cost'"):
        episode(built, masks_for(built, density=0.6))
    plain = ccenv.BlockSelectionVectorEnv(2, **PROBE_SETTINGS)
    with pytest.raises(TypeError, match="with a context"):
        plain.simulator.at(cost_weight=1.0)
    with pytest.raises(ValueError, match="did you mean"):
        built.at(cost_weigth=1.0)


def test_judging_at_a_price_changes_neither_network_nor_stream_nor_reward():
    built = simulator(PRICES, reward="accuracy_minus_cost")
    agent = AGENTS["reinforce"](built)
    agent.learn(24)
    before = state_of(simulator_state(built))
    first, again = ([evaluate(built.at(cost_weight=w), agent) for w in (0.2, 5.0)] for _ in "ab")
    assert [e.numbers() for e in first] == [e.numbers() for e in again]
    after = state_of(simulator_state(built))
    assert repr(before) == repr(after)


def test_one_agent_computes_what_is_needed_at_low_prices_and_nothing_at_prices_too_high():
    # A right answer is worth 1 and costs 0.17: above a price of 5.8 it does not pay.
    built = seeded(128, context={"cost_weight": (0.2, 20.0)}, **PROBE_SETTINGS)
    rates = {"learning_rate": 0.03, "critic_learning_rate": 0.01}
    agent = AGENTS["actor_critic"](built, hidden_units=16, **rates)
    agent.learn(64_000)
    prices = (built.at(cost_weight=price) for price in (1.0, 15.0))
    low, high = (evaluate(priced, agent, deterministic=True) for priced in prices)
    assert low.error < 0.05
    assert low.compute_cost < 0.25
    assert high.compute_cost < 0.01
