"""What benchmarks share: a case timed in turns -> a row, and experiments made of rounds.

Every pass takes other masks, from a pool drawn beforehand, so that neither caches nor branch
predictors learn them; building lists from the masks is part of a pass. Policies, where a case has
them, are part of it too.
"""

import argparse
import bisect
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ccenv.base.clock import quartiles_of_ratio, seconds_in_turns
from ccenv.runs.lab.experiment import Experiment, Options, tuned
from ccenv.sparse.cpu.codegen.compiled import LANES

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
USUAL_LANES = 16
"""floats of a vector; results of machines with others have names of their own."""
QUICK_ROUNDS = 3
Timed = Callable[..., Iterable[Row]]
"""(quick=, rounds=) -> rows, one after the other."""


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


def time_case(case: Case, rounds: int) -> Row:
    """Times a case's passes in turns, at least two rounds; `NOTES` tells what the row says."""
    names = ("dense", "masked_dense", "equal_dense", "sparse")
    passes = {name: timed for name in names if (timed := getattr(case, name)) is not None}
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
    """The width, from 1 to `widest`, whose MACs, which grow with it, are nearest to the given ones.

    >>> width_of_macs(100, lambda units: units * units)
    10
    """
    above = 1 + bisect.bisect_left(range(1, widest), macs, key=macs_of)
    return min((max(1, above - 1), above), key=lambda units: abs(macs_of(units) - macs))


def densities(row: Mapping[str, Any]) -> dict[str, str]:
    """Realised densities, one where they are alike to three digits."""
    shown = [f"{value:.3f}" for value in row.get("densities", [row["density"]])]
    return {"shown_densities": " ".join(shown if len(set(shown)) > 1 else shown[:1])}


def benchmark(
    name: str,
    about: str,
    timed: Timed,
    columns: Mapping[str, str],
    *,
    recorded_as: str = "",
    rounds: int = 11,
    names_machine: bool = True,
    **shown: Any,
) -> Experiment:
    """An experiment whose rows are timings; other arguments are fields of `Experiment`.

    `timed` measures each case once a round. `recorded_as` names the usual result, and its kind
    unless one is given, by default as the experiment: other threads and allocator settings are
    added to it, and other vectors.
    """
    usual_name = recorded_as or name

    def add_options(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--quick", action="store_true", help="a few small cases, seconds only")
        parser.add_argument("--repeats", type=int, help=f"rounds of each case; {rounds} by default")

    def run(options: Options) -> Iterable[Row]:
        if options.repeats is not None and options.repeats < 2:
            raise ValueError(f"expected --repeats of at least 2, got {options.repeats}")
        usual = QUICK_ROUNDS if options.quick else rounds
        return timed(quick=options.quick, rounds=options.repeats or usual)

    def file_name(options: Options) -> str:
        lanes = f"-{LANES}-lanes" if LANES != USUAL_LANES else ""
        threads = f"-{options.threads}-threads" if options.threads > 1 else ""
        memory = "-kept-memory" if any(word.startswith("MALLOC_") for word in tuned()) else ""
        return f"{usual_name}{lanes}{threads}{memory}"

    return Experiment(
        name=name,
        about=about,
        run=run,
        columns=columns,
        kind=shown.pop("kind", usual_name),
        recorded_as=file_name,
        add_options=add_options,
        names_machine=names_machine,
        **shown,
    )
