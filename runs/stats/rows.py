"""Results of runs to rows of a table: means and intervals over seeds, the front, the verdicts.

Rows of different data sets are in one list but are never compared with each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ccenv.runs.stats.bits import bits_in
from ccenv.runs.stats.habits import habit
from ccenv.runs.stats.intervals import Interval, bootstrap, mean_interval

Result = Mapping[str, Any]
MODES = ("sampled", "mode")
FLOORS = ("block_dropout", "dense")
"""Agents that stand on the curve of random masks."""
HALVE = "halve"
"""The transform that leaves a result comparable with those on whole images."""


@dataclass(frozen=True)
class Row:
    """One label of a sweep, judged on test images."""

    label: str
    """what the sweep calls it."""
    agent: str
    """its name."""
    dataset: str
    """images that it is judged on."""
    shaping: str
    """the reward that it learned from; says nothing about its rank."""
    seeds: tuple[int, ...]
    """those with a result."""
    masks: str
    """how masks were chosen, "sampled" or "mode" (the most probable); a key of recorded files."""
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
    """share of wrong answers with the most probable masks instead of sampled ones."""
    mode_macs: Interval
    """MACs of an image with those."""
    density: tuple[float, ...]
    """share of blocks kept in each gated layer."""
    speedup: dict[str, float]
    """images of a pass -> dense time over time, median over seeds; empty for ceilings."""
    on_front: bool
    """whether no other row (ceilings aside) has less error and fewer MACs."""
    dropout_error: Interval | None
    """block_dropout's error at the same compute cost; None where its rates do not reach it."""
    verdict: str
    """this row against block_dropout at equal compute cost."""
    memory_bytes: float | None
    """of the network, mean over seeds; None where a result was recorded before it was."""
    habit: str
    """how a learned policy ignores the image, if it does; see `habits`."""
    bits: Interval | None = None
    """of a text: bits a symbol, nll / ln 2; None where inputs are no symbols."""


def evaluation(result: Result, draw: str) -> Mapping[str, Any]:
    """A result's verdict on test images, masks "sampled" or "mode"."""
    found: Mapping[str, Any] = next(
        e for e in result["evaluations"] if e["split"] == "test" and e["mode"] == draw
    )
    return found


def make_rows(results: Mapping[str, Sequence[Result]], draw: str = "sampled") -> list[Row]:
    """Summarises the results of each label.

    Args:
        results: label -> one result a seed; labels without any are left out.
        draw: "sampled" or "mode" (the most probable masks).
    """
    present = {label: found for label, found in results.items() if found}
    datasets = {dataset_of(found[0]) for found in present.values()}
    rows = {row.label: row for name in datasets for row in _rows_of(present, name, draw)}
    return [rows[label] for label in present]


def dataset_of(result: Result) -> str:
    """Images that a result is about, whole ones where the network was given halves.

    >>> images = {"dataset": "svhn", "transforms": ["shift=2", "halve", "standardise"]}
    >>> dataset_of({"settings": {"environment": images}})
    'svhn+shift=2+standardise'
    """
    transforms = [name for name in transforms_of(result) if name != HALVE]
    return "+".join([str(result["settings"]["environment"]["dataset"]), *transforms])


def transforms_of(result: Result) -> Sequence[str]:
    """Names of what images went through; none where settings are a hash or older than these."""
    settings = result["settings"]
    if not isinstance(settings, Mapping):
        return ()
    return tuple(settings["environment"].get("transforms", ()))


def has_halves(result: Result) -> bool:
    """Whether the network was given images of half their size."""
    return HALVE in transforms_of(result)


def _rows_of(results: Mapping[str, Sequence[Result]], dataset: str, draw: str) -> list[Row]:
    present = {k: found for k, found in results.items() if dataset_of(found[0]) == dataset}
    points = {label: _point(found, draw) for label, found in present.items()}
    contenders = {k: v for k, v in points.items() if not present[k][0]["uses_labels"]}
    front = {k for k in contenders if not dominated(points[k], contenders.values())}
    # Found once: every row is held against them.
    floors = {k: [r for r in found if r["agent"] in FLOORS] for k, found in present.items()}
    return [
        _row(label, found, draw, label in front, dropout_curves(floors, draw, found[0]))
        for label, found in present.items()
    ]


def _point(results: Sequence[Result], draw: str) -> tuple[float, float]:
    verdicts = [evaluation(r, draw) for r in results]
    means = [float(np.mean([v[name] for v in verdicts])) for name in ("macs", "error")]
    return means[0], means[1]


def dominated(point: tuple[float, float], others: Any) -> bool:
    """Whether another point is at least as good in both and better in one.

    >>> dominated((0.5, 0.1), [(0.5, 0.1), (0.4, 0.2)])
    False
    """
    return any(x <= point[0] and y <= point[1] and (x, y) != point for x, y in others)


def dropout_curves(
    results: Mapping[str, Sequence[Result]], draw: str, like: Result
) -> dict[int, list[tuple[float, float]]]:
    """For each seed block_dropout's (compute cost, error), up to the dense network's.

    Args:
        results: label -> one result a seed.
        draw: see `make_rows`.
        like: whose network they must have: random blocks of another are no floor.
    """
    curves: dict[int, list[tuple[float, float]]] = {}
    for found in results.values():
        for result in found:
            if result["agent"] in FLOORS and same_network(result, like):
                verdict = evaluation(result, draw)
                point = (verdict["compute_cost"], verdict["error"])
                curves.setdefault(result["seed"], []).append(point)
    return {seed: sorted(points) for seed, points in curves.items()}


def same_network(one: Result, other: Result) -> bool:
    """Whether two runs gate the same network; with every block kept, blocks make no difference."""
    blocks, widths = zip(*(shape_of(result) for result in (one, other)), strict=True)
    is_dense = "dense" in (one["agent"], other["agent"])
    return widths[0] == widths[1] and (is_dense or blocks[0] == blocks[1])


def shape_of(result: Result) -> tuple[Any, Any]:
    """Blocks of each gated layer, and what is left of the network if one does not see them."""
    environment = result["settings"]["environment"]
    own = dict(environment.get("network_kwargs", {}))
    blocks, size = (own.pop(name, environment.get(name)) for name in ("num_blocks", "block_size"))
    blocks = blocks if isinstance(blocks, Sequence) else [blocks]
    sizes = size if isinstance(size, Sequence) else [size]
    sizes = list(sizes) * (len(blocks) if len(sizes) == 1 else 1)
    widths = [n * size for n, size in zip(blocks, sizes, strict=True)]
    rest = [environment[name] for name in ("dataset", "network", "head_units", "activation")]
    return list(blocks), [widths, transforms_of(result), *rest, own]


def error_at(curve: Sequence[tuple[float, float]], cost: float) -> float | None:
    """Error at a compute cost, linear between two rates; None beyond them.

    >>> error_at([(0.0, 1.0), (1.0, 0.0)], 0.25)
    0.75
    """
    costs, errors = zip(*curve, strict=True)
    if len(curve) < 2 or not costs[0] <= cost <= costs[-1]:
        return None
    return float(np.interp(cost, costs, errors))


def _row(
    label: str,
    results: Sequence[Result],
    draw: str,
    on_front: bool,
    curves: Mapping[int, Sequence[tuple[float, float]]],
) -> Row:
    verdicts = [evaluation(r, draw) for r in results]
    modes = [evaluation(r, "mode") for r in results]
    error = mean_interval([v["error"] for v in verdicts])
    density = tuple(np.mean([v["density"] for v in verdicts], axis=0).tolist())
    floor, verdict = None, ""
    if results[0]["agent"] not in FLOORS and not results[0]["uses_labels"]:
        floor, verdict = compare_with_dropout(error, results, verdicts, curves)
    bits = [bits_in(r, v) for r, v in zip(results, verdicts, strict=True)]
    known = [value for value in bits if value is not None]
    return Row(
        label=label,
        agent=results[0]["agent"],
        dataset=dataset_of(results[0]),
        shaping=results[0]["reward"],
        seeds=tuple(r["seed"] for r in results),
        masks=draw,
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
    )


def mean_memory(results: Sequence[Result]) -> float | None:
    """Bytes of the network, mean over seeds; None where one does not say."""
    found = [result["memory_bytes"] for result in results if "memory_bytes" in result]
    return float(np.mean(found)) if len(found) == len(results) else None


def compare_with_dropout(
    error: Interval,
    results: Sequence[Result],
    verdicts: Sequence[Mapping[str, Any]],
    curves: Mapping[int, Sequence[tuple[float, float]]],
) -> tuple[Interval | None, str]:
    """block_dropout's error at each run's own compute cost, and who is better.

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


def speedups(results: Sequence[Result]) -> dict[str, float]:
    """Median over seeds of measured speed-ups, by images of a pass."""
    found: dict[str, list[float]] = {}
    for result in results:
        for latency in result["latency"]:
            found.setdefault(str(latency["batch_size"]), []).append(latency["speedup"])
    return {size: float(np.median(values)) for size, values in found.items()}
