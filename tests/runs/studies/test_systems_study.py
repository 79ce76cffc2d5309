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
from ccenv.networks.models.residual import resnet
from ccenv.networks.models.streaming import streaming
from ccenv.runs.studies.systems.asked import smaller_residual
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
    whole = resnet((3, 16, 16), 10, **own["resnet"])
    for budget in PLACES["resnet"].budgets:
        # Units that are kept by coins: the mean bill is linear in their share.
        least = whole.least_macs(0)
        mean = least + (whole.dense_macs - least) * budget.share
        assert mean / whole.dense_macs == pytest.approx(budget.cost, abs=1e-3)
        small = resnet((3, 16, 16), 10, **smaller_residual(budget)["network_kwargs"])
        assert small.dense_macs / whole.dense_macs == pytest.approx(budget.cost, rel=0.1)


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


def test_a_chosen_setting_has_the_least_validation_error_of_those_of_twice_the_blocks_at_most():
    errors = validated()
    for place, names in CHOSEN.items():
        middle, dearest = PLACES[place].budgets[1], PLACES[place].dearest
        for name, position in names.items():
            tried = SYSTEMS[place][name].tried
            labels = [label_of(place, name, middle, setting) for setting in tried]
            least = [
                min((error for error, cost in errors[label] if cost <= dearest), default=1)
                for label in labels
            ]
            assert min(least) == least[position]
