"""Recorded growth -> time and memory of a pass over width, depth, blocks and batch."""

from collections.abc import Mapping, Sequence
from typing import Any

from ccenv.runs.show.drawing import (
    COLORS,
    INK,
    Drawn,
    legend_below,
    legend_height,
    new_figure,
    plain_logarithms,
)
from ccenv.runs.timing.growth import AXES
from ccenv.runs.timing.network_speed import FORWARD, TRAINED

Row = Mapping[str, Any]
WAYS = {FORWARD: "-", TRAINED: ":"}
LONG = 30
"""Times its beginning, an axis has no room for 1, 2 and 5 of every ten."""
LEAST = {"milliseconds": 0.0, "mebibytes": 1.0}
"""What is drawn."""
TITLES = {"milliseconds": "ms", "mebibytes": "MiB"}


def growth_figure(rows: Sequence[Row]) -> Drawn:
    """Two columns, time and memory; a row of axes for each thing that grows."""
    names = list(dict.fromkeys(axis for axes in AXES.values() for axis in axes))
    told = [*AXES, "everything kept", TRAINED]
    figure = new_figure(1.35 * len(names) + legend_height(told))
    all_axes = figure.subplots(len(names), 2, squeeze=False)
    for axis, pair in zip(names, all_axes, strict=True):
        for axes, (measure, unit) in zip(pair, TITLES.items(), strict=True):
            lines_of(axes, [row for row in rows if row["axis"] == axis], measure)
            axes.set(xscale="log", yscale="log", xlabel=axis, ylabel=unit)
            ticks(axes.xaxis)
            ticks(axes.yaxis)
            axes.tick_params(labelsize=6)
    plain = all_axes[0][0]
    handles = [plain.plot([], [], color=color)[0] for color in COLORS[: len(AXES)]]
    handles += [plain.plot([], [], color=INK, ls=style)[0] for style in ("--", ":")]
    legend_below(figure, handles, told)
    caption = "Time and memory as networks and batches grow."
    return Drawn(figure, "sizes", caption, f"{caption} {in_words(rows)}")


def ticks(axis: Any) -> None:
    """Ticks in few letters: of a long axis at powers of ten alone."""
    from matplotlib.ticker import LogLocator

    low, high = axis.get_view_interval()
    plain_logarithms(axis)
    if high > LONG * low:
        axis.set_major_locator(LogLocator())


def lines_of(axes: Any, rows: Sequence[Row], measure: str) -> None:
    """Lines of each network: a pass, a training step dotted, and with everything kept dashed."""
    for color, network in zip(COLORS, AXES, strict=False):
        for way, style in WAYS.items():
            own = [row for row in rows if (row["network"], row["way"]) == (network, way)]
            # Of the least networks there is no memory beyond that of the first of them.
            own = sorted((row for row in own if row[measure] >= LEAST[measure]), key=value_of)
            at = [row["value"] for row in own]
            look = {"color": color, "markersize": 2.5, "lw": 1.0}
            axes.plot(at, [row[measure] for row in own], ls=style, marker="o", **look)
            if measure == "milliseconds" and way == FORWARD:
                axes.plot(at, [row[f"dense_{measure}"] for row in own], ls="--", **look)


def value_of(row: Row) -> int:
    """How far it has grown."""
    return int(row["value"])


def in_words(rows: Sequence[Row]) -> str:
    """The ends of each line of passes."""
    found = []
    for network, axes in AXES.items():
        for axis in axes:
            own = [
                r for r in rows if (r["network"], r["axis"], r["way"]) == (network, axis, FORWARD)
            ]
            if own:
                ends = min(own, key=value_of), max(own, key=value_of)
                times = " to ".join(f"{row['milliseconds']:.3g}" for row in ends)
                spans = " to ".join(f"{row['value']:,}" for row in ends)
                found.append(f"{network}, {axis} {spans}: {times} ms")
    return "; ".join(found) + "."
