"""Results of runs to rows of a table: means, intervals over seeds, the Pareto front, verdicts.

Rows of different data sets are in one list but are never compared with each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ccenv.runs.stats.degenerate import habit
from ccenv.runs.stats.intervals import Interval, bootstrap, mean_interval
from ccenv.runs.stats.measures import (
    Result,
    bits_in,
    dataset_of,
    memory_of,
    method_of,
    repeated,
    shown,
    shown_masks,
)
from ccenv.runs.stats.random_baseline import FLOORS, compare_with_dropout, dropout_curves


@dataclass(frozen=True)
class Row:
    """One label of a sweep, judged on test images."""

    label: str
    """what the sweep calls it."""
    method: str
    """what it is a variant of."""
    agent: str
    """its name."""
    dataset: str
    """images that it is judged on."""
    shaping: str
    """the reward that it learned from; says nothing about its rank."""
    seeds: tuple[int, ...]
    """those with a result."""
    masks: str
    """how masks were chosen, "sampled" or "mode" (greedy); random masks are always sampled."""
    learns: bool
    """False for rules."""
    uses_labels: bool
    """True for ceilings."""
    error: Interval
    """share of wrong answers."""
    error_iqm: Interval
    """interquartile mean of the same with its 95 % bootstrap interval."""
    compute_cost: Interval
    """executed MACs over the dense network's."""
    total_cost: Interval
    """the same with the policy's MACs."""
    macs: Interval
    """executed MACs of an image with the policy's own; comparable between networks."""
    mode_error: Interval
    """share of wrong answers with greedy masks instead of sampled ones."""
    mode_macs: Interval
    """MACs of an image with those."""
    density: tuple[float, ...]
    """share of blocks kept in each gated layer."""
    speedup: dict[str, float]
    """images of a pass -> dense time over time, median over seeds; empty for ceilings."""
    on_front: bool
    """whether no other row (ceilings aside) has less error and fewer MACs."""
    dropout_error: Interval | None
    """random masks' error at the same compute cost; None where its rates do not reach it."""
    verdict: str
    """this row against random masks at equal compute cost."""
    memory_bytes: float | None
    """of network and policy, mean over seeds; None where a result was recorded before it was."""
    habit: str
    """how a learned policy ignores the image, if it does; see `habits`."""
    bits: Interval | None = None
    """of a text: bits a symbol, nll / ln 2; None where inputs are no symbols."""
    added: bool = False
    """whether it stands among another's rows."""
    same_as: str = ""
    """label of the row whose results it repeats in all common seeds; "" of all others."""


def make_rows(results: Mapping[str, Sequence[Result]], draw: str = "sampled") -> list[Row]:
    """Summarises the results of each label."""
    present = {label: found for label, found in results.items() if found}
    datasets = {dataset_of(found[0]) for found in present.values()}
    rows = {row.label: row for name in datasets for row in _rows_of(present, name, draw)}
    same = repeated(present)
    return [replace(rows[label], same_as=same.get(label, "")) for label in present]


def _rows_of(results: Mapping[str, Sequence[Result]], dataset: str, draw: str) -> list[Row]:
    present = {k: found for k, found in results.items() if dataset_of(found[0]) == dataset}
    points = {label: mean_place(found, draw) for label, found in present.items()}
    contenders = {k: v for k, v in points.items() if not present[k][0]["uses_labels"]}
    front = {k for k in contenders if not dominated(points[k], contenders.values())}
    # Found once: every row is held against them.
    floors = {k: [r for r in found if r["agent"] in FLOORS] for k, found in present.items()}
    return [
        _row(label, found, draw, label in front, dropout_curves(floors, draw, found[0]))
        for label, found in present.items()
    ]


def mean_place(results: Sequence[Result], draw: str) -> tuple[float, float]:
    """MACs of an input, the policy's own included, and test error: means over seeds."""
    verdicts = [shown(r, draw) for r in results]
    means = [float(np.mean([v[name] for v in verdicts])) for name in ("macs", "error")]
    return means[0], means[1]


def dominated(point: tuple[float, float], others: Any) -> bool:
    """Whether another point is at least as good in both and better in one.

    >>> dominated((0.5, 0.1), [(0.5, 0.1), (0.4, 0.2)])
    False
    """
    return any(x <= point[0] and y <= point[1] and (x, y) != point for x, y in others)


def _row(
    label: str,
    results: Sequence[Result],
    draw: str,
    on_front: bool,
    curves: Mapping[int, Sequence[tuple[float, float]]],
) -> Row:
    verdicts = [shown(r, draw) for r in results]
    modes = [shown(r, "mode") for r in results]
    error = mean_interval([v["error"] for v in verdicts])
    density = tuple(np.mean([v["density"] for v in verdicts], axis=0).tolist())
    floor, verdict = None, ""
    if results[0]["agent"] not in FLOORS and not results[0]["uses_labels"]:
        floor, verdict = compare_with_dropout(error, results, verdicts, curves)
    bits = [bits_in(r, v) for r, v in zip(results, verdicts, strict=True)]
    known = [value for value in bits if value is not None]
    return Row(
        label=label,
        method=method_of(results[0]),
        agent=results[0]["agent"],
        dataset=dataset_of(results[0]),
        shaping=results[0]["reward"],
        seeds=tuple(r["seed"] for r in results),
        masks=shown_masks(results[0], draw),
        learns=results[0]["learns"],
        uses_labels=results[0]["uses_labels"],
        error=error,
        error_iqm=bootstrap([[v["error"] for v in verdicts]]),
        compute_cost=mean_interval([v["compute_cost"] for v in verdicts]),
        total_cost=mean_interval([v["total_cost"] for v in verdicts]),
        macs=mean_interval([v["macs"] for v in verdicts]),
        mode_error=mean_interval([v["error"] for v in modes]),
        mode_macs=mean_interval([v["macs"] for v in modes]),
        density=density,
        speedup=speedups(results),
        on_front=on_front,
        dropout_error=floor,
        verdict=verdict,
        memory_bytes=mean_memory(results),
        habit=habit(results, [v["density"] for v in verdicts]) if results[0]["learns"] else "",
        bits=mean_interval(known) if len(known) == len(bits) else None,
        added=results[0].get("added", False),
    )


def mean_memory(results: Sequence[Result]) -> float | None:
    """Bytes of network and policy, mean over seeds; None where one does not say."""
    found = [memory for result in results if (memory := memory_of(result)) is not None]
    return float(np.mean(found)) if len(found) == len(results) else None


def speedups(results: Sequence[Result]) -> dict[str, float]:
    """Median over seeds of measured speed-ups, by images of a pass."""
    found: dict[str, list[float]] = {}
    for result in results:
        for latency in result["latency"]:
            found.setdefault(str(latency["batch_size"]), []).append(latency["speedup"])
    return {size: float(np.median(values)) for size, values in found.items()}
