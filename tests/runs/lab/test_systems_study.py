"""Laws of the study of systems: budgets are bills, what is compared costs alike, choices hold."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.mdp.dynamics import initial, transition
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.text.streaming import streaming
from ccenv.networks.vision.early_exit import early_exit
from ccenv.networks.vision.experts import experts
from ccenv.networks.vision.residual import resnet
from ccenv.runs.studies.systems import Line, at_cost, rows_by_system, rows_of_choice
from ccenv.runs.sweeps import SWEEPS

SEEDS = SWEEPS["systems"].seeds
RECORDED = Path(__file__).parents[3] / "runs/results"


def bill(network, inputs, masks):
    """Compute cost under masks, one for all inputs."""
    state = initial(network, inputs, torch.zeros(len(inputs), dtype=torch.int64))
    for mask in masks:
        state, outcome = transition(network, state, mask.expand(len(inputs), -1))
    return outcome.compute_cost.mean().item()


def first(kept, of):
    return (torch.arange(of) < kept)[None]


CELLS = {cell.label: cell for cell in SWEEPS["systems"].cells}
SYSTEMS = rows_by_system(SWEEPS["systems"])


def network_kwargs(place):
    """What the place's network is built with."""
    return CELLS[SYSTEMS[place]["reinforce"][0].label].settings.get("network_kwargs", {})


def limits(place):
    """Budget -> the compute cost that agents with a cost limit are asked for there."""
    found = {}
    for rows in SYSTEMS[place].values():
        for row in rows:
            settings = CELLS[row.label].settings
            if "cost_limit" in settings:
                found.setdefault(row.budget, set()).add(settings["cost_limit"])
    assert len(found) == 3
    assert all(len(costs) == 1 for costs in found.values())
    return {budget: costs.pop() for budget, costs in found.items()}


def share(budget):
    """Of "25% of units"."""
    return float(budget.partition("%")[0]) / 100


def test_a_budget_of_blocks_is_their_bill():
    networks = {
        "mlp": (GatedMLP(196, (16, 16), 16, 10), (1, 14, 14)),
        "experts": (experts((1, 14, 14), 10, **network_kwargs("experts")), (1, 14, 14)),
        "cifar10": (experts((3, 16, 16), 10), (3, 16, 16)),
    }
    for place, (network, shape) in networks.items():
        for budget, limit in limits(place).items():
            kept = int(budget.split()[0])
            masks = [first(kept, gate.num_blocks) for gate in network.gates]
            cost = bill(network, torch.rand(2, *shape), masks)
            assert cost == pytest.approx(limit, abs=1e-3), (place, budget)


def test_a_share_of_strips_costs_its_part_of_what_refreshes_cost():
    strips = streaming((1, 14, 14), 10, **network_kwargs("strips"))
    none, every = (
        bill(strips, torch.rand(2, 1, 14, 14), [first(kept, 1)] * len(strips.gates))
        for kept in (0, 1)
    )
    for budget, limit in limits("strips").items():
        assert none + (every - none) * share(budget) == pytest.approx(limit, abs=1e-3)


def test_a_share_of_residual_units_costs_its_part_and_so_does_the_static_network():
    whole = resnet((3, 16, 16), 10, **network_kwargs("resnet"))
    least = whole.least_macs(0)
    for budget, limit in limits("resnet").items():
        # Units that are kept by coins: the mean bill is linear in their share.
        mean = least + (whole.dense_macs - least) * share(budget)
        assert mean / whole.dense_macs == pytest.approx(limit, abs=1e-3)
        sizes = CELLS[f"resnet: static {budget}"].settings["network_kwargs"]
        small = resnet((3, 16, 16), 10, **sizes)
        assert small.dense_macs / whole.dense_macs == pytest.approx(limit, rel=0.1)


def test_a_policy_that_may_choose_its_exits_has_the_mean_cost_of_a_share_at_each():
    """In both sweeps that hold such rows."""
    cells = [cell for cell in SWEEPS["front-mnist"].cells if cell.agent == "rloo_budget"]
    asked = [(c.settings, share(c.label.rpartition(", ")[2])) for c in cells]
    settings = CELLS[SYSTEMS["exits"]["reinforce"][0].label].settings
    asked += [({**settings, "cost_limit": n}, share(b)) for b, n in limits("exits").items()]
    assert len(asked) == 7
    for own, stops in asked:
        network = early_exit((1, 14, 14), 10, **own["network_kwargs"])
        left = [(1 - stops) ** n for n in range(1, len(network.fixed_macs) + 1)]
        spent = sum(part * macs for part, macs in zip(left, network.fixed_macs, strict=True))
        cost = (network.start_macs + spent) / network.dense_macs
        assert round(cost, 3) == own["cost_limit"]


POINTS = st.lists(
    st.tuples(st.floats(0.01, 1), st.tuples(*[st.floats(0, 1)] * 2)),
    min_size=1,
    max_size=3,
    unique_by=lambda point: round(40 * math.log(point[0])),
).map(sorted)


@given(points=POINTS, cost=st.floats(0.001, 2))
@settings(max_examples=50, deadline=None)
def test_at_a_cost_an_error_lies_between_its_neighbours_and_never_below_what_was_run(points, cost):
    line = Line("a", "", "mode", tuple(points), 1.0)
    found = at_cost(line, cost)
    assert (found is None) == (cost < 0.99 * points[0][0])
    if found is not None:
        means = [sum(errors) / 2 for _, errors in points]
        assert min(means) - 1e-9 <= found.mean <= max(means) + 1e-9
    for own, errors in points:
        assert at_cost(line, own).mean == pytest.approx(sum(errors) / 2)


def validated():
    """Label -> validation (error, compute cost) of its first seed, of masks of both kinds."""
    return {
        cell["label"]: [
            (e["error"], e["compute_cost"])
            for e in cell["evaluations"]
            if e["split"] == "validation"
        ]
        for cell in json.loads((RECORDED / "systems.json").read_text())["cells"]
        if cell["seed"] == 0
    }


def standing(place, cost, budget):
    """Share of the bill of k of 32 experts, or of a share of strips or units, without any."""
    part = int(budget.split()[0]) / 32 if "%" not in budget else share(budget)
    return (cost - part) / (1 - part)


@pytest.mark.parametrize("place", SYSTEMS)
def test_a_chosen_setting_has_the_least_validation_error_of_those_of_twice_the_blocks_at_most(
    place,
):
    errors = validated()
    for rows in SYSTEMS[place].values():
        chosen = rows_of_choice(rows)
        assert len(chosen) in (0, 3)
        tried = [row for row in rows if row.budget == rows[0].budget]
        if len(tried) == 1:
            continue
        middle = limits(place)[rows[0].budget]
        # Of other places nothing is there without any block.
        always = standing(place, middle, rows[0].budget) if place not in ("mlp", "exits") else 0
        dearest = 2 * middle - always
        least = {
            row.label: min(
                (error for error, cost in errors[row.label] if cost <= dearest), default=1
            )
            for row in tried
        }
        assert least[chosen[0].label] == min(least.values())


def test_a_chosen_setting_is_run_with_more_seeds_than_those_that_were_tried():
    for place in SYSTEMS.values():
        for rows in place.values():
            chosen = {row.label for row in rows_of_choice(rows)}
            for row in rows:
                assert (len(CELLS[row.label].seeds or SEEDS) > 1) == (row.label in chosen)
