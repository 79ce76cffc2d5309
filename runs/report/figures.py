"""A comparison to the report's figures: front, learning curves, profile, blocks by class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.report.curve_figures import curve_figures
from ccenv.runs.show.drawing import (
    INK,
    Drawn,
    drawn_in_style,
    file_part,
    legend_below,
    legend_height,
    look,
    new_figure,
    plain_logarithms,
    stacked_axes,
)
from ccenv.runs.show.tables import Row, by_dataset, name_of
from ccenv.runs.stats.fronts import ALL, Front, make_fronts, name_in
from ccenv.runs.stats.intervals import performance_profile

WIDE = 8
"""Errors are drawn on a logarithmic axis if the largest is this many times the smallest."""
FEW = 16
"""Up to this many rows have their own colour and marker; more share them by agent and shaping."""


def all_figures(comparison: Comparison) -> dict[str, list[Drawn]]:
    """Every figure of the report, by section."""
    rows = comparison.rows
    with drawn_in_style():
        return {
            "front": [
                front_figure(found, file_name("front", name, rows), name)
                for name, found in by_dataset(rows).items()
            ],
            "profile": profile_figures(make_fronts(comparison.results, comparison.draw)),
            "curves": curve_figures(comparison.results, rows),
            "blocks": block_figures(comparison.results, rows),
        }


def file_name(kind: str, part: str, rows: Sequence[Row]) -> str:
    """`front`, or `front-<data set>` where there are several."""
    return kind if len(by_dataset(rows)) == 1 else f"{kind}-{part}"


def looks(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Label -> colour and marker: each its own, or by agent and shaping where they are many."""
    if len(rows) <= FEW:
        return {row["label"]: look(index) for index, row in enumerate(rows)}
    agents = list(dict.fromkeys(row["agent"] for row in rows))
    shapings = list(dict.fromkeys(row["shaping"] for row in rows))
    return {
        row["label"]: {
            "color": look(agents.index(row["agent"]))["color"],
            "marker": look(shapings.index(row["shaping"]))["marker"],
        }
        for row in rows
    }


def front_figure(rows: Sequence[Row], name: str, dataset: str) -> Drawn:
    """Test error over MACs with 95 % intervals; the front as a line."""
    few = len(rows) <= FEW
    styles = looks(rows)
    entries = [name_of(row) for row in rows] if few else [*parts(rows, styles)]
    figure = new_figure(2.7 + legend_height(entries))
    axes = figure.add_subplot()
    handles = [draw_point(axes, row, styles[row["label"]]) for row in rows]
    line = sorted((r["macs"]["mean"], 100 * r["error"]["mean"]) for r in rows if r["on_front"])
    if line:
        axes.step(*zip(*line, strict=True), where="post", color=INK, linewidth=0.8, zorder=0)
    axes.set(xlabel="MACs of an image, policy included", ylabel="test error in %")
    set_scales(axes, rows)
    legend_below(figure, handles if few else [*parts(rows, styles).values()], entries)
    best = "; ".join(f"{mac:,.0f} MACs {error:.1f} %" for mac, error in line)
    alt = f"Scatter of test error over MACs for {len(rows)} rows on {dataset}; on the front: {best}"
    caption = "Error over cost. Bars: 95 % intervals over seeds. Line: the front. Hollow: ceilings."
    return Drawn(figure, name, caption, alt)


def set_scales(axes: Any, rows: Sequence[Row]) -> None:
    """MACs in logarithms, and errors too where they differ so much that small ones would merge."""
    scales = [axes.xaxis]
    axes.set_xscale("log")
    errors = [row["error"]["mean"] for row in rows]
    if min(errors) * WIDE < max(errors) and min(errors) > 0:
        axes.set_yscale("log")
        scales.append(axes.yaxis)
    else:
        axes.set_ylim(bottom=0)
    for axis in scales:
        plain_logarithms(axis)


def draw_point(axes: Any, row: Row, style: Mapping[str, Any]) -> Any:
    """One row of the front's figure; returns its entry for the legend."""
    error, macs = row["error"], row["macs"]["mean"]
    half = 0.0 if error["high"] is None else error["high"] - error["mean"]
    # In logarithms a bar cannot reach below zero.
    ends = [[100 * min(half, 0.95 * error["mean"])], [100 * half]]
    face = "none" if row["uses_labels"] else style["color"]
    return axes.errorbar(
        macs, 100 * error["mean"], yerr=ends, capsize=2, markersize=5, ls="", mfc=face, **style
    )


def parts(rows: Sequence[Row], styles: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of a legend in which colours are agents and markers are shapings."""
    from matplotlib.lines import Line2D

    colors = {row["agent"]: styles[row["label"]]["color"] for row in rows}
    markers = {row["shaping"]: styles[row["label"]]["marker"] for row in rows}
    agents = {name: Line2D([], [], color=color, lw=4) for name, color in colors.items()}
    return agents | {n: Line2D([], [], color=INK, marker=m, ls="") for n, m in markers.items()}


def profile_figures(fronts: Sequence[Front]) -> list[Drawn]:
    """Share of runs whose front area exceeds a threshold; over all data sets where there are some.

    One figure, or one for each shaping where fronts are many; nothing where a single front would
    be compared with itself.
    """
    shown = [f for f in fronts if f.dataset == ALL] or list(fronts)
    if len(shown) <= FEW:
        return [profile_figure(shown, "profile", "")] if len(shown) > 1 else []
    groups: dict[str, list[Front]] = {}
    for front in shown:
        groups.setdefault(front.shaping, []).append(front)
    return [
        profile_figure(found, f"profile-{file_part(shaping)}", f" under {shaping}")
        for shaping, found in groups.items()
        if len(found) > 1
    ]


def profile_figure(shown: Sequence[Front], name: str, where: str) -> Drawn:
    """One performance profile."""
    areas = np.concatenate([np.concatenate(f.strata) for f in shown])
    lowest = float(areas[areas > 0].min(initial=1.0))
    thresholds = np.linspace(max(0.0, lowest - 0.05), min(1.0, float(areas.max()) + 0.01), 300)
    names = [name_in(front, shown) for front in shown]
    figure = new_figure(2.2 + legend_height(names))
    axes = figure.add_subplot()
    handles = []
    for index, front in enumerate(shown):
        style = {"color": look(index)["color"], "ls": ("-", "--", ":")[index // 10 % 3]}
        share = performance_profile(np.concatenate(front.strata), thresholds)
        handles += axes.step(thresholds, share, lw=1.3, **style)
    axes.set(xlabel="front area", ylabel="share of runs with more", ylim=(0, 1.02))
    legend_below(figure, handles, names)
    best = name_in(max(shown, key=lambda front: front.mean.mean), shown)
    alt = f"Performance profile of {len(shown)} fronts{where}; farthest to the right: {best}"
    return Drawn(figure, name, f"Performance profile{where}: farther right is better.", alt)


def block_figures(
    results: Mapping[str, Sequence[Mapping[str, Any]]], rows: Sequence[Row]
) -> list[Drawn]:
    """How often each class keeps each block, of one seed: blocks of others mean something else."""
    figures = []
    for row in rows:
        known = [r for r in results[row["label"]] if r.get("block_use")]
        if known and row["agent"] not in ("dense", "block_dropout"):
            figures.append(block_figure(row, known[0]))
    return figures


def block_figure(row: Row, result: Mapping[str, Any]) -> Drawn:
    """A map for each gated layer: rows classes, columns blocks."""
    layers = [np.asarray(layer) / 100 for layer in result["block_use"]]
    heights = [max(0.5, 0.09 * len(use)) for use in layers]
    figure = new_figure(sum(heights) + 0.45 * len(layers) + 0.06, is_arranged=False)
    panels = stacked_axes(figure, heights, gap=0.45)
    drawn = None
    for axes, (index, use) in zip(panels, enumerate(layers), strict=True):
        axes.grid(False)
        drawn = axes.imshow(
            use, vmin=0, vmax=1, cmap="viridis", aspect="auto", interpolation="none"
        )
        axes.set(xlabel=f"block of layer {index}", ylabel="class")
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_major_locator().set_params(integer=True, nbins=6)
    bar = figure.add_axes(
        (0.86, panels[-1].get_position().y0, 0.03, heights[-1] / figure.get_figheight())
    )
    bar.grid(False)
    figure.colorbar(drawn, cax=bar)
    bar.set_title("kept", fontsize="medium")
    means = "; ".join(f"layer {i}: {use.mean():.2f} kept" for i, use in enumerate(layers))
    busiest = "; ".join(f"layer {i}: block {int(u.mean(0).argmax())}" for i, u in enumerate(layers))
    alt = f"Map of block use by class for {row['label']}; {means}; most used: {busiest}"
    caption = f"{name_of(row)}, seed {result['seed']}"
    return Drawn(figure, f"blocks-{file_part(row['label'].replace(' ', '-'))}", caption, alt)
