"""Laws of search and classification: menus are whole, what is found is best, and it is learned."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from probes import OPTIMA, make_agent

from ccenv.agents.systems.imitation import best_entries, make_menu, menu_returns, price_for
from ccenv.base.masks import as_mask
from ccenv.base.seeding import stream
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.rollout import collect_rollout

sizes = st.lists(st.integers(1, 3), min_size=1, max_size=3)


@settings(max_examples=30, deadline=None)
@given(sizes, st.booleans())
def test_a_menu_that_fits_has_every_mask_once_and_the_smallest_first(num_blocks, some):
    kept = [max(1, n - 1) for n in num_blocks] if some else None
    menu = torch.cat(make_menu(num_blocks, kept, 512, stream(0, "menu")), dim=1)
    expected = math.prod(
        math.comb(n, k) if some else 2**n
        for n, k in zip(num_blocks, kept or num_blocks, strict=True)
    )
    assert len(menu) == len(menu.unique(dim=0)) == expected
    assert menu.sum(dim=1).tolist() == sorted(menu.sum(dim=1).tolist())


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 20), st.booleans(), st.integers(0, 5))
def test_a_menu_that_does_not_fit_is_drawn_of_the_same_kind(size, some, seed):
    kept = [2, 1] if some else None
    menu = make_menu([6, 5], kept, size, stream(seed, "menu"))
    assert [part.shape for part in menu] == [(size, 6), (size, 5)]
    if some:
        assert [set(part.sum(dim=1).tolist()) for part in menu] == [{2}, {1}]
    elif size > 1:
        assert menu[0][-1].all()
        assert menu[1][-1].all()


def test_returns_and_costs_of_a_menu_are_those_of_walking_each_entry():
    agent = make_agent("imitation", batch_size=5, env_settings={"group_size": 2})
    simulator = agent.simulator
    simulator.begin(torch.arange(5))
    returns, costs = menu_returns(simulator, agent.menu)
    assert returns.shape == costs.shape == (5, 256)
    for entry in (0, 17, 255):
        simulator.begin(torch.arange(5))
        steps = [simulator.step(part[entry].expand(10, -1)) for part in agent.menu]
        torch.testing.assert_close(sum(s.reward for s in steps)[::2], returns[:, entry])
        torch.testing.assert_close(steps[-1].outcome.compute_cost[::2], costs[:, entry])


@pytest.mark.parametrize(
    ("probe", "group_size"), [*((probe, 1) for probe in OPTIMA), ("blocks", 3)]
)
def test_what_is_found_is_the_optimum_as_executed(probe, group_size):
    agent = make_agent("imitation", probe=probe, env_settings={"group_size": group_size})
    agent.simulator.begin()
    best = OPTIMA[probe][1](agent.simulator.state.images_by_row)
    found = agent.search()
    executed = [agent.simulator.step(part).outcome.mask for part in found]
    assert all(torch.equal(a, b) for a, b in zip(executed, best, strict=True))


tables = st.lists(st.lists(st.floats(0, 5), min_size=3, max_size=3), min_size=2, max_size=5)


@settings(max_examples=50, deadline=None)
@given(tables, st.floats(0.1, 0.9))
def test_the_price_for_a_limit_holds_it_and_a_lower_one_does_not(values, limit):
    returns = torch.tensor(values, dtype=torch.float64)
    costs = torch.tensor([[0.1, 0.4, 0.9]], dtype=torch.float64).expand(len(values), -1)

    def cost_at(price):
        return costs.gather(1, best_entries(returns, costs, price)[:, None]).mean().item()

    price = price_for(returns, costs, limit)
    assert cost_at(price) <= limit * (1 + 1e-9)
    if price:
        assert cost_at(price * (1 - 1e-6) - 1e-9) > limit
    assert cost_at(2 * price + 1) <= cost_at(price)


def test_the_limit_is_what_the_masks_found_cost_and_about_what_the_classifiers_do():
    env_settings = {"reward": "nll_minus_cost", "reward_kwargs": {"cost_weight": 0.0}}
    limit = 0.4
    agent = make_agent("imitation", env_settings=env_settings, cost_limit=limit)
    heard = []
    agent.learn(2560, lambda _, scalars: heard.append(scalars))
    found = [scalars["episode/compute_cost"] for scalars in heard]
    assert sum(found) / len(found) <= limit + 0.02
    assert evaluate(agent.env, agent).compute_cost == pytest.approx(sum(found) / 20, abs=0.05)
    assert heard[-1]["agent/price"] == agent.price


def test_what_is_remembered_is_the_newest_and_no_more_than_asked():
    agent = make_agent("imitation", batch_size=16, memory=40, num_kept=1)
    agent.learn(64)
    assert [len(part) for part in agent.seen] == [40] * 6
    rollout = collect_rollout(agent.simulator, agent, agent.generator)
    agent.remember(rollout)
    assert torch.equal(agent.seen[0][-16:], rollout.observations[0])
    assert torch.equal(agent.seen[4][-16:], as_mask(rollout.actions[1], 4))


def test_inputs_that_have_stopped_teach_later_exits_nothing():
    agent = make_agent("imitation", probe="exits")
    rollout = collect_rollout(agent.simulator, agent, agent.generator)
    agent.remember(rollout)
    parts = [part[-len(rollout.labels) :] for part in agent.seen]
    under_way = parts[2::3]
    assert under_way[0].all()
    assert torch.equal(under_way[2], rollout.actions[0][:, 0] & rollout.actions[1][:, 0])
    before = agent.loss(parts)
    stopped = ~under_way[2]
    parts[6], parts[7] = parts[6].clone(), parts[7].clone()
    parts[6][stopped] = 9.0
    parts[7][stopped] ^= True
    torch.testing.assert_close(agent.loss(parts), before)
