"""Networks under a budget: walks share their start, chains are nested, what shows is learned."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax

from ccenv.mask_table.exact import Outcomes
from ccenv.mask_table.menu import answer_scores, menu_scores
from ccenv.mask_table.table import write_table
from ccenv.mdp.dynamics import initial, transition
from ccenv.networks.vision.residual import resnet
from ccenv.runs.lab.__main__ import main
from ccenv.runs.lab.budget import show
from ccenv.runs.lab.budget.menu import EXACT, GREEDY, chain, of_sizes
from ccenv.runs.lab.budget.parts import Sizes, by_table, by_tables
from ccenv.runs.lab.budget.policies import (
    CLIP,
    DRAWS,
    LEARNERS,
    Data,
    Learning,
    drawn_from,
    placed,
    slope,
)
from ccenv.runs.lab.mask_tables.at_cost import AtCost
from ccenv.runs.mask_tables.build import build_table
from ccenv.runs.store.recorded import read_table
from ccenv.simulator.simulator import Simulator


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
    found = menu_scores(network, batch, masks)
    for number, mask in enumerate(masks):
        state = initial(network, *batch)
        for bit in mask:
            state, outcome = transition(network, state, bit.expand(6, 1).contiguous())
        assert torch.equal(found[:, :, number], answer_scores(network, outcome))


def test_a_chain_leaves_out_one_unit_more_each_time_and_ends_at_its_cost(network, batch):
    masks, costs = chain(network, batch, least_cost=0.5, most_tried=3)
    assert masks.sum(dim=1).tolist() == list(range(3, 3 - len(masks), -1))
    assert not (masks[1:] & ~masks[:-1]).any()
    assert costs[0] == 1
    assert (costs.diff() < 0).all()
    assert costs[-1] <= 0.5 < costs[-2]
    # The first to go is the one of least nll for the MACs that it saves.
    one_less = ~torch.eye(3, dtype=torch.bool)
    _, nll, cost = menu_scores(network, batch, torch.cat([masks[:1], one_less])).mean(dim=1)
    ratio = (nll[1:] - nll[0]) / (1 - cost[1:])
    assert int((~masks[1]).nonzero()[0, 0]) == int(ratio.argmin())
    with pytest.raises(ValueError, match="units to leave out"):
        chain(network, batch, least_cost=1e-6, most_tried=3)


@pytest.mark.parametrize("learner", DRAWS)
def test_estimates_have_the_mean_of_the_exact_slope(learner):
    generator = np.random.default_rng(0)
    chances = softmax(generator.normal(size=(1, 3, 4)), axis=-1)
    worth, targets = generator.normal(size=(1, 3, 4)), np.eye(4)[[0, 1, 2]]
    exact = slope("exact gradient", chances, worth, targets, None)
    found = np.stack(
        [
            slope(learner, chances, worth, targets, drawn_from(chances, learner, generator))
            for _ in range(12_000 // DRAWS[learner])
        ]
    ).squeeze(1)
    error = found.std(axis=0) / len(found) ** 0.5
    assert (np.abs(found.mean(axis=0) - exact[0]) < 5 * error).all()


def test_draws_that_are_used_again_push_no_further_than_the_clip():
    generator = np.random.default_rng(0)
    old, worth = np.full((1, 1, 2), 0.5), np.array([[[1.0, 0.0]]])
    draw = drawn_from(old, "ppo", generator)

    def push(chance):
        now = np.array([[[chance, 1 - chance]]])
        return slope("ppo", now, worth, np.eye(2)[[0]], draw)[0, 0, 0]

    assert 0 < len(np.unique(draw.numbers)) == 2
    assert push(0.5) > 0
    assert push(0.5 * (1 + CLIP) - 0.01) > 0
    assert push(0.5 * (1 + CLIP) + 0.01) == 0
    # What has gone the wrong way is led back from anywhere.
    assert push(0.1) > 0


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
    point = placed(data, 0.8, learner, seed=0, learning=Learning((100, 300)))
    assert point["gap_closed"] > 0.9
    assert point["static"] == pytest.approx(-0.5, abs=0.02)
    assert point["oracle"] == pytest.approx(0.0, abs=0.05)
    some = placed(data, 0.8, learner, seed=0, learning=Learning((300,), batch=20))
    assert some["gap_closed"] > 0.9


def test_a_menu_needs_random_masks_of_its_own():
    menu_of = Outcomes(np.zeros((2, 3)), np.array([0.1, 0.2, 0.3]), np.array([0, 1, 2]), None)
    with pytest.raises(ValueError, match="random"):
        AtCost.made(menu_of, menu_of)


def test_the_best_mask_of_a_size_scores_no_less_than_greedy_removals_on_what_chose_it():
    generator = np.random.default_rng(0)
    kept = np.array([number.bit_count() for number in range(32)])
    outcomes = Outcomes(generator.normal(size=(9, 32)), kept / 5, kept, 5)
    means, sized = outcomes.scores.mean(axis=0), of_sizes(outcomes)
    for size in range(6):
        own = {way: one.number for one in sized if one.size == size for way in one.ways}
        assert means[own[EXACT]] == means[kept == size].max() >= means[own[GREEDY]]
    chain = [one.number for one in sized if GREEDY in one.ways]
    assert all(small & large == small for small, large in itertools.pairwise(chain))


PROBE = {"network": "probe-residual", "dataset": "probe"}
SMALL = Sizes((30, 20, 40), budgets=(0.5,), columns=4, hidden=4, updates=(8,), seeds=2)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    return [
        build_table(*PROBE.values(), folder / split, split=split, limit=50)
        for split in ("validation", "test")
    ]


def test_a_menu_is_worth_the_same_looked_up_and_walked(tables):
    both = by_tables(*tables, SMALL)
    simulator = Simulator(1, split="test", **PROBE)
    inputs = simulator.data.batch(torch.arange(40))
    walked = menu_scores(simulator.network, inputs, both.masks).numpy()
    # Nll is stored in 16 bits.
    np.testing.assert_allclose(both.judge.found, walked, atol=2e-3)
    assert both.whole.judge.num_units == 4
    assert len(both.sized) == len(both.masks) >= 5


def test_inputs_that_chose_the_menu_do_not_fit(tables):
    def split(name):
        return Simulator(1, split=name, **PROBE)

    left = len(split("validation").data) - 50
    with pytest.raises(ValueError, match=f"at most {left} inputs"):
        by_table(split, tables[0], replace(SMALL, inputs=(left, 1, 5)), 0, progress=False)
    with pytest.raises(ValueError, match="inputs that do not judge"):
        by_table(split, tables[1], SMALL, 0, progress=False)
    parts = by_table(split, tables[0], SMALL, 0, progress=False)
    assert [len(p.looks) for p in (parts.fit, parts.choose, parts.judge)] == [30, 20, 40]


def test_a_recorded_network_shows_masks_and_policies(tables, tmp_path, capsys):
    paths = [str(tmp_path / name) for name in ("choose", "judge")]
    for table, path in zip(tables, paths, strict=True):
        write_table(Path(path), table)
    words = ["--table", paths[0], "--judge", paths[1], "--inputs", "30", "20", "40"]
    words += ["--budgets", "0.5", "--updates", "8", "--record", "--results-dir", str(tmp_path)]
    assert main(["budget", *PROBE.values(), *words]) == 0
    content = read_table(tmp_path / "budget-probe-residual.json")
    rows = {"probe": content["rows"]}
    assert content["kind"] == "budget"
    assert f"gap closed: {LEARNERS[-1]}" in show.table(content["rows"])
    assert show.policies_table(rows).count("\n") == 2
    assert show.masks_table(content["rows"]).count("\n") == 1 + 5
    assert show.published_table(rows).count("| probe") == 2
