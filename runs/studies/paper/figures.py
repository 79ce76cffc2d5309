"""What the reports of the paper's studies add: its figures with ours drawn over them.

Figs. 1, 3, 5a and 5b of the paper, Figs. 5.7 and 5.16 of the author's thesis; see
`ccenv.runs.studies.paper.numbers`. Seconds are of other machines: they have an axis of their own.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ccenv.runs.config.agent_settings import agent_parameters, find_agent
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.engine.sweep_runs import SweepRuns
from ccenv.runs.stats.cost_points import Point, make_point, times_in
from ccenv.runs.stats.dense_comparison import dense_elsewhere, front_error
from ccenv.runs.stats.intervals import mean_interval
from ccenv.runs.stats.measures import Result, was_deterministic
from ccenv.runs.studies.paper.numbers import digitised, trend
from ccenv.runs.tables.drawing import (
    COLORS,
    INK,
    THEIRS,
    Panel,
    Picture,
    Series,
    draw_map,
    legend_below,
    new_figure,
    plain_logarithms,
    plotted,
)
from ccenv.runs.tables.sweep_table import Table

Results = Mapping[str, Sequence[Result]]
Points = Mapping[str, Point]
"""Label -> its runs as one point."""
OURS, RANDOM = COLORS[:2]
PALE: dict[str, Any] = {"ls": "", "marker": ".", "markersize": 3, "alpha": 0.35}
BARS: dict[str, Any] = {"capsize": 2, "markersize": 4, "marker": "o", "ls": ""}
DENSE: dict[str, Any] = {"color": INK, "marker": "s", "mfc": "none", "ls": "--", "markersize": 4}
IMAGES_OF_EPOCH = 40_000


def in_percent(
    name: str, points: Sequence[tuple[float, float]], factor: float = 100, **style: Any
) -> Series:
    """Points whose second number is a share of 1, in per cent."""
    return Series(name, [x for x, _ in points], [factor * y for _, y in points], style)


def theirs(
    points: list[tuple[float, float]],
    names: tuple[str, str] = ("", ""),
    color: str = THEIRS,
    factor: float = 100,
) -> list[Series]:
    """Digitised points and a line through medians of neighbours."""
    return [
        in_percent(names[0], points, factor, **PALE, color=color),
        in_percent(names[1], trend(points), factor, color=color, lw=1.2, ls="--"),
    ]


def ours(name: str, places: list[float], points: Sequence[Point], color: str = OURS) -> Series:
    """Validation errors with Student's 95 % intervals."""
    intervals = [mean_interval(list(one.validation.values())) for one in points if one.validation]
    means = [100 * one.mean for one in intervals]
    halves = [100 * ((one.high or one.mean) - one.mean) for one in intervals]
    # In logarithms a bar cannot reach below zero.
    ends = [[min(h, 0.9 * m) for h, m in zip(halves, means, strict=True)], halves]
    return Series(name, places, means, {"yerr": ends, "color": color, **BARS})


def dense_of_equal_macs(
    name: str, places: Sequence[float], points: Sequence[Point], dense: Sequence[Point]
) -> list[Series]:
    """Validation errors of dense networks with the MACs of each point; none where not known."""
    errors = [front_error(dense, point.macs, validation=True) for point in points]
    pairs = [
        (place, float(np.mean(list(error_of.values()))))
        for place, error_of in zip(places, errors, strict=True)
        if error_of
    ]
    return [in_percent(name, sorted(pairs), **DENSE)] if pairs else []


def lambda_s_figures(results: Results, by_label: Points, dense: Sequence[Point]) -> list[Picture]:
    """Fig. 5a: validation error and time of a pass against lambda_s."""
    name = "sparsity_weight"
    usual, _ = agent_parameters(find_agent("condnet"))
    # A reader's agent has no lambda_s.
    condnets = {k: runs[0] for k, runs in results.items() if runs[0]["agent"] == "condnet"}
    places = [
        float(r["settings"]["agent_settings"].get(name, usual[name])) for r in condnets.values()
    ]
    points = [by_label[label] for label in condnets]
    errors = [
        *theirs(digitised("fig5a-error")["condnet"], ("paper, Fig. 5a", "its medians")),
        ours("ours", places, points),
        *dense_of_equal_macs("dense networks of the same total MACs", places, points, dense),
    ]

    def our_times(below: Any) -> None:
        right = below.twinx()
        right.grid(False)
        right.spines["right"].set_visible(True)
        times = [(at, t) for at, p in zip(places, points, strict=True) if (t := p.time(256))]
        right.plot([at for at, _ in times], [t for _, t in times], color=OURS, marker="o", ls="")
        right.set_ylim(0, 1.1 * max((t for _, t in times), default=1.0))
        right.set_ylabel("ours: ms of 256 images")

    seconds = theirs(digitised("fig5a-seconds")["condnet"], factor=1)
    panels = [
        Panel(errors, {"ylabel": "validation error in %"}),
        Panel(seconds, {"xlabel": "lambda_s", "ylabel": "paper: seconds"}, our_times),
    ]
    percentages = "; ".join(f"{p.label}: {100 * p.validation_mean:.1f} %" for p in points)
    alt = f"Validation error and time over lambda_s, ours over the paper's points. {percentages}"
    caption = "Error and time against lambda_s, CIFAR-10."
    return [Picture(partial(plotted, panels, 4.6), "fig5a", caption, alt)]


def lambda_v_figures(results: Results, by_label: Points, dense: Sequence[Point]) -> list[Picture]:
    """Fig. 5b: validation error by epoch for several lambda_v."""
    ends = {"lowest lambda_v": 0.25, "middle lambda_v": 0.55, "highest lambda_v": 1.0}
    series = [
        in_percent(f"paper, {name}", points, color=THEIRS, alpha=ends[name], ls="--", lw=1.2)
        for name, points in digitised("fig5b").items()
    ]
    changes = []
    for color, (label, runs) in zip(itertools.cycle(COLORS), results.items(), strict=False):
        curves = [{p["images_seen"]: p["error"] for p in run["curve"]} for run in runs]
        images = sorted(set.intersection(*(set(curve) for curve in curves)))
        means = [(n / IMAGES_OF_EPOCH, float(np.mean([c[n] for c in curves]))) for n in images]
        series.append(in_percent(label, means, color=color, lw=1.2))
        changes.append(f"{label}: {series[-1].ys[0]:.1f} to {series[-1].ys[-1]:.1f} %")
    if dense:
        best, epochs = min(point.validation_mean for point in dense), series[-1].xs
        level = [(epoch, best) for epoch in (epochs[0], epochs[-1])]
        series.append(in_percent("best dense network", level, color=INK, lw=0.8, ls=":"))
    alt = f"Validation error by epoch, ours and means of the paper's curves. {'; '.join(changes)}"
    panel = Panel(series, {"xlabel": "epoch", "ylabel": "validation error in %"})
    caption = "Error by epoch for several lambda_v, CIFAR-10."
    return [Picture(partial(plotted, [panel], 3.9), "fig5b", caption, alt)]


def density_figures(results: Results, by_label: Points, dense: Sequence[Point]) -> list[Picture]:
    """Thesis Fig. 5.7: validation error against realised density, learned and random masks."""
    looks = {"learned": OURS, "random": RANDOM}
    series = [
        one
        for name, color in looks.items()
        for one in theirs(digitised("fig5.7")[name], ("", f"thesis, {name}"), color)
    ]
    for name, color in looks.items():
        of_kind = {k: v for k, v in results.items() if v[0]["learns"] == (name == "learned")}
        shown = [by_label[label] for label in of_kind]
        places = [drawn_density(runs) for runs in of_kind.values()]
        series.append(ours(f"ours, {name}", places, shown, color))
        if name == "learned":
            series += dense_of_equal_macs("dense of no more MACs", places, shown, dense)
    settings: dict[str, Any] = {"xlabel": "share of blocks kept", "yscale": "log"}
    settings |= {"ylabel": "validation error in %", "xlim": (0, 0.13)}
    panel = Panel(series, settings, lambda axes: plain_logarithms(axes.yaxis))
    alt = f"Validation error over density of {len(results)} rows over the thesis' points"
    caption = "Learned and random masks by density, MNIST."
    return [Picture(partial(plotted, [panel], 3.9), "fig5.7", caption, alt)]


def drawn_density(runs: Sequence[Result]) -> float:
    """Share of blocks that sampled masks keep on validation images, mean over seeds and layers."""
    verdicts = [one for run in runs for one in run["evaluations"]]
    drawn = [
        one for one in verdicts if (one["split"], was_deterministic(one)) == ("validation", False)
    ]
    return float(np.mean([one["density"] for one in drawn]))


def front_figures(results: Results, by_label: Points, dense: Sequence[Point]) -> list[Picture]:
    """Fig. 3 and thesis Fig. 5.16: validation error against the time of a pass."""
    points = list(by_label.values())
    figures = []
    for name, images in {"fig3": 256, "fig5.16": 1}.items():
        many = "one image" if images == 1 else f"{images} images"
        caption = f"Random search on SVHN, {many} a pass. Times are of different machines."
        alt = f"Scatter of error over time, {len(points)} networks of ours over the paper's"
        draw = partial(drawn_front, points, dense, name, images, many)
        figures.append(Picture(draw, name, caption, alt))
    return figures


def drawn_front(
    points: Sequence[Point], dense: Sequence[Point], name: str, images: int, many: str
) -> Any:
    """Ours over milliseconds (below), the paper's over seconds (above)."""
    figure = new_figure(3.9)
    axes = figure.add_subplot()
    top = axes.twiny()
    handles = {}
    timed = [(at, point) for point in points if (at := point.time(images)) is not None]
    for kind, color in (("condnet", OURS), ("NN", INK)):
        paper = in_percent(f"paper, {kind}", digitised(name)[kind], **PALE, color=color)
        handles[paper.name] = paper.draw(top)
        frontier = [
            (at, p.validation_mean) for at, p in timed if (p.method == "dense") == (kind == "NN")
        ]
        mine = in_percent(f"ours, {kind}", frontier, ls="", marker="x", markersize=5, color=color)
        handles[mine.name] = mine.draw(axes)
    chosen = [(at, point) for at, point in timed if point.method != "dense"]
    title = "dense networks of the condnets' total MACs"
    places, condnets = [at for at, _ in chosen], [point for _, point in chosen]
    for one in dense_of_equal_macs(title, places, condnets, dense):
        handles[one.name] = one.draw(axes)
    axes.set(xlabel=f"ours: milliseconds of {many}", ylabel="validation error in %", xscale="log")
    top.set(xlabel="paper: seconds of a pass over the validation split", xscale="log")
    top.grid(False)
    for axis in (axes.xaxis, top.xaxis):
        plain_logarithms(axis)
    legend_below(figure, list(handles.values()), list(handles))
    return figure


def drawn_blocks(use: Any) -> Any:
    """Activation of each block for class 0, class 1 and all classes, and a map of all.

    The paper draws a dot for each image and the mean; these are the means.
    """
    figure = new_figure(5.6)
    panels = figure.subplots(4, gridspec_kw={"height_ratios": [1, 1, 1, 1.6]})
    for axes, (name, means) in zip(panels, fig1_panels(use).items(), strict=False):
        axes.plot(range(len(means)), means, ls="", marker="o", markersize=4, color=COLORS[0])
        axes.vlines(range(len(means)), 0, means, color=COLORS[0], lw=0.8)
        axes.axhline(float(means.mean()), color=INK, lw=0.6, ls=":")
        axes.set(ylabel=name, ylim=(0, 1.05), xlim=(-0.5, len(means) - 0.5))
        axes.xaxis.get_major_locator().set_params(integer=True)
    drawn = draw_map(panels[-1], use, "block")
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    figure.colorbar(drawn, ax=panels[-1], label="kept")
    return figure


def fig1_panels(use: Any) -> dict[str, Any]:
    """What the panels of Fig. 1 show."""
    return {"class 0": use[0], "class 1": use[1], "all classes": use.mean(axis=0)}


def fig1_part(comparison: SweepRuns, results_dir: Path) -> Part:
    """Fig. 1, of the first condnet whose results say which blocks each class keeps.

    Blocks of different seeds mean different things: the figure has the first, the table all.
    """
    for label, runs in comparison.results.items():
        uses = {
            r["seed"]: np.asarray(r["block_use"][0]) / 100
            for r in runs
            if r["agent"] == "condnet" and r.get("block_use")
        }
        if not uses:
            continue
        seed, use = next(iter(uses.items()))
        columns = {"seed": "right", "class": "right"}
        columns |= {f"block {i}": "right .2f" for i in range(use.shape[1])}
        lines = [
            [s, n, *shares] for s, by_class in uses.items() for n, shares in enumerate(by_class)
        ]
        note = "Share of test images of a class that keep each block. "
        note += "Blocks of two seeds are no pairs."
        title = f"Fig. 1: block use by class, {label}"
        table = Table("fig1", title, columns, lines, note, shaded=True)
        means = "; ".join(
            f"{name} {shares.mean():.2f}" for name, shares in fig1_panels(use).items()
        )
        caption = f"Fig. 1: share of images that keep each block, {label}, seed {seed}."
        alt = f"Activation of blocks by class; mean (dotted): {means}"
        return Part([table], [Picture(partial(drawn_blocks, use), "fig1", caption, alt)])
    return Part()


Draw = Callable[[Results, Points, Sequence[Point]], list[Picture]]
"""(results by label, the same as points, dense networks of the same images) -> figures."""


def drawn_over(draw: Draw, comparison: SweepRuns, results_dir: Path) -> Part:
    """A figure of the paper; times measured in turns stand in place of the runs' own."""
    datasets = (row["dataset"] for row in comparison.rows)
    elsewhere = dense_elsewhere(datasets, results_dir, comparison.name)
    dense = list(itertools.chain(*elsewhere.values()))
    times = times_in(results_dir, comparison.name)[False]
    results = {label: runs for label, runs in comparison.results.items() if runs}
    by_label = {k: make_point(k, runs, False, times=times) for k, runs in results.items()}
    return Part(figures=draw(results, by_label, dense))


FIG_1, FIG_3, FIG_5A, FIG_5B, FIG_5_7 = (
    Section("paper", "Compared with the paper", make)
    for make in (
        fig1_part,
        partial(drawn_over, front_figures),
        partial(drawn_over, lambda_s_figures),
        partial(drawn_over, lambda_v_figures),
        partial(drawn_over, density_figures),
    )
)
