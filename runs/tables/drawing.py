"""Draws figures as PNG and as SVG that follows light and dark.

Figures are as wide as a phone, so that their letters are as large as the text around them; those
of `WIDE` are for screens.
"""

import functools
import io
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ccenv.base.files import write_whole

INK = "#101112"
"""Drawn with this colour: whatever is black on white paper and light on a dark screen."""
WIDTH, WIDE = 3.6, 7.6
"""Inches."""
MAX_LETTERS = 20
"""Names up to so long fit in a legend of two columns."""
COLORS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#8c6bb1",
    "#999933",
    "#c4536d",
    "#44aa99",
    "#7f4f24",
    "#1f3a6d",
)
"""The first six are those of Okabe and Ito 2008, which the colour-blind can tell apart."""
THEIRS = "#7f7f85"
"""What the paper and the thesis show."""
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 9,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.labelspacing": 0.3,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.spines.top": False,
    "axes.spines.right": False,
    # Texts stay texts: they are found, read aloud and small.
    "svg.fonttype": "none",
    "svg.hashsalt": "ccenv",
    "text.parse_math": False,
} | dict.fromkeys(
    (
        "text.color",
        "axes.edgecolor",
        "axes.labelcolor",
        "axes.titlecolor",
        "xtick.color",
        "ytick.color",
        "grid.color",
    ),
    INK,
)
THEME = (
    "svg{--ink:#1d1d1f}@media (prefers-color-scheme:dark){svg{--ink:#e8e8ea}}"
    "@media print{svg{--ink:#000}}"
)


def drawn_in_style() -> AbstractContextManager[None]:
    """Letters, colours and grid of all figures, for as long as it is entered."""
    from matplotlib import rc_context

    return rc_context(STYLE)


@dataclass(frozen=True)
class Series:
    """What is drawn in one look: a line, marks, or either with bars or a band."""

    name: str
    """in the legend; "" for none."""
    xs: Sequence[float]
    """from left to right."""
    ys: Sequence[float]
    """upwards."""
    style: Mapping[str, Any]
    """as matplotlib's `plot` takes it, or with "xerr" or "yerr" its `errorbar`."""
    band: tuple[Sequence[float], Sequence[float]] | None = None
    """its lower and its upper end."""

    def draw(self, axes: Any) -> Any:
        """Draws it; returns what stands in the legend."""
        draw = axes.errorbar if {"xerr", "yerr"} & self.style.keys() else axes.plot
        drawn = draw(self.xs, self.ys, **self.style)
        if self.band is not None:
            axes.fill_between(self.xs, *self.band, color=self.style["color"], alpha=0.12, lw=0)
        return drawn[0] if draw == axes.plot else drawn


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    series: Sequence[Series]
    """in the order of the legend."""
    settings: Mapping[str, Any]
    """of the axes, as matplotlib's `set` takes them."""
    finish: Callable[[Any], object] | None = None
    """what else is done to the axes, such as their ticks."""


def plotted(panels: Sequence[Panel], height: float) -> Any:
    """A figure of panels under each other, of one x axis and with one legend below all.

    The height is in inches, with the legend; see `legend_height`.
    """
    figure = new_figure(height)
    handles: dict[str, Any] = {}
    grid = figure.subplots(len(panels), sharex=True, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=True):
        handles |= {one.name: one.draw(axes) for one in panel.series}
        axes.set(**panel.settings)
        if panel.finish is not None:
            panel.finish(axes)
    handles.pop("", None)
    legend_below(figure, list(handles.values()), list(handles))
    return figure


@dataclass(frozen=True)
class Picture:
    """A figure, rendered when its files are first asked for."""

    figure: Any
    """matplotlib's, or a function that draws it then."""
    name: str
    """of its files, without an ending."""
    caption: str
    """what it shows, one line."""
    alt: str
    """what is to be seen, for those who do not see it."""
    titles: Mapping[str, str] = field(default_factory=dict)
    """`gid` of a part -> what it is; it can be pointed at, focused and read aloud in the SVG."""

    @functools.cached_property
    def png(self) -> bytes:
        """The picture on white."""
        with drawn_in_style():
            return saved(self._arranged, "png", dpi=200, facecolor="white")

    @functools.cached_property
    def svg(self) -> str:
        """The picture without background; its ink follows the reader's light or dark scheme."""
        with drawn_in_style():
            svg = saved(self._arranged, "svg", transparent=True, metadata={"Date": None})
        # Hundreds of figures would fill the memory; a PNG is usually there by now.
        self.__dict__.pop("_arranged")
        return themed(svg.decode(), self.titles)

    @functools.cached_property
    def _arranged(self) -> Any:
        with drawn_in_style():
            figure = self.figure() if callable(self.figure) else self.figure
            figure.set_dpi(200)
            if figure.get_layout_engine() is not None:
                # The layout is found once: it takes longer than the drawing.
                figure.draw_without_rendering()
                figure.set_layout_engine("none")
        return figure

    def write(self, folder: Path, *, with_png: bool = True) -> None:
        """Writes both files, or the SVG alone."""
        if with_png:
            write_whole(folder / f"{self.name}.png", self.png)
        write_whole(folder / f"{self.name}.svg", self.svg)


def file_part(*parts: str) -> str:
    """Names as part of a file's name."""
    return "-".join(part.replace(":", ".").replace("/", ".") for part in parts)


def new_figure(height: float, is_arranged: bool = True, width: float = WIDTH) -> Any:
    """An empty figure for `Picture`, in inches; matplotlib arranges its parts or not."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained" if is_arranged else None)


def draw_map(axes: Any, use: Any, of: str) -> Any:
    """Shares in [0, 1]: classes down, blocks across; returns what a colour bar is made of."""
    axes.grid(False)
    axes.set(xlabel=of, ylabel="class")
    style = {"cmap": "viridis", "aspect": "auto", "interpolation": "none"}
    return axes.imshow(use, vmin=0, vmax=1, **style)


TALLEST = 1.8
"""Inches of a map of block use."""


def drawn_maps(layers: Sequence[Any]) -> Any:
    """A map for each gated layer: rows classes, columns blocks."""
    heights = [min(TALLEST, max(0.5, 0.09 * len(use))) for use in layers]
    figure = new_figure(sum(heights) + 0.45 * len(layers) + 0.06, is_arranged=False)
    width, height = figure.get_size_inches()
    top = height - 0.06
    for index, (map_height, use) in enumerate(zip(heights, layers, strict=True)):
        # Placed by hand: a layout is searched for slowly, and these figures come by the dozen.
        top -= map_height
        axes = figure.add_axes((0.42 / width, top / height, 1 - 1.05 / width, map_height / height))
        top -= 0.45
        drawn = draw_map(axes, use, f"block of layer {index}")
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_major_locator().set_params(integer=True, nbins=6)
    bar = figure.add_axes((0.86, axes.get_position().y0, 0.03, heights[-1] / height))
    bar.grid(False)
    figure.colorbar(drawn, cax=bar)
    bar.set_title("kept", fontsize="medium")
    return figure


def legend_below(figure: Any, handles: list[Any], labels: list[str]) -> None:
    """Puts a legend under everything, in two columns where names are short."""
    figure.legend(handles, labels, loc="outside lower left", ncols=legend_columns(labels))


def legend_columns(labels: list[str]) -> int:
    """Columns of a legend: two unless a name is too long."""
    return 1 if max(map(len, labels), default=0) > MAX_LETTERS else 2


def legend_height(labels: list[str]) -> float:
    """Inches that a legend needs."""
    return 0.1 + 0.16 * -(-len(labels) // legend_columns(labels))


def plain_number(value: float, position: int | None = None) -> str:
    """A tick's label in few letters.

    >>> [plain_number(x) for x in (0.5, 20, 2000, 5e6)]
    ['0.5', '20', '2k', '5M']
    """
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:g}{letter}"
    return f"{value:g}"


LOGARITHMIC = 5
"""An axis is logarithmic if its largest value is so many times its smallest."""
LONG = 300
"""The same for an axis with ticks at powers of ten only."""


def fit_axis(axis: Any, values: Sequence[float], ends: Sequence[float] = ()) -> None:
    """Fits an axis to values, and to the ends of their intervals as far as values stay apart.

    Args:
        axis: matplotlib's; logarithmic afterwards where values spread widely and are positive.
        values: at least one.
        ends: of intervals; at most half of the values' range is added on each side for them.
    """
    low, high = min(values), max(values)
    is_log = 0 < low * LOGARITHMIC < high
    scale, back = (np.log, np.exp) if is_log else (float, float)
    # Logarithms know no ends at or below zero.
    shown = [scale(max(end, low / LOGARITHMIC) if is_log else end) for end in ends]
    low, high = scale(low), scale(high)
    room = 0.5 * (high - low) or 0.25 * abs(high) or 0.5
    low = max(low - room, min([low, *shown]))
    high = min(high + room, max([high, *shown]))
    edge = 0.08 * (high - low) or room
    start = low - edge if is_log or low < 0 else max(low - edge, 0.0)
    axis.axes.set(
        **{
            f"{axis.axis_name}scale": "log" if is_log else "linear",
            f"{axis.axis_name}lim": (float(back(start)), float(back(high + edge))),
        }
    )
    if is_log:
        plain_logarithms(axis, (1.0,) if high - low > np.log(LONG) else (1.0, 2.0, 5.0))
    else:
        plain_ticks(axis)


def plain_ticks(axis: Any) -> None:
    """Few ticks of an axis, in few letters."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(5))
    axis.set_major_formatter(FuncFormatter(plain_number))


def plain_logarithms(axis: Any, ticks: Sequence[float] = (1.0, 2.0, 5.0)) -> None:
    """Ticks of a logarithmic axis at some numbers of every ten, in few letters."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=ticks))
    axis.set_major_formatter(FuncFormatter(plain_number))
    axis.set_minor_locator(NullLocator())


def saved(figure: Any, kind: str, **how: Any) -> bytes:
    """A figure as a file of a kind, "png" or "svg"."""
    file = io.BytesIO()
    figure.savefig(file, format=kind, **how)
    return file.getvalue()


def pixels(png: bytes) -> Any:
    """A PNG as TensorBoard takes it: uint8 [height, width, 3]."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def themed(svg: str, titles: Mapping[str, str]) -> str:
    """Makes an SVG's ink a variable of its own style sheet, and gives its parts their words.

    They can be pointed at, focused and read aloud. The Tab key stops at the first one alone; a
    page's script moves on with the arrow keys. What names no picture is dropped.
    """
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace(INK, "var(--ink)")
    svg = svg.replace('<style type="text/css">', f'<style type="text/css">{THEME}', 1)
    for index, (gid, text) in enumerate(titles.items()):
        words, stop = escape(text), -1 if index else 0
        part = f'<g id="{gid}" class="mark" role="img" tabindex="{stop}" aria-label="{words}">'
        svg = svg.replace(f'<g id="{gid}">', f"{part}<title>{words}</title>", 1)
    return svg
