"""One case of the kernels' benchmark: sparse, dense and baseline passes -> timings in turns."""

import bisect
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ccenv.runs.show.tables import formatted
from ccenv.runs.timing.turns import Pass, quartiles_of_ratio, seconds_in_turns

NOTES = """\
Speed-up: time of torch's dense layers over time in the same round, median [quartiles]; call
overhead, lists from masks and policies included; other masks in every pass. Over masked dense: the
same beside dense products times masks. Ceiling: speed-up of a dense layer or network so narrow that
it has the executed MACs, the policy's included. Limit: dense MACs over executed MACs. Masks:
independent; by class, ten classes with likely blocks of their own; unbalanced, the same few likely
blocks for all rows; chosen, by the policy. Density: realised, on both sides of a layer or of each
gated layer."""
COLUMNS = {
    "case": ("case", "<{case}"),
    "masks": ("masks", "<{masks}"),
    "route": ("route", "<{route}"),
    "batch": ("batch", ">{batch:,}"),
    "density": ("density", ">{shown_densities}"),
    "speed-up": ("speedup", "<{speedup:.2f} [{speedup_low:.2f}, {speedup_high:.2f}]"),
    "over masked dense": ("masked_dense_speedup", ">{masked_dense_speedup:.2f}"),
    "ceiling": ("ceiling", ">{ceiling:.1f}"),
    "limit": ("limit", ">{limit:.1f}"),
    "ms": ("milliseconds", ">{milliseconds:.3f}"),
    "dense GFLOP/s": ("dense_gflops", ">{dense_gflops:.0f}"),
    "GFLOP/s": ("gflops", ">{gflops:.0f}"),
}
"""Heading -> what rows must have for it to be shown (older results lack some), and its cells."""


@dataclass(frozen=True)
class Case:
    """What is timed: one block-sparse pass and what it is compared with."""

    name: str
    """what is multiplied."""
    masks: str
    """kind of masks."""
    batch: int
    """rows of a pass."""
    densities: tuple[float, ...]
    """realised share of blocks kept: on both sides of a layer, or of each gated layer."""
    macs: float
    """executed MACs of a sparse pass, the policy's included, of all rows."""
    dense_macs: float
    """MACs of a dense pass, of all rows."""
    equal_macs: float
    """MACs of the small dense pass, of all rows."""
    sparse: Pass
    """only kept blocks."""
    dense: Pass
    """all blocks, by torch's own layers."""
    masked_dense: Pass
    """all blocks, thrown away where skipped."""
    equal_dense: Pass
    """a dense layer or network so narrow that it has the sparse pass's MACs."""


@dataclass(frozen=True)
class Timing:
    """One case: how much faster the kept blocks alone are."""

    case: str
    """what was multiplied."""
    masks: str
    """kind of masks."""
    batch: int
    """rows of a pass."""
    density: float
    """share of blocks kept, realised, mean over masks."""
    densities: tuple[float, ...]
    """the same on both sides of a layer, or of each gated layer."""
    speedup: float
    """dense time over time, median over rounds."""
    speedup_low: float
    """lower quartile."""
    speedup_high: float
    """upper quartile."""
    masked_dense_speedup: float
    """time of dense products times masks over time, median over rounds."""
    ceiling: float
    """dense time over that of the dense layer or network with as many MACs, median over rounds."""
    limit: float
    """dense MACs over executed MACs, the policy's included."""
    equal_macs: float
    """MACs of the small dense layer or network over executed ones; as near 1 as widths allow."""
    milliseconds: float
    """median time of a pass."""
    dense_gflops: float
    """floating-point operations of the dense pass a second, in billions."""
    gflops: float
    """of the sparse pass, by executed MACs."""


def measure(case: Case, repeats: int) -> Timing:
    """Times a case's passes in turns.

    Args:
        case: what to time.
        repeats: rounds, at least two.
    """
    times = seconds_in_turns(
        {
            "dense": case.dense,
            "masked_dense": case.masked_dense,
            "equal_dense": case.equal_dense,
            "sparse": case.sparse,
        },
        repeats,
    )
    low, speedup, high = quartiles_of_ratio(times["dense"], times["sparse"])
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    return Timing(
        case=case.name,
        masks=case.masks,
        batch=case.batch,
        density=statistics.mean(case.densities),
        densities=case.densities,
        speedup=speedup,
        speedup_low=low,
        speedup_high=high,
        masked_dense_speedup=quartiles_of_ratio(times["masked_dense"], times["sparse"])[1],
        ceiling=quartiles_of_ratio(times["dense"], times["equal_dense"])[1],
        limit=case.dense_macs / max(case.macs, 1.0),
        equal_macs=case.equal_macs / max(case.macs, 1.0),
        milliseconds=1e3 * medians["sparse"],
        dense_gflops=2e-9 * case.dense_macs / medians["dense"],
        gflops=2e-9 * case.macs / medians["sparse"],
    )


def width_of_macs(macs: float, macs_of: Callable[[int], float], widest: int = 1 << 16) -> int:
    """The width, from 1 to `widest`, whose MACs are nearest to the given ones.

    >>> width_of_macs(100, lambda units: units * units)
    10

    Args:
        macs: what the width should cost.
        macs_of: a width's MACs, growing with the width.
        widest: upper limit.
    """
    above = 1 + bisect.bisect_left(range(1, widest), macs, key=macs_of)
    return min((max(1, above - 1), above), key=lambda units: abs(macs_of(units) - macs))


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Timings in Markdown."""
    columns = {
        heading: cell
        for heading, (field, cell) in COLUMNS.items()
        if all(field in row for row in rows)
    }
    return formatted(columns, [{**row, "shown_densities": densities(row)} for row in rows])


def densities(row: Mapping[str, Any]) -> str:
    """Realised densities, one where they are alike to three digits."""
    shown = [f"{value:.3f}" for value in row.get("densities", [row["density"]])]
    return " ".join(shown if len(set(shown)) > 1 else shown[:1])
