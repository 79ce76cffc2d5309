"""A comparison to the report's figures: front, learning curves, profile, blocks by class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.report.families import OTHERS, Families, Style, make_families
from ccenv.runs.stats.fronts import ALL, Front, front_verdict, make_fronts, name_in
from ccenv.runs.stats.intervals import FEWEST, performance_profile
from ccenv.runs.tables.drawing import (
    INK,
    Drawn,
    drawn_in_style,
    file_part,
    legend_below,
    legend_height,
    new_figure,
    plain_logarithms,
    plain_number,
    stacked_axes,
)
from ccenv.runs.tables.sweep_table import Row, by_dataset, name_of

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


WIDE = 8
"""Errors are drawn on a logarithmic axis if the largest is this many times the smallest."""
FEW = 16
"""Up to this many fronts share one figure; more have one a shaping."""
FRONT_CAPTION = (
    "Error over cost. Points: policies that learn, with 95 % intervals over seeds where there are "
    "three or more. Lines: rivals that do not learn to choose; grey: random masks. Thin steps: the "
    "front. Hollow: ceilings."
)


def all_figures(comparison: Comparison) -> dict[str, list[Drawn]]:
    """Every figure of the report, by section."""
    rows, families = comparison.rows, make_families(comparison.results)
    with drawn_in_style():
        return {
            "front": [
                front_figure(found, file_name("front", name, rows), name, families)
                for name, found in by_dataset(rows).items()
            ],
            "profile": profile_figures(make_fronts(comparison.results, comparison.draw), families),
            "curves": curve_figures(comparison.results, rows, families),
            "blocks": block_figures(comparison.results, rows),
        }


def file_name(kind: str, part: str, rows: Sequence[Row]) -> str:
    """`front`, or `front-<data set>` where there are several."""
    return kind if len(by_dataset(rows)) == 1 else f"{kind}-{part}"


def front_figure(rows: Sequence[Row], name: str, dataset: str, families: Families) -> Drawn:
    """Test error over MACs: learners as points, rivals as lines, random masks as a grey curve."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(families.of[row["label"]], []).append(row)
    markers = shaping_markers(rows)
    entries = [name_of(own[0]) if len(own) == 1 else family for family, own in groups.items()]
    entries += list(markers)
    figure = new_figure(2.7 + legend_height(entries))
    axes = figure.add_subplot()
    handles = [
        draw_family(axes, own, families.styles[family], markers, family in families.learn)
        for family, own in groups.items()
    ]
    handles += [shaping_entry(marker) for marker in markers.values()]
    line = sorted((r["macs"]["mean"], 100 * r["error"]["mean"]) for r in rows if r["on_front"])
    if line:
        axes.step(*zip(*line, strict=True), where="post", color=INK, linewidth=0.8, zorder=0)
    axes.set(xlabel="MACs of an image, policy included", ylabel="test error in %")
    set_scales(axes, rows)
    legend_below(figure, handles, entries)
    front = "; ".join(f"{mac:,.0f} MACs {error:.1f} %" for mac, error in line)
    alt = (
        f"Scatter of test error over MACs for {len(rows)} rows on {dataset}; Pareto front: {front}"
    )
    return Drawn(figure, name, FRONT_CAPTION, alt)


def shaping_markers(rows: Sequence[Row]) -> dict[str, str]:
    """Shaping -> marker, where agents learned under several."""
    names = list(dict.fromkeys(row["shaping"] for row in rows if row["learns"]))
    return {n: OTHERS[i % len(OTHERS)] for i, n in enumerate(names)} if len(names) > 1 else {}


def shaping_entry(marker: str) -> Any:
    """A legend's entry of a marker without colour."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=INK, marker=marker, ls="")


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


def draw_family(
    axes: Any, rows: Sequence[Row], style: Style, markers: Mapping[str, str], learns: bool
) -> Any:
    """Rows of one colour; returns their entry for the legend."""
    if not learns and len(rows) > 1:
        places = sorted((row["macs"]["mean"], 100 * row["error"]["mean"]) for row in rows)
        (line,) = axes.plot(*zip(*places, strict=True), **style, markersize=3, lw=1.0, zorder=1)
        return line
    for row in rows:
        own = style | {"marker": markers.get(row["shaping"], style["marker"])}
        handle = draw_point(axes, row, own if learns else style)
    return handle


def draw_point(axes: Any, row: Row, style: Style) -> Any:
    """One row with its interval, where its seeds are enough for one."""
    error, macs = row["error"], row["macs"]["mean"]
    is_known = error["high"] is not None and len(row["seeds"]) >= FEWEST
    half = error["high"] - error["mean"] if is_known else 0.0
    # In logarithms a bar cannot reach below zero.
    ends = [[100 * min(half, 0.95 * error["mean"])], [100 * min(half, 1 - error["mean"])]]
    face = "none" if row["uses_labels"] else style["color"]
    return axes.errorbar(
        macs, 100 * error["mean"], yerr=ends, capsize=2, markersize=5, ls="", mfc=face, **style
    )


def profile_figures(fronts: Sequence[Front], families: Families) -> list[Drawn]:
    """Share of runs whose front area exceeds a threshold; over all data sets where there are some.

    One figure, or one for each shaping where fronts are many; nothing where a single front would
    be compared with itself.
    """
    finished = [front for front in fronts if front.by_seed]
    shown = [f for f in finished if f.dataset == ALL] or finished
    if len(shown) <= FEW:
        return [profile_figure(shown, "profile", "", families)] if len(shown) > 1 else []
    groups: dict[str, list[Front]] = {}
    for front in shown:
        groups.setdefault(front.shaping, []).append(front)
    return [
        profile_figure(found, f"profile-{file_part(shaping)}", f" under {shaping}", families)
        for shaping, found in groups.items()
        if len(found) > 1
    ]


def profile_figure(shown: Sequence[Front], name: str, where: str, families: Families) -> Drawn:
    """One performance profile."""
    areas = np.concatenate([np.concatenate(f.strata) for f in shown])
    lowest = float(areas[areas > 0].min(initial=1.0))
    thresholds = np.linspace(max(0.0, lowest - 0.05), min(1.0, float(areas.max()) + 0.01), 300)
    names = [name_in(front, shown) for front in shown]
    figure = new_figure(2.2 + legend_height(names))
    axes = figure.add_subplot()
    handles, shapings = [], list(dict.fromkeys(front.shaping for front in shown))
    for front in shown:
        color = families.style(front.labels[0])["color"]
        style = {
            "color": color,
            "ls": families.dashed(front.labels[0], shapings.index(front.shaping)),
        }
        share = performance_profile(np.concatenate(front.strata), thresholds)
        handles += axes.step(thresholds, share, lw=1.3, **style)
    axes.set(xlabel="front area", ylabel="share of runs with more", ylim=(0, 1.02))
    legend_below(figure, handles, names)
    alt = f"Performance profile of {len(shown)} fronts{where}; {front_verdict(shown).sentence}"
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
