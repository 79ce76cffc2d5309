"""Results to learning curves: validation error and total cost over training images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ccenv.runs.report.families import Families
from ccenv.runs.show.drawing import (
    Drawn,
    file_part,
    legend_below,
    legend_height,
    new_figure,
    plain_number,
)
from ccenv.runs.show.tables import Row, name_of

MEASURES = {"error": "error in %", "total_cost": "total cost"}


def curve_figures(
    results: Mapping[str, Sequence[Mapping[str, Any]]], rows: Sequence[Row], families: Families
) -> list[Drawn]:
    """Validation error and total cost over images seen: a figure for each data set and shaping."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if any(len(result.get("curve", [])) > 2 for result in results[row["label"]]):
            groups.setdefault((row["dataset"], row["shaping"]), []).append(row)
    single = len(groups) == 1
    return [
        curve_figure(
            found, results, "curves" if single else f"curves-{file_part(*key)}", key, families
        )
        for key, found in groups.items()
    ]


def curve_figure(
    rows: Sequence[Row],
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    name: str,
    key: tuple[str, str],
    families: Families,
) -> Drawn:
    """Two panels, one line for each row, its band from the lowest to the highest seed."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    names = [name_of(row) for row in rows]
    figure = new_figure(3.8 + legend_height(names))
    panels = figure.subplots(len(MEASURES), sharex=True)
    handles: list[Any] = []
    for axes, (measure, title) in zip(panels, MEASURES.items(), strict=True):
        factor = 100 if measure == "error" else 1
        handles = [
            draw_curve(axes, results[row["label"]], measure, factor, line_of(row, families))
            for row in rows
        ]
        axes.set(ylabel=title)
        axes.set_ylim(bottom=0)
    panels[-1].set(xlabel="training images seen")
    panels[-1].xaxis.set_major_locator(MaxNLocator(5))
    panels[-1].xaxis.set_major_formatter(FuncFormatter(plain_number))
    legend_below(figure, handles, names)
    ends = ", ".join(f"{row['label']} {100 * row['error']['mean']:.1f} %" for row in rows)
    caption = f"Validation images of {key[0]}, reward {key[1]}. Bands: lowest to highest seed."
    alt = f"Validation error and total cost over training images; test error in the end: {ends}"
    return Drawn(figure, name, caption, alt)


def line_of(row: Row, families: Families) -> dict[str, Any]:
    """Colour of a row's agent; rows of one agent are dashed differently."""
    return {"color": families.style(row["label"])["color"], "ls": families.dash(row["label"])}


def draw_curve(
    axes: Any,
    results: Sequence[Mapping[str, Any]],
    measure: str,
    factor: float,
    style: dict[str, Any],
) -> Any:
    """Mean and range over the seeds that got as far."""
    by_images: dict[int, list[float]] = {}
    for result in results:
        for point in result.get("curve", []):
            by_images.setdefault(point["images_seen"], []).append(factor * point[measure])
    images = sorted(by_images)
    (line,) = axes.plot(images, [np.mean(by_images[n]) for n in images], lw=1.2, **style)
    low, high = [min(by_images[n]) for n in images], [max(by_images[n]) for n in images]
    axes.fill_between(images, low, high, color=style["color"], alpha=0.12, lw=0)
    return line
