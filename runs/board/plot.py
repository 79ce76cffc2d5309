"""A plot: points in two logarithmic axes -> places on a sheet with a grid and numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from runs.board.sheet import GREY, INK, PALE, Point, Sheet

HEIGHT = 360
"""Of every plot, in pixels."""


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis."""

    low: float
    """its lower end, above 0; what lies beyond an end is drawn at it."""
    high: float
    """its upper end."""
    title: str
    """what it measures."""
    percent: bool = False
    """whether its numbers are shares, shown in per cent."""

    def place(self, value: float) -> float:
        """Where a value lies between the ends, in [0, 1]."""
        inside = min(max(value, self.low), self.high)
        return math.log(inside / self.low) / math.log(self.high / self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """Values 1, 2, 5, 10, ... between the ends, with their labels."""
        exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        values = [m * 10.0**e for e in exponents for m in (1, 2, 5)]
        inside = [v for v in values if self.low * 0.999 <= v <= self.high * 1.001]
        return [(v, number(100 * v) + " %" if self.percent else number(v)) for v in inside]


def number(value: float) -> str:
    """A number in few letters.

    >>> [number(x) for x in (0.05, 20, 2000, 5e6)]
    ['0.05', '20', '2k', '5M']
    """
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:g}{letter}"
    return f"{value:g}"


def around(values: Sequence[float], low: float, high: float) -> tuple[float, float]:
    """Ends of an axis that holds values and at least [low, high]: 1, 2 or 5 times a power of ten.

    It reaches three powers of ten below `low` at most, whatever the values.

    >>> around([0.03, 0.4], low=0.1, high=1.0)
    (0.02, 1.0)
    """
    known = [max(value, low / 1000) for value in values]
    return step_below(min([*known, low])), step_above(max([*known, high]))


def step_below(value: float) -> float:
    """The largest of ..., 0.1, 0.2, 0.5, 1, 2, 5, ... that is not above a value."""
    base = 10.0 ** math.floor(math.log10(value))
    return float(f"{max(m * base for m in (0.5, 1, 2, 5) if m * base <= value * 1.0001):g}")


def step_above(value: float) -> float:
    """The smallest of the same numbers that is not below a value."""
    base = 10.0 ** math.floor(math.log10(value))
    return float(f"{min(m * base for m in (1, 2, 5, 10) if m * base >= value * 0.9999):g}")


class Plot(Sheet):
    """A sheet with two axes."""

    def __init__(self, x: Axis, y: Axis, width: int = 480, right: int = 16) -> None:
        """Draws axes and grid.

        Args:
            x: to the right.
            y: upwards.
            width: of the sheet in pixels; it is 360 high.
            right: pixels left free beside the axes, for a legend.
        """
        super().__init__(width, HEIGHT)
        self.x, self.y = x, y
        self.left, self.top = 62, 30
        self.right, self.bottom = width - right, HEIGHT - 46
        for value, label in x.ticks():
            across, _ = self.at((value, y.low))
            self.line([(across, self.top), (across, self.bottom)], PALE)
            self.text(across, self.bottom + 11, label, GREY, "mm")
        for value, label in y.ticks():
            _, down = self.at((x.low, value))
            self.line([(self.left, down), (self.right, down)], PALE)
            self.text(self.left - 6, down, label, GREY, "rm")
        corners = [(self.left, self.top), (self.left, self.bottom), (self.right, self.bottom)]
        self.line(corners, GREY)
        self.text((self.left + self.right) / 2, self.bottom + 32, x.title, INK, "mm")
        self.text_upwards(10, (self.top + self.bottom) / 2, y.title)

    def at(self, point: Point) -> Point:
        """Where a point of the axes lies on the sheet."""
        across = self.left + self.x.place(point[0]) * (self.right - self.left)
        return across, self.bottom - self.y.place(point[1]) * (self.bottom - self.top)
