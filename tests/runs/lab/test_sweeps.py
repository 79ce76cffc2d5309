"""Sweeps of equal cost: dense and conditional networks are trained and tried alike."""

import pytest

from ccenv.runs.config.settings import make_plan
from ccenv.runs.stats.measures import dataset_of
from ccenv.runs.sweeps import SWEEPS

EQUAL_COST = [name for name in SWEEPS if name.startswith("equal-cost-")]
CHOSEN = {"learning_rate", "weight_decay", "teacher_units", "distill_weight", "teacher_temperature"}
"""What validation chooses; a warm start is one of conditional networks."""


def plans_of(sweep):
    return [make_plan(cell.agent, {**sweep.settings, **cell.settings}) for cell in sweep.cells]


@pytest.mark.parametrize("name", EQUAL_COST)
def test_dense_and_conditional_networks_are_trained_alike(name):
    plans = plans_of(SWEEPS[name])
    alike = {
        (
            p.program.images,
            p.program.batch_size,
            dataset_of({"settings": {"environment": p.environment}}),
            p.environment["weights"],
        )
        for p in plans
    }
    assert len(alike) == 1
    first = plans[0].environment["weights_kwargs"]
    for plan in plans:
        own = plan.environment["weights_kwargs"]
        changed = {name for name in own if own[name] != first.get(name)}
        assert changed <= CHOSEN | {"warm_start"}
        assert "warm_start" not in changed or plan.agent != "dense"


@pytest.mark.parametrize("name", EQUAL_COST)
def test_what_is_tried_on_conditional_networks_is_tried_on_dense_ones(name):
    tried = {True: set(), False: set()}
    for plan in plans_of(SWEEPS[name]):
        own = plan.environment
        kwargs = {k: v for k, v in own["weights_kwargs"].items() if k in CHOSEN}
        way = (str(sorted(kwargs.items())), own["network"], own["transforms"])
        tried[plan.agent == "dense"].add(way)
    dropped = {way for way in tried[False] if "dropout" in way[1]}
    starts = {way for way in tried[False] if "teacher_units" in way[0] and "distill" not in way[0]}
    assert tried[False] - dropped - starts <= tried[True]
    assert not dropped or any("dropout" in way[1] for way in tried[True])
