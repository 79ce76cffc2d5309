"""What TensorBoard shows next to curves: custom charts, masks in the projector, maps of block use.

TensorBoard merges the layouts of all runs and leaves out what is there twice. Tags of lines are
regular expressions; those of bands are names: mean, lower and upper end.

A run draws one map of block use for each gate and validation, so matplotlib draws axes, ticks and
colour bar once for all maps of one shape; the cells are painted into that frame.
"""

import functools
import math
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard.writer import SummaryWriter

from ccenv.simulator.evaluate import Evaluation
from ccenv.simulator.simulator import Simulator

MEASURES = {
    "error": "validation error",
    "total_cost": "total cost, policy included",
    "reward": "mean reward of an episode",
    "density": "share of blocks kept",
}
"""What is averaged over seeds, with its title."""

Charts = dict[str, dict[str, list[str | list[str]]]]


def multiline(*tags: str) -> list[str | list[str]]:
    """A chart with a line for each tag that a pattern fits, in each run."""
    return ["Multiline", [f"{tag}$" for tag in tags]]


def band(name: str) -> list[str | list[str]]:
    """A chart with a line and its interval for each agent of a sweep."""
    return ["Margin", [mean_tag(name), *interval_tags(name)]]


def mean_tag(name: str) -> str:
    """Where the mean over seeds is written."""
    return f"over_seeds/{name}"


def interval_tags(name: str) -> tuple[str, str]:
    """Where the ends of its interval are written."""
    return f"over_seeds_interval/{name}_low", f"over_seeds_interval/{name}_high"


def of_a_sweep(measures: Collection[str]) -> Charts:
    """Charts of `ccenv.runs.report.over_seeds`: those of `MEASURES` that some row has."""
    # TensorBoard 2.21 shows charts with bands from the last to the first.
    shown = [name for name in reversed(MEASURES) if name in measures]
    return {"Over seeds: mean and 95 % interval": {MEASURES[name]: band(name) for name in shown}}


OF_A_RUN: Charts = {
    "Single runs": {
        "error: training, validation, test": multiline("(training|eval|test)/error"),
        "cost: compute, total": multiline("eval/(compute|total)_cost"),
        "reward and its terms": multiline("training/return", "reward/.*"),
        "density of each layer": multiline(r"use/density_\d+"),
    }
}
"""Charts of every run."""


NUM_IMAGES = 300
"""So many points: t-SNE in a browser takes seconds, and a run's files stay small."""
CONFIG, SPACE = "projector_config.pbtxt", "masks"
COLUMNS = ("label", "kept")


def clear(folder: Path) -> None:
    """Removes points of an earlier attempt at the same run."""
    (folder / CONFIG).unlink(missing_ok=True)
    for space in folder.glob(f"*/{SPACE}/tensors.tsv"):
        shutil.rmtree(space.parent.parent)


def write_points(
    writer: SummaryWriter, simulator: Simulator, evaluation: Evaluation, images_seen: int
) -> None:
    """Places evenly spread images of a verdict by their masks, next to the event file.

    Nothing is written for rules that keep the same blocks for every image.
    """
    clear(Path(writer.log_dir))
    masks = torch.cat([mask.cpu() for mask in evaluation.masks], dim=1)
    chosen = torch.linspace(0, len(masks) - 1, min(NUM_IMAGES, len(masks))).long()
    rows = masks[chosen]
    if (rows == rows[0]).all():
        return
    data = simulator.on_split(evaluation.split, 1).data
    labels = data.labels[chosen.to(data.labels.device)].tolist()
    metadata = [(str(label), str(int(row.sum()))) for label, row in zip(labels, rows, strict=True)]
    writer.add_embedding(
        rows.to(torch.uint8), metadata, None, images_seen, SPACE, metadata_header=list(COLUMNS)
    )


COLOR_SCALE = "viridis"
"""matplotlib's name of the colour scale from 0 to 1; readable without colours too."""
DPI = 100
"""Pixels an inch."""
CELL, LEAST, MOST = 24, 240, 640
"""Pixels of a cell's side; least and most pixels of the map's side (more only for more cells)."""
LEFT, RIGHT, BOTTOM, TOP = 52, 84, 40, 8
"""Pixels around the map, for labels and the colour bar."""
MOST_NAMES = 16
"""Of more classes or blocks only every second, third, ... is named."""


@dataclass(frozen=True)
class Frame:
    """A picture without its cells."""

    picture: np.ndarray
    """uint8 [height, width, 3]; white where the cells go."""
    rows: slice
    """pixels of the map, from the first class to the last."""
    columns: slice
    """pixels of the map, from the first block to the last."""
    colors: np.ndarray
    """uint8 [256, 3]; from probability 0 to 1."""


def block_map(use: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Draws a map with axes, class names and a scale.

    Args:
        use: [num_classes, num_blocks] in [0, 1]; mean keep probability.
        class_names: of all classes.

    Returns:
        uint8 [height, width, 3].
    """
    frame = frame_of(tuple(class_names), use.shape[1])
    height = frame.rows.stop - frame.rows.start
    width = frame.columns.stop - frame.columns.start
    by_class = np.arange(height) * use.shape[0] // height
    by_block = np.arange(width) * use.shape[1] // width
    levels = np.rint(255 * np.clip(use, 0, 1)).astype(np.uint8)
    picture = frame.picture.copy()
    picture[frame.rows, frame.columns] = frame.colors[levels[by_class][:, by_block]]
    return picture


@functools.lru_cache(maxsize=16)
def frame_of(class_names: tuple[str, ...], num_blocks: int) -> Frame:
    """Draws what all maps of one shape have in common."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    height, width = side(len(class_names)), side(num_blocks)
    whole = LEFT + width + RIGHT, BOTTOM + height + TOP
    figure = Figure(figsize=(whole[0] / DPI, whole[1] / DPI), dpi=DPI)

    def place(left: float, pixels_wide: float) -> tuple[float, float, float, float]:
        return left / whole[0], BOTTOM / whole[1], pixels_wide / whole[0], height / whole[1]

    axes = figure.add_axes(place(LEFT, width))
    axes.set(xlim=(-0.5, num_blocks - 0.5), ylim=(len(class_names) - 0.5, -0.5))
    axes.set(xlabel="block", ylabel="class")
    axes.set_xticks(named_cells(num_blocks))
    rows = named_cells(len(class_names))
    axes.set_yticks(rows, [class_names[row] for row in rows], parse_math=False)
    scale = ScalarMappable(cmap=COLOR_SCALE)
    scale.set_clim(0, 1)
    bar = figure.add_axes(place(LEFT + width + 14, 12))
    figure.colorbar(scale, cax=bar, label="mean keep probability")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    colors = (255 * colormaps[COLOR_SCALE](np.linspace(0, 1, 256))[:, :3]).round().astype(np.uint8)
    return Frame(picture, slice(TOP, TOP + height), slice(LEFT, LEFT + width), colors)


def side(count: int) -> int:
    """Pixels for so many cells.

    >>> side(2), side(10), side(64), side(1000)
    (240, 240, 640, 1000)
    """
    return max(LEAST, min(CELL * count, MOST), count)


def named_cells(count: int) -> range:
    """Numbers of the cells that are named.

    >>> list(named_cells(5)), list(named_cells(64))[:3]
    ([0, 1, 2, 3, 4], [0, 4, 8])
    """
    return range(0, count, math.ceil(count / MOST_NAMES))
