"""Figures that read anywhere: a matplotlib figure -> PNG, and SVG that follows light and dark.

They are drawn as wide as a phone, so that their letters are as large as the text around them.
"""

import functools
import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INK = "#101112"
"""Drawn with this colour: whatever is black on white paper and light on a dark screen."""
WIDTH = 3.6
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
)
"""The first six are those of Okabe and Ito 2008, which the colour-blind can tell apart."""
THEIRS = "#7f7f85"
"""What the paper and the thesis show."""
MARKERS = "os^DvP<>X"
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
class Drawn:
    """A figure, rendered when its files are first asked for."""

    figure: Any
    """matplotlib's, or a function that draws it then."""
    name: str
    """of its files, without an ending."""
    caption: str
    """what it shows, one line."""
    alt: str
    """what is to be seen, for those who do not see it."""

    @property
    def png(self) -> bytes:
        """The picture on white."""
        return self._rendered[0]

    @property
    def svg(self) -> str:
        """The picture without background; its ink follows the reader's light or dark scheme."""
        return self._rendered[1]

    @functools.cached_property
    def _rendered(self) -> tuple[bytes, str]:
        with drawn_in_style():
            return rendered(self.figure() if callable(self.figure) else self.figure)

    def write(self, folder: Path) -> None:
        """Writes both files."""
        (folder / f"{self.name}.png").write_bytes(self.png)
        (folder / f"{self.name}.svg").write_text(self.svg, encoding="utf-8")


def file_part(*parts: str) -> str:
    """Names as part of a file's name."""
    return "-".join(part.replace(":", ".").replace("/", ".") for part in parts)


def new_figure(height: float, is_arranged: bool = True) -> Any:
    """An empty figure of the common width, for `Drawn`; matplotlib arranges its parts or not."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained" if is_arranged else None)


def stacked_axes(figure: Any, heights: Sequence[float], gap: float) -> list[Any]:
    """Axes under each other, with room for labels at the left and a bar at the right.

    Much faster than a layout that is searched for; for figures that come by the dozen.
    """
    width, height = figure.get_size_inches()
    top = height - 0.06
    axes = []
    for own in heights:
        top -= own
        box = (0.42 / width, top / height, 1 - 1.05 / width, own / height)
        axes.append(figure.add_axes(box))
        top -= gap
    return axes


def look(index: int) -> dict[str, Any]:
    """Colour and marker of the index-th thing that is compared; the first 90 differ."""
    return {"color": COLORS[index % len(COLORS)], "marker": MARKERS[index % len(MARKERS)]}


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


def plain_logarithms(axis: Any) -> None:
    """Ticks of a logarithmic axis at 1, 2 and 5 of every ten, in few letters."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(plain_number))
    axis.set_minor_formatter(NullFormatter())


def rendered(figure: Any) -> tuple[bytes, str]:
    """A figure as PNG and as SVG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    png, svg = io.BytesIO(), io.StringIO()
    figure.set_dpi(200)
    FigureCanvasAgg(figure)
    figure.savefig(png, format="png", dpi=200, facecolor="white")
    # The layout is found once: it takes longer than the drawing.
    figure.set_layout_engine("none")
    FigureCanvasSVG(figure)
    figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
    return png.getvalue(), themed(svg.getvalue())


def themed(svg: str) -> str:
    """Makes an SVG's ink a variable that its own style sheet sets; drops what names no picture."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace(INK, "var(--ink)")
    return svg.replace('<style type="text/css">', f'<style type="text/css">{THEME}', 1)
