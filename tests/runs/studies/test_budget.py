"""Networks under a budget: walks share their start, chains are nested, what shows is learned."""

import numpy as np
import pytest
import torch

from ccenv.mask_table.at_cost import AtCost
from ccenv.mask_table.exact import Outcomes
from ccenv.mask_table.learning import softmax
from ccenv.mdp.dynamics import initial, transition
from ccenv.networks.models.residual import resnet
from ccenv.runs.engine.gate_sweep import scores
from ccenv.runs.studies.budget import menu
from ccenv.runs.studies.budget.policies import DRAWS, LEARNERS, Data, placed, slope


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return resnet((3, 8, 8), 4, depth=8).eval()


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(6, 3, 8, 8, generator=generator)
    return images, torch.randint(4, (6,), generator=generator)


def test_masks_walked_together_end_as_each_alone(network, batch):
    masks = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 0, 0]]).bool()
    found = menu.judged(network, batch, masks)
    for number, mask in enumerate(masks):
        state = initial(network, *batch)
        for bit in mask:
            state, outcome = transition(network, state, bit.expand(6, 1).contiguous())
        assert torch.equal(found[:, :, number], scores(network, outcome))


def test_a_chain_leaves_out_one_unit_more_each_time_and_ends_at_its_cost(network, batch):
    masks, costs = menu.chain(network, batch, least_cost=0.5, most_tried=3)
    assert masks.sum(dim=1).tolist() == list(range(3, 3 - len(masks), -1))
    assert not (masks[1:] & ~masks[:-1]).any()
    assert costs[0] == 1
    assert (costs.diff() < 0).all()
    assert costs[-1] <= 0.5 < costs[-2]
    # The first to go is the one of least nll for the MACs that it saves.
    one_less = ~torch.eye(3, dtype=torch.bool)
    _, nll, cost = menu.judged(network, batch, torch.cat([masks[:1], one_less])).mean(dim=1)
    ratio = (nll[1:] - nll[0]) / (1 - cost[1:])
    assert int((~masks[1]).nonzero()[0, 0]) == int(ratio.argmin())
    with pytest.raises(ValueError, match="units to leave out"):
        menu.chain(network, batch, least_cost=1e-6, most_tried=3)


@pytest.mark.parametrize("learner", ["rloo", "reinforce"])
def test_estimates_have_the_mean_of_the_exact_slope(learner):
    generator = np.random.default_rng(0)
    chances = softmax(generator.normal(size=(1, 3, 4)))
    worth, targets = generator.normal(size=(1, 3, 4)), np.eye(4)[[0, 1, 2]]
    exact = slope("exact gradient", chances, worth, targets, generator)
    many = 30_000 // (DRAWS if learner == "rloo" else 1)
    found = np.stack(
        [slope(learner, chances, worth, targets, generator) for _ in range(many)]
    ).squeeze(1)
    error = found.std(axis=0) / many**0.5
    assert (np.abs(found.mean(axis=0) - exact[0]) < 5 * error).all()


@pytest.fixture(scope="module")
def data():
    """Two dear masks, each right for one kind of input, which the look tells; and a cheap one."""
    generator = np.random.default_rng(0)

    def drawn(count):
        kind = np.arange(count) % 2
        scores = np.stack([np.full(count, -2.0), -1.0 * (kind == 0), -1.0 * (kind == 1)], axis=1)
        looks = np.stack([2.0 * kind - 1, generator.normal(size=count), np.ones(count)], axis=1)
        return Outcomes(scores, np.array([0.2, 0.8, 0.8]), np.array([1, 2, 2]), None), looks

    fit, choose, judge = drawn(60), drawn(60), drawn(60)
    chance = np.array([0.2, 0.8]), np.array([-2.0, -2.0])
    places = [AtCost.made(one[0], fit[0], chance) for one in (choose, judge)]
    return Data(fit[0], fit[1], places[0], choose[1], places[1], judge[1])


@pytest.mark.parametrize("learner", LEARNERS)
def test_every_learner_finds_what_the_look_tells(data, learner):
    point = placed(data, budget=0.8, learner=learner, hidden=0, seed=0, updates=300)
    assert point.gap_closed > 0.9
    assert point.static == pytest.approx(-0.5, abs=0.02)
    assert point.oracle == pytest.approx(0.0, abs=0.05)


def test_a_menu_needs_random_masks_of_its_own():
    menu_of = Outcomes(np.zeros((2, 3)), np.array([0.1, 0.2, 0.3]), np.array([0, 1, 2]), None)
    with pytest.raises(ValueError, match="random"):
        AtCost.made(menu_of, menu_of)
