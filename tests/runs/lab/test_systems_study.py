"""A law of the study of systems: what an error is at a cost that was not run."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.runs.studies.systems import Line, at_cost

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
