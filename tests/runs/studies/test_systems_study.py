"""Laws of the study of systems: budgets are bills, what is compared costs alike, choices hold."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.mdp.dynamics import initial, transition
from ccenv.networks.mlp import GatedMLP
from ccenv.networks.models.experts import experts
from ccenv.networks.models.streaming import streaming
from ccenv.runs.studies.systems import concurrency
from ccenv.runs.studies.systems.places import PLACES
from ccenv.runs.studies.systems.section import Line, at_cost
from ccenv.runs.studies.systems.sweep import CHOSEN, SYSTEMS, label_of

RECORDED = Path(__file__).parents[3] / "runs/results"


def bill(network, inputs, masks):
    """Compute cost under masks, one for all inputs."""
    state = initial(network, inputs, torch.zeros(len(inputs), dtype=torch.int64))
    for mask in masks:
        state, outcome = transition(network, state, mask.expand(len(inputs), -1))
    return outcome.compute_cost.mean().item()


def first(kept, of):
    return (torch.arange(of) < kept)[None]


def test_a_budget_is_the_bill_of_its_blocks():
    own = {place: found.settings.get("network_kwargs", {}) for place, found in PLACES.items()}
    networks = {
        "mlp": (GatedMLP(196, (16, 16), 16, 10), (1, 14, 14)),
        "experts": (experts((1, 14, 14), 10, **own["experts"]), (1, 14, 14)),
        "cifar10": (experts((3, 16, 16), 10), (3, 16, 16)),
    }
    for place, (network, shape) in networks.items():
        for budget in PLACES[place].budgets:
            masks = [first(budget.kept, gate.num_blocks) for gate in network.gates]
            cost = bill(network, torch.rand(2, *shape), masks)
            assert cost == pytest.approx(budget.cost, abs=1e-3), (place, budget)
    strips = streaming((1, 14, 14), 10, **own["strips"])
    none, every = (
        bill(strips, torch.rand(2, 1, 14, 14), [first(kept, 1)] * len(strips.gates))
        for kept in (0, 1)
    )
    for budget in PLACES["strips"].budgets:
        assert none + (every - none) * budget.share == pytest.approx(budget.cost, abs=1e-3)


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


def validation_errors():
    """Label -> the least validation error of its first seed, masks drawn or most probable."""
    found = {}
    for cell in json.loads((RECORDED / "systems.json").read_text())["cells"]:
        judged = [e["error"] for e in cell["evaluations"] if e["split"] == "validation"]
        if cell["seed"] == 0:
            found[cell["label"]] = min(judged)
    return found


def test_a_chosen_setting_has_the_least_validation_error_of_those_tried():
    errors = validation_errors()
    for place, names in CHOSEN.items():
        middle = PLACES[place].budgets[1]
        for name, position in names.items():
            tried = SYSTEMS[place][name].tried
            labels = [label_of(place, name, middle, setting) for setting in tried]
            assert min(labels, key=errors.__getitem__) == labels[position]


def test_the_more_requests_are_under_way_the_less_is_off_for_all():
    rows = list(concurrency.measured((2, 16), images=64))
    shares = {(row["kind"], row["requests"]): row["share_off"] for row in rows}
    for kind in concurrency.LEGEND:
        assert 0 <= shares[kind, 16] < shares[kind, 2] < 1
    assert concurrency.concurrency_figure(rows).alt.startswith("inactive, 2 requests")
