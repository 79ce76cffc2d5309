"""Draws a map of block use: mean keep probabilities [classes, blocks] -> a labelled picture.

A run draws one map for each gate and validation, so matplotlib draws axes, ticks and colour bar
once for all maps of one shape; the cells are painted into that frame.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

COLORS = "viridis"
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
    scale = ScalarMappable(cmap=COLORS)
    scale.set_clim(0, 1)
    bar = figure.add_axes(place(LEFT + width + 14, 12))
    figure.colorbar(scale, cax=bar, label="mean keep probability")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    colors = (255 * colormaps[COLORS](np.linspace(0, 1, 256))[:, :3]).round().astype(np.uint8)
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
