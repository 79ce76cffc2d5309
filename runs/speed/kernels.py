"""One case of the kernels' benchmarks: sparse and dense passes -> a row of timings in turns.

Every pass takes other masks, from a pool drawn beforehand, so that neither caches nor branch
predictors learn them; building lists from the masks is part of a pass. Policies, where a case has
them, are part of it too.
"""

import bisect
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ccenv.base.clock import quartiles_of_ratio, seconds_in_turns

Pass = Callable[[], object]
Row = dict[str, Any]
NOTES = """\
Speed-up: time of torch's dense layers over time in the same round, median [quartiles]; call
overhead, lists from masks and policies included; other masks in every pass. Over masked dense: the
same compared with dense products times masks. Ceiling: speed-up of a dense layer or network so
narrow that it has the executed MACs, the policy's included. Limit: dense MACs over executed
MACs. Masks: independent; by class, ten classes with likely blocks of their own; unbalanced, the
same few likely blocks for all rows; chosen, by the policy. Density: realised, on both sides of a
layer or of each gated layer."""
COLUMNS = {
    "case": "<{case}",
    "masks": "<?{masks}",
    "route": "<?{route}",
    "batch": ">{batch:,}",
    "density": ">{shown_densities}",
    "speed-up": "<{speedup:.2f} [{speedup_low:.2f}, {speedup_high:.2f}]",
    "over masked dense": ">?{masked_dense_speedup:.2f}",
    "ceiling": ">?{ceiling:.1f}",
    "limit": ">{limit:.1f}",
    "ms": ">{milliseconds:.3f}",
    "dense GFLOP/s": ">{dense_gflops:.0f}",
    "GFLOP/s": ">{gflops:.0f}",
}


@dataclass(frozen=True)
class Case:
    """What is timed: one block-sparse pass and what it is compared with."""

    name: str
    """what is multiplied."""
    batch: int
    """rows of a pass."""
    densities: tuple[float, ...]
    """realised share of blocks kept: on both sides of a layer, or of each gated layer."""
    macs: float
    """executed MACs of a sparse pass, the policy's included, of all rows."""
    dense_macs: float
    """MACs of a dense pass, of all rows."""
    sparse: Pass
    """only kept blocks."""
    dense: Pass
    """all blocks, by torch's own layers."""
    masked_dense: Pass | None = None
    """all blocks, thrown away where skipped."""
    equal_dense: Pass | None = None
    """a dense layer or network so narrow that it has the sparse pass's MACs."""
    equal_macs: float = 0.0
    """MACs of that, of all rows."""
    masks: str = "independent"
    """kind of masks."""


def measure(case: Case, rounds: int) -> Row:
    """Times a case's passes in turns, at least two rounds; `NOTES` tells what the row says."""
    names = ("dense", "masked_dense", "equal_dense", "sparse")
    passes = {name: found for name in names if (found := getattr(case, name)) is not None}
    times = seconds_in_turns(passes, rounds)
    row = {
        "case": case.name,
        "masks": case.masks,
        "batch": case.batch,
        "density": statistics.mean(case.densities),
        "densities": case.densities,
        **ratio("speedup", times["dense"], times["sparse"]),
        "limit": case.dense_macs / max(case.macs, 1.0),
        "milliseconds": 1e3 * statistics.median(times["sparse"]),
        "dense_gflops": 2e-9 * case.dense_macs / statistics.median(times["dense"]),
        "gflops": 2e-9 * case.macs / statistics.median(times["sparse"]),
    }
    if "masked_dense" in times:
        ratios = quartiles_of_ratio(times["masked_dense"], times["sparse"])
        row["masked_dense_speedup"] = ratios[1]
    if "equal_dense" in times:
        row["ceiling"] = quartiles_of_ratio(times["dense"], times["equal_dense"])[1]
        row["equal_macs"] = case.equal_macs / max(case.macs, 1.0)
    return row


def ratio(name: str, above: Sequence[float], below: Sequence[float]) -> Row:
    """Ratios of rounds as fields of a row: their median, and their quartiles `_low` and `_high`."""
    low, middle, high = quartiles_of_ratio(above, below)
    return {name: middle, f"{name}_low": low, f"{name}_high": high}


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


def densities(row: Mapping[str, Any]) -> dict[str, str]:
    """Realised densities, one where they are alike to three digits."""
    shown = [f"{value:.3f}" for value in row.get("densities", [row["density"]])]
    return {"shown_densities": " ".join(shown if len(set(shown)) > 1 else shown[:1])}
