"""Laws of constrained allocation as an agent: menus, budgets that are met, and export."""

import pytest
import torch

from ccenv.annexes.agents import allocation
from ccenv.annexes.agents.confidence import Confidence
from ccenv.annexes.tasks.allocation import allocate
from ccenv.networks.learning import training
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.rollout import collect_rollout
from tests.ccenv.episodes import seeded
from tests.ccenv.networks.tiny import write_prose

EXITS = {"dataset": "probe", "network": "probe-exit", "observation": "layer_input"}
UNITS = {"dataset": "digits", "network": "resnet", "network_kwargs": {"depth": 8, "width": 4}}


POSITIONS = {
    "dataset": "prose@8",
    "network": "lm",
    "network_kwargs": {
        "depth": 3,
        "width": 8,
        "num_heads": 2,
        "ffn_width": 6,
        "num_experts": 2,
        "gates": "experts,exits",
    },
    "weights_kwargs": {"learning_rate": 0.02},
    "observation": "layer_input",
    "reward": "negative_nll",
}


@pytest.fixture
def prose(tmp_path, monkeypatch):
    """A text, and frozen weights as they are at first."""
    monkeypatch.setenv("CCENV_CACHE", str(tmp_path))
    monkeypatch.setattr(training, "pretrain", lambda *_: None)
    write_prose(tmp_path, monkeypatch, count=1500)


def test_a_menu_of_exits_stops_at_each_and_at_none():
    menu = allocation.exit_menu((1, 2, 1), [0, 2])
    assert [masks.tolist() for masks in menu] == [
        [[False], [True], [True]],
        [[True, True]] * 3,
        [[True], [False], [True]],
    ]


@pytest.mark.parametrize("blocks", [(4, 3), (1, 1, 1), (1, 5, 1, 1)])
def test_a_menu_of_densities_leads_from_nothing_to_everything_and_never_gives_up_a_block(blocks):
    menu = allocation.density_menu(blocks, 4)
    assert [masks.shape for masks in menu] == [(4, n) for n in blocks]
    assert not any(masks[0].any() for masks in menu)
    assert all(masks[-1].all() for masks in menu)
    kept = sum(masks.sum(dim=1) for masks in menu).tolist()
    assert kept == sorted(kept)


@pytest.mark.parametrize("cost_limit", [0.5, 0.7])
def test_its_mean_cost_is_the_budget(cost_limit):
    simulator = seeded(**EXITS)
    agent = allocation.ConstrainedAllocation(simulator, cost_limit=cost_limit)
    agent.choose()
    _, values, costs = allocation.offer_table(simulator.on_split("validation", 256), agent.menu)
    oracle = allocate(values.numpy(), costs.numpy(), cost_limit)
    found = [evaluate(simulator, agent, split="validation", seed=i) for i in range(8)]
    cost = sum(verdict.compute_cost for verdict in found) / len(found)
    # Coins of 8 times 256 inputs; nothing more is spent where the best offers cost less.
    assert cost == pytest.approx(oracle.mean_cost(costs.numpy()), abs=0.02)
    gained = sum(1 - verdict.error for verdict in found) / len(found)
    assert gained > oracle.mean_cost(values.numpy()) - 0.1


@pytest.mark.parametrize("cost_limit", [0.6, 0.8])
@pytest.mark.parametrize("weights", ["cotrain", "frozen"])
def test_positions_of_a_text_spend_the_budget_though_later_ones_cost_more(
    prose, weights, cost_limit
):
    own = {} if weights == "cotrain" else {"weights_kwargs": {}}
    simulator = seeded(64, **POSITIONS | own, weights=weights)
    agent = allocation.ConstrainedAllocation(simulator, cost_limit=cost_limit)
    agent.learn(64 * 5)
    agent.choose()
    seen, values, costs = allocation.offer_table(agent.validation(), agent.menu)
    assert (costs.std(dim=0) > 0.005).all()
    budget = allocate(values.numpy(), costs.numpy(), cost_limit).mean_cost(costs.numpy())
    price, dear_price, share = agent.learned["prices"].tolist()
    spent = [costs.gather(1, agent.best_at(seen, one)[:, None]) for one in (price, dear_price)]
    mean = (1 - share) * spent[0].mean() + share * spent[1].mean()
    assert mean.item() == pytest.approx(budget, rel=1e-6)
    verdict = evaluate(simulator, agent, split="validation")
    assert verdict.compute_cost == pytest.approx(budget, abs=0.03)
    assert verdict.compute_cost <= cost_limit + 0.03


@pytest.mark.parametrize("kind", [allocation.ConstrainedAllocation, Confidence])
def test_a_verdict_on_a_text_is_of_the_network_alone_and_changes_no_training(prose, kind):
    def judged(looks):
        simulator = seeded(64, **POSITIONS, weights="cotrain")
        agent = kind(simulator)
        for part in range(2):
            agent.learn(64 * 4)
            if looks or part:
                verdict = evaluate(simulator, agent, split="validation", deterministic=True)
        again = evaluate(simulator, agent, split="validation", deterministic=True)
        # Earlier positions of the first batch follow the thresholds of this network, too.
        assert again.nll == verdict.nll
        return verdict.nll, simulator.network.state_dict()

    (nll, weights), (other_nll, other_weights) = judged(looks=False), judged(looks=True)
    assert all(torch.equal(tensor, other_weights[name]) for name, tensor in weights.items())
    assert nll == other_nll


def test_in_training_every_offer_is_taken():
    simulator = seeded(128, **EXITS, weights="cotrain")
    agent = allocation.ConstrainedAllocation(simulator)
    masks = collect_rollout(simulator, agent, agent.generator).masks[:, :, 0]
    assert len(masks.t().unique(dim=0)) == agent.num_offers
    assert agent.learn(128) == 128
    assert agent.chosen_for is None


def test_it_chooses_anew_when_the_network_has_learned():
    simulator = seeded(**UNITS, weights="cotrain")
    agent = allocation.ConstrainedAllocation(simulator, cost_limit=0.6, num_offers=3)
    before = agent.parameters()["weight"]
    agent.learn(128)
    assert not torch.equal(agent.parameters()["weight"], before)
    assert agent.chosen_for[1] == 4
