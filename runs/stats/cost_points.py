"""Points over cost: a sweep's rows, dense networks of other sweeps, times recorded apart."""

import dataclasses
import functools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ccenv.runs.stats.intervals import Interval, mean_interval
from ccenv.runs.stats.measures import (
    ERROR,
    MODES,
    OWN,
    Measure,
    Result,
    has_halves,
    memory_of,
    method_of,
    shown_evaluation,
    shown_masks,
)
from ccenv.runs.stats.rows import mean_place
from ccenv.runs.store import json_file
from ccenv.runs.store.recorded import read_cells

BySeed = Mapping[int, float]
Times = Mapping[str, Mapping[int, BySeed]]


@dataclass(frozen=True)
class Point:
    """One row of a sweep as a point over cost."""

    label: str
    """what the sweep calls it."""
    method: str
    """rows of one method are variants of each other where they cost the same."""
    macs: float
    """of an image, the policy's own included; mean over seeds; infinite where it is unknown."""
    error: BySeed
    """seed -> test error."""
    validation: BySeed
    """seed -> validation error of the same kind of masks, of drawn ones where that is not known."""
    milliseconds: Mapping[int, BySeed]
    """images of a pass -> seed -> measured time, looking and choosing included."""
    halves: bool = False
    """whether it sees images of half their size."""
    memory: float | None = None
    """bytes of network and policy, None where a run does not say them."""
    masks: str = ""
    """how they are chosen, see `shown_masks`; "" of rules, which training does not change."""
    is_fixed: bool = False
    """whether nothing is chosen in its network, such as a pruned one."""

    @functools.cached_property
    def interval(self) -> Interval:
        """Test error over seeds."""
        return mean_interval(list(self.error.values()))

    @property
    def validated(self) -> Interval | None:
        """Validation error over seeds; None where it is not known."""
        return mean_interval(list(self.validation.values())) if self.validation else None

    @functools.cached_property
    def validation_mean(self) -> float:
        """Mean validation error; what is not known is never chosen."""
        return float(np.mean(list(self.validation.values()))) if self.validation else math.inf

    @property
    def kilobytes(self) -> float | None:
        """Memory of network and policy in kB, None where it is not known."""
        return None if self.memory is None else self.memory / 1000

    def time(self, images: int) -> float | None:
        """Least time of a pass over seeds, None where it was not measured.

        Runs are timed side by side: other work on the machine can only lengthen a time.
        """
        return min(self.milliseconds.get(images, {}).values(), default=None)


def in_turns(point: Point, times: Times | None) -> Point:
    """A point with the times that were measured in turns, its runs' own where nothing was."""
    if times is None:
        return point
    return dataclasses.replace(point, milliseconds=times.get(point.label, {}))


def make_point(label: str, runs: Sequence[Result], draw: str, measure: Measure = ERROR) -> Point:
    """A row's runs as one point."""
    verdicts = [shown_evaluation(run, draw) for run in runs]
    times: dict[int, dict[int, float]] = {}
    validation: dict[str, dict[int, float]] = {}
    for run in runs:
        for pass_ in run["latency"]:
            times.setdefault(pass_["batch_size"], {})[run["seed"]] = pass_["milliseconds"]
        for verdict in run["evaluations"]:
            if verdict["split"] == "validation":
                validation.setdefault(verdict["mode"], {})[run["seed"]] = measure.of(verdict)
    errors = {run["seed"]: measure.of(found) for run, found in zip(runs, verdicts, strict=True)}
    macs = mean_place(runs, draw)[0]
    # Results of earlier versions know drawn masks' validation error only.
    judged = validation.get(shown_masks(runs[0], draw), {})
    known = judged if len(judged) == len(runs) else validation.get("sampled", {})
    masks = shown_masks(runs[0], draw) if runs[0]["learns"] else ""
    own = has_halves(runs[0]), memory_of(runs[0])
    is_fixed = runs[0]["agent"] == "dense"
    return Point(label, method_of(runs[0]), macs, errors, known, times, *own, masks, is_fixed)


def borrowed(datasets: Iterable[str], results_dir: Path, own: str) -> dict[str, list[Point]]:
    """Data set -> dense rows of its equal-cost sweep, as far as that has come.

    They have no times: those of two sweeps do not compare.

    Raises:
        ValueError: if a file was edited by hand.
    """
    found = {}
    for dataset in dict.fromkeys(datasets):
        name = f"equal-cost-{dataset.partition('+')[0]}"
        path = results_dir / f"{name}.json"
        if name != own and path.exists():
            runs: dict[str, list[Result]] = {}
            for cell in read_cells(path):
                if cell["agent"] == "dense":
                    runs.setdefault(cell["label"], []).append({**cell, "latency": []})
            found[dataset] = [make_point(label, cells, "sampled") for label, cells in runs.items()]
    return found


def times_path(results_dir: Path, sweep: str) -> Path:
    """Where a sweep's times are recorded."""
    return results_dir / f"{sweep}-times.json"


def recorded_times(path: Path, draw: str) -> dict[str, dict[int, dict[int, float]]] | None:
    """Label -> images of a pass -> median milliseconds by seed; None where nothing is recorded.

    Rows that were timed with fresh weights have seed 0. Rounds are shared by all rows: what else
    the machine did then slowed all of them.

    Raises:
        ValueError: if the file was edited by hand.
    """
    if not path.exists():
        return None
    found: dict[str, dict[int, dict[int, float]]] = {}
    for row in json_file.check_json(path)["rows"]:
        if row["masks"] == draw:
            middle = statistics.median(row["milliseconds"])
            by_seed = found.setdefault(row["label"], {}).setdefault(int(row["batch_size"]), {})
            by_seed[int(row.get("seed", 0))] = middle
    return found


def times_in(results_dir: Path, sweep: str) -> dict[str, Times | None]:
    """Masks -> times of a sweep's rows, None where there are none."""
    path = times_path(results_dir, sweep)
    times: dict[str, Times | None] = {draw: recorded_times(path, draw) for draw in MODES}
    return times | {OWN: times["sampled"]}
