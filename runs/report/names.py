"""Writes names at the points of a figure, where they cover no mark, no other name and few lines."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

LABEL_SIZE = 7.5
"""Points of letters at a point."""
MOST_TRIED = 16
"""Points at which a name is tried."""
GAPS = (2.0, 8.0, 15.0)
"""Points between the edge of a mark and its name, the first the best."""
RADIUS, SMALL = 3.6, 2.2
"""Points, of a mark and of a pale one, with a little room around."""
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
"""Where a name may stand: right, left, above, below and between these."""
CROSSED = 0.6
"""How much a name that is crossed by a line is disliked, for each point of the line below it."""
NEARER = 2.0
"""Points by which a name is nearer to its own mark than to any other name's, at least."""
Place = tuple[float, float]


def write_names(
    axes: Any,
    places: Mapping[str, Sequence[Place]],
    colors: Mapping[str, str],
    lines: Sequence[Sequence[Place]] = (),
    pale: Sequence[Place] = (),
) -> list[str]:
    """Writes names at their points where they cover no mark, no other name and few lines.

    A name's nearest mark is its own, and the nearest name of a mark that has one is its own.

    Args:
        axes: with its limits and its place in the figure.
        places: name -> its points (x, y); it is written at one of them.
        colors: name -> colour of its letters.
        lines: drawn ones, as points (x, y).
        pale: small marks without a name.

    Returns:
        Names for which there is no room.
    """
    axes.figure.set_dpi(72)
    put = axes.transData.transform
    frame = np.array(axes.bbox.extents)
    marks = {name: put(points) for name, points in places.items()}
    small = put(pale) if pale else np.empty((0, 2))
    # Marks with a name, and the names' boxes.
    named, written = np.empty((0, 2)), np.empty((0, 4))
    seen = [np.clip(put(line), frame[:2], frame[2:]) for line in lines]
    crossed = np.concatenate([np.empty((0, 2)), *map(points_along, seen)])
    without = []
    for name in sorted(places, key=lambda name: len(places[name])):
        tried = marks[name][:: -(-len(places[name]) // MOST_TRIED)]
        boxes = boxes_around(tried, *size_of(name))
        at = np.tile(tried, (len(boxes) // len(tried), 1))
        far = distances(boxes, at).diagonal()
        is_free = ((boxes[:, :2] >= frame[:2]) & (boxes[:, 2:] <= frame[2:])).all(1)
        is_free &= (distances(boxes, marks[name]) >= RADIUS).all(1)
        is_free &= (distances(boxes, small) >= SMALL).all(1)
        for other, points in marks.items():
            if other != name:
                is_free &= distances(boxes, points).min(1) >= np.maximum(far + NEARER, RADIUS)
        low, high = boxes[:, None, :2], boxes[:, None, 2:]
        is_free &= ~((low < written[:, 2:]) & (written[:, :2] < high)).all(2).any(1)
        is_free &= (distances(boxes, named) > distances(written, named).diagonal()).all(1)
        is_free &= (distances(written, at) > far).all(0)
        if not is_free.any():
            without.append(name)
            continue
        dislike = CROSSED * ((low < crossed) & (crossed < high)).all(2).sum(1)
        distance = 4 * np.arange(len(boxes)) / len(boxes)
        best = np.argmin(np.where(is_free, dislike + distance, np.inf))
        named, written = np.vstack([named, at[best]]), np.vstack([written, boxes[best]])
        corner = axes.transData.inverted().transform(boxes[best, :2])
        axes.text(*corner, name, color=colors[name], fontsize=LABEL_SIZE, va="bottom", zorder=5)
    return without


def distances(boxes: Any, points: Any) -> Any:
    """From each box [boxes, 4] to each point [points, 2]: [boxes, points], 0 within a box."""
    beyond = np.maximum(boxes[:, None, :2] - points, points - boxes[:, None, 2:])
    return np.hypot(*np.maximum(beyond, 0).transpose(2, 0, 1))


def points_along(line: Any) -> Any:
    """Points along a line, some three points (1/72 inch) apart."""
    pieces = [line[:1]]
    for start, end in itertools.pairwise(line):
        count = 1 + int(np.hypot(*(end - start)) / 3)
        pieces.append(start + (end - start) * np.linspace(0, 1, count + 1)[1:, None])
    return np.concatenate(pieces)


def boxes_around(points: Any, width: float, height: float) -> Any:
    """Boxes [left, bottom, right, top] of a name around each of its marks, nearest first."""
    corners = [
        (
            x + dx * (RADIUS + gap) - width * (1 - dx) / 2,
            y + dy * (RADIUS + gap) - height * (1 - dy) / 2,
        )
        for gap in GAPS
        for dx, dy in SIDES
        for x, y in points
    ]
    low = np.array(corners)
    return np.concatenate([low, low + np.array([width, height])], axis=1)


@functools.cache
def size_of(text: str) -> tuple[float, float]:
    """Width and height of a name at a point, in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=LABEL_SIZE)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, False)
    return float(width), 1.15 * LABEL_SIZE
