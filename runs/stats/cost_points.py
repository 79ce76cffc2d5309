"""Points over cost: a sweep's rows, and times that were recorded apart."""

import functools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ccenv.base.given_files import read_json
from ccenv.base.mask_words import BOTH, deterministic_of, kind_in_words
from ccenv.runs.stats.intervals import Interval, mean_interval
from ccenv.runs.stats.measures import (
    ERROR,
    HALVE,
    Measure,
    Result,
    dataset_of,
    memory_of,
    method_of,
    repeated,
    shown_evaluation,
    shown_masks,
    transforms_of,
    was_deterministic,
)
from ccenv.runs.stats.rows import known

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
    """of an input, the policy's own included; mean over seeds; infinite where it is unknown."""
    error: BySeed
    """seed -> test error."""
    validation: BySeed
    """seed -> validation error of the same kind of masks, of drawn ones where that is not known."""
    milliseconds: Mapping[int, BySeed]
    """inputs of a pass -> seed -> measured time, looking and choosing included."""
    halves: bool = False
    """whether it sees images of half their size."""
    memory: float | None = None
    """bytes of network and policy, None where a run does not say them."""
    masks: str = ""
    """how they are chosen, in words; "" of rules, which training does not change."""
    is_fixed: bool = False
    """whether nothing is chosen in its network, such as a pruned one."""

    @functools.cached_property
    def interval(self) -> Interval:
        """Test error over seeds."""
        return mean_interval(list(self.error.values()))

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


def make_point(
    label: str,
    runs: Sequence[Result],
    deterministic: bool | None,
    measure: Measure = ERROR,
    times: Times | None = None,
) -> Point:
    """A row's runs as one point; `times` were measured in turns, and replace the runs' own."""
    verdicts = [shown_evaluation(run, deterministic) for run in runs]
    own_times: dict[int, dict[int, float]] = {}
    validation: dict[bool | None, dict[int, float]] = {}
    for run in runs:
        for pass_ in run["latency"]:
            own_times.setdefault(pass_["batch_size"], {})[run["seed"]] = pass_["milliseconds"]
        for verdict in run["evaluations"]:
            if verdict["split"] == "validation":
                validation.setdefault(was_deterministic(verdict), {})[run["seed"]] = measure.of(
                    verdict
                )
    # Results of earlier versions know drawn masks' validation error only.
    judged = validation.get(shown_masks(runs[0], deterministic), {})
    return Point(
        label=label,
        method=method_of(runs[0]),
        macs=float(np.mean(known([one["macs"] for one in verdicts]) or [math.inf])),
        error={run["seed"]: measure.of(one) for run, one in zip(runs, verdicts, strict=True)},
        validation=judged if len(judged) == len(runs) else validation.get(False, {}),
        milliseconds=own_times if times is None else times.get(label, {}),
        halves=HALVE in transforms_of(runs[0]),
        memory=memory_of(runs[0]),
        masks=kind_in_words(shown_masks(runs[0], deterministic)) if runs[0]["learns"] else "",
        is_fixed=runs[0]["agent"] == "dense",
    )


def judged_points(
    results: Mapping[str, Sequence[Result]],
    deterministic: bool | None,
    measure: Measure = ERROR,
    times: Times | None = None,
) -> dict[str, list[Point]]:
    """Data set -> a point for each row; no ceilings, and no row that repeats another."""
    same = repeated(results)
    points: dict[str, list[Point]] = {}
    for label, runs in results.items():
        if runs and not runs[0]["uses_labels"] and label not in same:
            point = make_point(label, runs, deterministic, measure, times)
            points.setdefault(dataset_of(runs[0]), []).append(point)
    return points


def times_path(results_dir: Path, sweep: str) -> Path:
    """Where a sweep's times are recorded."""
    return results_dir / f"{sweep}-times.json"


def times_in(results_dir: Path, sweep: str) -> dict[bool | None, Times | None]:
    """`deterministic` -> label -> inputs of a pass -> median milliseconds by seed, or None.

    Rows that were timed with fresh weights have seed 0. Rounds are shared by all rows: what else
    the machine did then slowed all of them.

    Raises:
        ValueError: if the file was edited by hand.
    """
    path = times_path(results_dir, sweep)
    if not path.exists():
        return dict.fromkeys((*BOTH, None))
    by_kind: dict[bool | None, dict[str, dict[int, dict[int, float]]]] = {kind: {} for kind in BOTH}
    for row in read_json(path)["rows"]:
        by_size = by_kind[deterministic_of(row["masks"])].setdefault(row["label"], {})
        by_seed = by_size.setdefault(int(row["batch_size"]), {})
        by_seed[int(row.get("seed", 0))] = statistics.median(row["milliseconds"])
    return {**by_kind, None: by_kind[False]}
