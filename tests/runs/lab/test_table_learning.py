"""Laws of what learns on tables, of what it is placed beside, and of slopes of gates."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.mask_table.exact import Outcomes, optimum
from ccenv.networks.vision.residual import resnet
from ccenv.runs.lab.estimators.gate_gradients import slopes_of
from ccenv.runs.lab.mask_tables.at_cost import PRICES, AtCost, unit_costs
from ccenv.runs.lab.mask_tables.learning import Adam, Policies

MASKS = np.array(list(itertools.product([False, True], repeat=3)))


def random_outcomes(seed, inputs=6):
    generator = np.random.default_rng(seed)
    costs = 0.1 + MASKS @ np.array([0.2, 0.3, 0.4])
    return Outcomes(generator.normal(size=(inputs, 8)), costs, MASKS.sum(axis=1), 3)


@pytest.mark.parametrize("hidden", [0, 4])
def test_slopes_by_parameters_are_finite_differences(hidden):
    generator = np.random.default_rng(0)
    policies = Policies.made(2, 5, 3, hidden, generator)
    policies.parameters = [part + generator.normal(size=part.shape) for part in policies.parameters]
    looks, weights = generator.normal(size=(2, 7, 5)), generator.normal(size=(2, 7, 3))
    slopes, h = policies.slopes(looks, weights), 1e-6
    for n, part in enumerate(policies.parameters):
        place = (1, part.shape[1] - 1, 0)
        ends = []
        for sign in (1, -1):
            part[place] += sign * h
            ends.append((policies.logits(looks) * weights).sum(axis=2).mean(axis=1)[1])
            part[place] -= sign * h
        assert slopes[n][place] == pytest.approx((ends[0] - ends[1]) / (2 * h), abs=1e-7)


def test_runs_side_by_side_climb_each_at_its_own_rate():
    policies, adam = Policies([np.zeros((2, 1, 1))]), Adam(np.array([0.1, 0.0]))
    for _ in range(200):
        adam.climb(policies, [1.0 - policies.parameters[0]])
    assert policies.parameters[0].ravel().tolist() == pytest.approx([1.0, 0.0], abs=1e-2)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**16), place=st.integers(20, 80))
def test_nothing_at_its_cost_is_above_the_oracle_and_the_optimum_is_it(seed, place):
    outcomes = random_outcomes(seed)
    beside = AtCost.made(outcomes, random_outcomes(seed + 1))
    best = beside.place(numbers=optimum(outcomes, PRICES[place]).numbers)
    assert best.score == pytest.approx(best.oracle)
    generator = np.random.default_rng(seed)
    drawn = beside.place(keep=generator.random((6, 3)))
    assert drawn.score <= drawn.oracle + 1e-9
    even = beside.place(keep=[0.5, 0.5, 0.5])
    assert even.random == pytest.approx(even.score)


def test_a_static_mask_of_the_hull_closes_no_gap():
    judge, choose = random_outcomes(1), random_outcomes(2, 40)
    beside = AtCost.made(judge, choose)
    cost, score = (float(values[1]) for values in beside.static)
    found = beside.place(numbers=np.array([int(np.flatnonzero(judge.costs == cost)[0])]))
    assert (found.score, found.gap_closed) == (pytest.approx(score), pytest.approx(0, abs=1e-12))


def test_costs_that_are_no_sum_are_refused():
    fixed, units = unit_costs(random_outcomes(0))
    assert (fixed, units.tolist()) == (pytest.approx(0.1), pytest.approx([0.2, 0.3, 0.4]))
    with pytest.raises(ValueError, match="sum over units"):
        unit_costs(Outcomes(np.zeros((1, 8)), np.arange(8.0) ** 2, np.arange(8), 3))


def test_slopes_of_kept_units_are_finite_differences():
    torch.manual_seed(0)
    network = resnet((1, 8, 8), 10, depth=8, width=4).double().eval().requires_grad_(False)
    inputs, labels = torch.rand(3, 1, 8, 8, dtype=torch.float64), torch.tensor([0, 4, 9])
    with torch.random.fork_rng():
        torch.set_default_dtype(torch.float64)
        try:
            slopes, nll = slopes_of(network, inputs, labels)
        finally:
            torch.set_default_dtype(torch.float32)

    def nll_at(gates):
        hidden = network.start(inputs)
        for gate, value in enumerate(gates):
            weights = torch.full((3, 1), value, dtype=torch.float64)
            hidden = network.step(gate, hidden, None, weights, "reference")
        logits = network.logits(hidden, "reference")
        return torch.nn.functional.cross_entropy(logits, labels, reduction="none").numpy()

    h = 1e-5
    # At a skipped unit many channels stand at a ReLU's kink: there are two slopes, or more.
    for number, unit in ((4, 0), (5, 2), (7, 1)):
        gates = MASKS[number].astype(float)
        step = h * np.eye(3)[unit]
        wanted = (nll_at(gates + step) - nll_at(gates - step)) / (2 * h)
        np.testing.assert_allclose(slopes[:, number, unit], wanted, rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(nll[:, number], nll_at(gates), rtol=2e-3)
