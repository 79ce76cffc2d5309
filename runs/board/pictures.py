"""Pictures of one run: keep probabilities by class, or its way to the front -> small PNGs."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runs.board.baselines import Baselines
from runs.board.plot import Axis, Plot, around
from runs.board.sheet import GREY, INK, Picture, Point, Sheet

VIRIDIS = (
    *("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c"),
    *("#28ae80", "#5ec962", "#addc30", "#fde725"),
)
"""Nine colours of matplotlib's map, which reads in grey too."""
CELL = 18
"""Pixels of one block of one class."""


@functools.cache
def colors() -> NDArray[np.uint8]:
    """VIRIDIS in 256 steps: RGB uint8 [256, 3]."""
    known = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in VIRIDIS])
    places = np.linspace(0, len(VIRIDIS) - 1, 256)
    mixed = [np.interp(places, np.arange(len(VIRIDIS)), part) for part in known.T]
    return np.stack(mixed, axis=1).round().astype(np.uint8)


def shade(values: Any) -> NDArray[np.uint8]:
    """Colours of numbers in [0, 1]: [...] -> RGB uint8 [..., 3].

    >>> shade([0.0, 1.0]).tolist()
    [[68, 1, 84], [253, 231, 37]]
    """
    return colors()[(255 * np.clip(values, 0, 1)).round().astype(np.uint8)]


def use_picture(use: NDArray[np.floating[Any]], layer: int) -> Picture:
    """Draws mean keep probabilities [num_classes, num_blocks]: classes down, blocks across."""
    num_classes, num_blocks = use.shape
    cell = max(4, min(CELL, 640 // num_blocks))
    left, top, width, height = 46, 26, cell * num_blocks, cell * num_classes
    sheet = Sheet(max(left + width + 70, 260), top + height + 44)
    sheet.text(left, 12, f"mean keep probability {use.mean():.2f}, by class")
    sheet.tiles(left, top, width, height, shade(use))
    for row in range(0, num_classes, -(-num_classes // 20)):
        sheet.text(left - 6, top + (row + 0.5) * cell, str(row), GREY, "rm")
    for column in range(0, num_blocks, -(-num_blocks * 24 // width)):
        sheet.text(left + (column + 0.5) * cell, top + height + 11, str(column), GREY, "mm")
    sheet.text(left + width / 2, top + height + 31, f"block of gated layer {layer}", INK, "mm")
    sheet.text_upwards(10, top + height / 2, "class")
    draw_scale(sheet, left + width + 14, top, height)
    return sheet.picture()


def draw_scale(sheet: Sheet, x: int, top: int, height: int) -> None:
    """Draws the bar that says which colour is which number."""
    sheet.tiles(x, top, 12, height, shade(np.linspace(1, 0, 64))[:, None])
    for value in (0.0, 0.5, 1.0):
        sheet.text(x + 18, top + height * (1 - value), f"{value:g}", GREY)


def front_picture(curve: Sequence[dict[str, Any]], baselines: Baselines) -> Picture:
    """Draws a run's way through error and total cost, beside the baselines of its network.

    Args:
        curve: its validations so far, each with `images_seen`, `error` and `total_cost`.
        baselines: error and compute cost of the dense network and of random masks.
    """
    way = [(float(p["total_cost"]), float(p["error"])) for p in curve]
    others = [*baselines.uniform, *([baselines.dense] if baselines.dense else [])]
    plot = Plot(*front_axes([*way, *others], "total cost (policy included)", 1.0))
    draw_baselines(plot, baselines)
    plot.line([plot.at(point) for point in way], GREY)
    shades = shade(np.linspace(0, 0.95, len(way))).tolist()
    for point, color in zip(way, shades, strict=True):
        plot.mark(*plot.at(point), tuple(color))
    plot.mark(*plot.at(way[-1]), INK, size=6, hollow=True)
    plot.mark(*plot.at(way[-1]), "#d55e00", size=3)
    cost, error = way[-1]
    seen = curve[-1]["images_seen"]
    plot.text(62, 14, f"{seen:,} images: error {100 * error:.1f} %, total cost {cost:.3f} (ring)")
    return plot.picture()


def front_axes(points: Sequence[Point], title: str, most: float) -> tuple[Axis, Axis]:
    """Axes of cost and error that hold all points, and at least a tenth of each."""
    costs, errors = zip(*points, strict=True)
    return (
        Axis(*around(costs, 0.1 * most, most), title),
        Axis(*around(errors, 0.01, 1.0), "validation error", percent=True),
    )


def draw_baselines(plot: Plot, baselines: Baselines) -> None:
    """Draws the dense network and the line of random masks, with their names."""
    places = [plot.at(point) for point in baselines.uniform]
    plot.line(places, "#56b4e9")
    for place in places:
        plot.mark(*place, "#56b4e9", "square", 3)
    if places:
        x, y = places[len(places) // 2]
        plot.text(x + 8, y - 6, "random masks", "#0072b2", "lb")
    if baselines.dense is not None:
        x, y = plot.at(baselines.dense)
        plot.mark(x, y, "#0072b2", "diamond", 4)
        plot.text(x - 8, y, "dense", "#0072b2", "rm")
