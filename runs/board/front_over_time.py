"""Fronts of a sweep while it learns: where each label is at a time -> pictures over images seen."""

import bisect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from runs.board.pictures import front_axes
from runs.board.plot import Plot
from runs.board.sheet import GREY, INK, SHAPES, Picture, Point
from runs.page.drawing import COLORS
from runs.rows import dominated

NUM_PICTURES = 10
"""TensorBoard shows ten steps of a picture unless it is told to show more."""
LINE = 16
"""Pixels between two lines of the legend."""
WIDTH, LEGEND = 640, 170
"""Of the sheet and of the legend at its right, in pixels."""


@dataclass(frozen=True)
class Way:
    """Where a label was at each validation, mean over seeds."""

    images_seen: tuple[int, ...]
    """rising."""
    points: tuple[Point, ...]
    """(MACs of an image with the policy's own, validation error) at each."""
    is_ceiling: bool
    """whether it knows the label; such are no part of a front."""

    def at(self, images_seen: int) -> Point:
        """The last point by then."""
        return self.points[max(bisect.bisect_right(self.images_seen, images_seen) - 1, 0)]

    def until(self, images_seen: int) -> Sequence[Point]:
        """The points by then."""
        return self.points[: max(bisect.bisect_right(self.images_seen, images_seen), 1)]


def fronts_pictures(ways: Mapping[str, Way]) -> Iterator[tuple[int, Picture]]:
    """Draws the labels at up to `NUM_PICTURES` times, the last one always.

    Yields:
        Images seen, and the picture.
    """
    times = sorted({images for way in ways.values() for images in way.images_seen})
    stride = -(-max(len(times) - 1, 0) // (NUM_PICTURES - 1)) or 1
    for images_seen in sorted(times[::-1][::stride]):
        yield images_seen, fronts_picture(ways, images_seen)


def look(index: int) -> tuple[str, str]:
    """Colour and shape of the index-th label; the first forty differ."""
    return COLORS[index % len(COLORS)], SHAPES[index // len(COLORS) % len(SHAPES)]


def fronts_picture(ways: Mapping[str, Way], images_seen: int) -> Picture:
    """Draws where each label is, its way as a thin line, and the front of all as a stair."""
    shown = [way for way in ways.values() if not way.is_ceiling] or list(ways.values())
    every = [point for way in shown for point in way.points]
    most = max(cost for cost, _ in every) or 1.0
    axes = front_axes(every, "MACs of an image, policy included", most)
    plot = Plot(*axes, WIDTH, LEGEND)
    plot.text(62, 14, f"validation images after {images_seen:,} training images, mean over seeds")
    draw_front(plot, [way.at(images_seen) for way in ways.values() if not way.is_ceiling])
    for index, way in enumerate(ways.values()):
        plot.line([plot.at(point) for point in way.until(images_seen)], look(index)[0], 0.7)
    for index, way in enumerate(ways.values()):
        plot.mark(*plot.at(way.at(images_seen)), *look(index), 4.5, hollow=way.is_ceiling)
    draw_legend(plot, ways)
    return plot.picture()


def draw_front(plot: Plot, points: Sequence[Point]) -> None:
    """Draws the stair through the points that no other beats."""
    best = [plot.at(p) for p in sorted(set(points)) if not dominated(p, points)]
    corners = [(after[0], before[1]) for before, after in itertools.pairwise(best)]
    stair = [p for pair in zip(best, corners, strict=False) for p in pair] + best[-1:]
    plot.line(stair, INK, 1.2)


def draw_legend(plot: Plot, ways: Mapping[str, Way]) -> None:
    """Names as many labels as there is room for."""
    x, room = plot.right + 18, (plot.bottom - plot.top) // LINE
    shown = list(ways)[: room if len(ways) <= room else room - 1]
    for index, label in enumerate(shown):
        y = plot.top + LINE * (index + 0.5)
        plot.mark(x, y, *look(index), 4.5, hollow=ways[label].is_ceiling)
        plot.text(x + 10, y, label if len(label) <= 24 else label[:23] + "…")
    if len(shown) < len(ways):
        plot.text(
            x - 4, plot.top + LINE * (len(shown) + 0.5), f"{len(ways) - len(shown)} more", GREY
        )
