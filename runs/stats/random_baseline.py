"""Random masks as the floor: (errors of a row, random masks' over cost) -> which is better."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ccenv.runs.stats.intervals import Interval, mean_interval
from ccenv.runs.stats.measures import RANDOM_MASKS, Result, shape_of, shown

FLOORS = (RANDOM_MASKS, "dense")
"""Agents that stand on the curve of random masks."""


def dropout_curves(
    results: Mapping[str, Sequence[Result]], draw: str, like: Result
) -> dict[int, list[tuple[float, float]]]:
    """For each seed random masks' (compute cost, error), up to the dense network's.

    Args:
        results: label -> one result a seed.
        draw: see `make_rows`.
        like: whose network they must have: random blocks of another are no floor.
    """
    blocks, rest = shape_of(like)
    curves: dict[int, list[tuple[float, float]]] = {}
    for result in itertools.chain.from_iterable(results.values()):
        if result["agent"] not in FLOORS:
            continue
        own_blocks, own_rest = shape_of(result)
        # With every block kept, blocks make no difference.
        is_dense = "dense" in (result["agent"], like["agent"])
        if own_rest == rest and (is_dense or own_blocks == blocks):
            verdict = shown(result, draw)
            point = (verdict["compute_cost"], verdict["error"])
            curves.setdefault(result["seed"], []).append(point)
    return {seed: sorted(points) for seed, points in curves.items()}


def error_at(curve: Sequence[tuple[float, float]], cost: float) -> float | None:
    """Error at a compute cost, linear between two rates; None beyond them.

    >>> error_at([(0.0, 1.0), (1.0, 0.0)], 0.25)
    0.75
    """
    costs, errors = zip(*curve, strict=True)
    if len(curve) < 2 or not costs[0] <= cost <= costs[-1]:
        return None
    return float(np.interp(cost, costs, errors))


def compare_with_dropout(
    error: Interval,
    results: Sequence[Result],
    verdicts: Sequence[Mapping[str, Any]],
    curves: Mapping[int, Sequence[tuple[float, float]]],
) -> tuple[Interval | None, str]:
    """Random masks' error at each run's own compute cost, and who is better.

    Returns:
        That error over seeds, and "better", "worse", "no difference" (the 95 % intervals
        overlap), or why there is no verdict.
    """
    if not curves:
        return None, "no block_dropout"
    floors = [
        error_at(curves[r["seed"]], v["compute_cost"]) if r["seed"] in curves else None
        for r, v in zip(results, verdicts, strict=True)
    ]
    known = [value for value in floors if value is not None]
    if len(known) < len(floors):
        return None, "outside its costs"
    return mean_interval(known), judge(error, mean_interval(known))


def judge(error: Interval, floor: Interval) -> str:
    """Compares two errors by their 95 % intervals."""
    if error.low is None or error.high is None or floor.low is None or floor.high is None:
        return "one seed"
    if error.high < floor.low:
        return "better"
    return "worse" if error.low > floor.high else "no difference"
