"""A sweep for TensorBoard: a comparison -> event files of means over seeds.

Written to `<log_dir>/tbm/`: a run `<label>, <sweep>` for each label, so that the charts of
`ccenv.runs.tensorboard.charts` compare labels as they compare runs, and the run `table, <sweep>`
for all of them. Recorded results are enough: no folder of a single run is read.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard.writer import SummaryWriter

from ccenv.runs.config.plan import safe_name
from ccenv.runs.engine.sweep_runs import SweepRuns
from ccenv.runs.stats.intervals import Interval, mean_interval
from ccenv.runs.stats.measures import Result
from ccenv.runs.store import folder as run_folder
from ccenv.runs.tables.sweep_table import notes, table
from ccenv.runs.tensorboard.charts import MEASURES, of_a_sweep, tags_over_seeds
from ccenv.runs.tensorboard.names import BOARD, readable_name

MEANS = f"{BOARD}m"
"""TensorBoard sorts names and cuts their ends: means stand behind runs, and begin with labels."""
HIGHEST = {"error": 1.0, "density": 1.0}
"""No interval reaches above these; all but that of the reward end at 0."""


def write_sweep(comparison: SweepRuns, log_dir: str) -> Path:
    """Writes what is finished of a sweep.

    Returns:
        The folder, for `tensorboard --logdir`.
    """
    board, of_sweep = Path(log_dir) / MEANS, f", {safe_name(comparison.name)}"
    curves = {
        label: make_curves(results) for label, results in comparison.results.items() if results
    }
    earlier = list(board.glob(f"*{of_sweep}"))
    run_folder.refuse_links((board, *earlier))
    with run_folder.locked(board, wait=True):
        for place in earlier:
            shutil.rmtree(place, ignore_errors=True)
        every = [curve for of_label in curves.values() for curve in of_label.values()]
        end = max((images for curve in every for images in curve), default=0)
        for label, of_label in curves.items():
            with SummaryWriter(str(board / f"{readable_name(label)}{of_sweep}")) as writer:
                for name, curve in of_label.items():
                    # A rule that does not learn is a level line to the end.
                    line = curve | {end: curve[0]} if list(curve) == [0] else curve
                    write_line(writer, name, line)
        # What shows all labels together: the table and the layout of charts.
        with SummaryWriter(str(board / f"table{of_sweep}")) as writer:
            writer.add_custom_scalars(of_a_sweep(set().union(*curves.values())))
            rows = comparison.rows
            writer.add_text("table", f"{table(rows)}\n\n{notes(rows)}", 0)
    return board


def write_line(writer: SummaryWriter, name: str, line: Mapping[int, Interval]) -> None:
    """Writes means of a measure and the ends of their intervals, within what is possible."""
    for images_seen, one in line.items():
        # Of a single seed the ends are the mean itself.
        ends = [one.mean if end is None else end for end in (one.low, one.high)]
        lowest = -np.inf if name == "reward" else 0.0
        within = np.clip(ends, lowest, HIGHEST.get(name, np.inf)).tolist()
        for tag, value in zip(tags_over_seeds(name), [one.mean, *within], strict=True):
            writer.add_scalar(tag, value, images_seen)


def make_curves(results: Sequence[Result]) -> dict[str, dict[int, Interval]]:
    """Averages the validations of a label's seeds, with Student's 95 % interval of the mean.

    The bootstrap of `ccenv.runs.stats.intervals` would be too narrow for the three seeds that most
    sweeps have.

    Returns:
        Name in `MEASURES` -> images seen -> mean and interval, where every seed was validated; of
        measures that every result holds: recorded ones do not keep the reward.
    """
    by_seed = [{p["images_seen"]: numbers(p, r) for p in r.get("curve", [])} for r in results]
    shared = sorted(set.intersection(*(set(points) for points in by_seed)))
    at_once = {images: [points[images] for points in by_seed] for images in shared}
    return {
        name: {n: mean_interval([one[name] for one in ones]) for n, ones in at_once.items()}
        for name in MEASURES
        if shared and all(name in one for ones in at_once.values() for one in ones)
    }


def numbers(point: Mapping[str, Any], result: Result) -> dict[str, float]:
    """What is averaged of one validation of a run.

    Density is that of all blocks, where their number is known, else the mean of the gates'.
    """
    if "block_use" in result:
        blocks = [len(by_class[0]) for by_class in result["block_use"]]
    else:
        environment = result["settings"]["environment"]
        # Of a network with arguments of its own a recorded result does not say them.
        blocks = [] if environment.get("network_kwargs") else environment["num_blocks"]
    weights = blocks if len(blocks) == len(point["density"]) else None
    names = {"error": "error", "total_cost": "total_cost", "reward": "mean_return"}
    values = {k: float(point[name]) for k, name in names.items() if point.get(name) is not None}
    return values | {"density": float(np.average(point["density"], weights=weights))}
