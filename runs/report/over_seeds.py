"""A sweep for TensorBoard: a comparison -> event files of means over seeds.

Written to `<log_dir>/tbm/`: a run `<label>, <sweep>` for each label, so that the charts of
`ccenv.runs.tensorboard.charts` compare labels as they compare runs, and the run `table, <sweep>`
for all of them. Recorded results are enough: no folder of a single run is read.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard.writer import SummaryWriter

from ccenv.runs.config.plan import safe_name
from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.stats.intervals import Interval, mean_interval
from ccenv.runs.stats.measures import Result
from ccenv.runs.store import folder as run_folder
from ccenv.runs.tables.sweep_table import notes, table
from ccenv.runs.tensorboard.charts import MEASURES, interval_tags, mean_tag, of_a_sweep
from ccenv.runs.tensorboard.names import BOARD, readable_name

MEANS = f"{BOARD}m"
"""TensorBoard sorts names and cuts their ends: means stand behind runs, and begin with labels."""
HIGHEST = {"error": 1.0, "density": 1.0}
"""No interval reaches above these; all but that of the reward end at 0."""


@dataclass(frozen=True)
class Curve:
    """Means over the seeds of one label."""

    images_seen: tuple[int, ...]
    """where every seed was validated."""
    measures: Mapping[str, tuple[Interval, ...]]
    """name in `MEASURES` -> mean and interval there; those that every result holds."""


def write_sweep(comparison: Comparison, log_dir: str) -> Path:
    """Writes what is finished of a sweep.

    Returns:
        The folder, for `tensorboard --logdir`.
    """
    board, of_sweep = Path(log_dir) / MEANS, f", {safe_name(comparison.name)}"
    curves = {label: make_curve(found) for label, found in comparison.results.items() if found}
    earlier = list(board.glob(f"*{of_sweep}"))
    run_folder.refuse_links((board, *earlier))
    with run_folder.locked(board, wait=True):
        for place in earlier:
            shutil.rmtree(place, ignore_errors=True)
        places = {label: board / f"{readable_name(label)}{of_sweep}" for label in curves}
        write_labels(curves, places)
        # What shows all labels together: the table and the layout of charts.
        with SummaryWriter(str(board / f"table{of_sweep}")) as writer:
            measures = {name for curve in curves.values() for name in curve.measures}
            writer.add_custom_scalars(of_a_sweep(measures))
            rows = comparison.rows
            writer.add_text("table", f"{table(rows)}\n\n{notes(rows)}", 0)
    return board


def make_curve(results: Sequence[Result]) -> Curve:
    """Averages the validations of all seeds, with Student's 95 % interval of the mean.

    The bootstrap of `ccenv.runs.stats.intervals` would be too narrow for the three seeds that most
    sweeps have.
    """
    by_seed = [{point["images_seen"]: point for point in r.get("curve", [])} for r in results]
    shared = sorted(set.intersection(*(set(points) for points in by_seed)))
    blocks = [blocks_by_gate(result) for result in results]
    values = [
        [numbers(points[images], sizes) for points, sizes in zip(by_seed, blocks, strict=True)]
        for images in shared
    ]
    names = [n for n in MEASURES if shared and all(n in each for v in values for each in v)]
    measures = {
        name: tuple(mean_interval([each[name] for each in at_once]) for at_once in values)
        for name in names
    }
    return Curve(tuple(shared), measures)


def blocks_by_gate(result: Result) -> Sequence[int] | None:
    """Blocks of each gate; None where a result does not say them, as a recorded one."""
    if "block_use" in result:
        return [len(by_class[0]) for by_class in result["block_use"]]
    environment = result["settings"]["environment"]
    return None if environment.get("network_kwargs") else environment["num_blocks"]


def numbers(point: Mapping[str, Any], num_blocks: Sequence[int] | None) -> dict[str, float]:
    """What is averaged of one validation; recorded results do not keep the reward.

    Density is that of all blocks, where their number is known, else the mean of the gates'.
    """
    names = [name for name in ("error", "total_cost") if point[name] is not None]
    found = {name: float(point[name]) for name in names}
    known = num_blocks if num_blocks and len(num_blocks) == len(point["density"]) else None
    found["density"] = float(np.average(point["density"], weights=known))
    return found | ({"reward": float(point["mean_return"])} if "mean_return" in point else {})


def write_labels(curves: Mapping[str, Curve], places: Mapping[str, Path]) -> None:
    """One run for each label; a rule that does not learn is a level line to the end."""
    end = max((images for c in curves.values() for images in c.images_seen), default=0)
    for label, curve in curves.items():
        times = [*curve.images_seen, end] if curve.images_seen == (0,) else curve.images_seen
        with SummaryWriter(str(places[label])) as writer:
            for name, intervals in curve.measures.items():
                for index, images_seen in enumerate(times):
                    one = intervals[min(index, len(intervals) - 1)]
                    writer.add_scalar(mean_tag(name), one.mean, images_seen)
                    # Of a single seed the ends are the mean itself.
                    ends = (one.mean if end is None else end for end in (one.low, one.high))
                    lowest = -np.inf if name == "reward" else 0.0
                    within = np.clip(list(ends), lowest, HIGHEST.get(name, np.inf)).tolist()
                    for tag, value in zip(interval_tags(name), within, strict=True):
                        writer.add_scalar(tag, value, images_seen)
