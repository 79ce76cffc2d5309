"""What the reports of the paper's studies add: its figures with ours drawn over them.

Figs. 1, 3, 5a and 5b of the paper, Figs. 5.7 and 5.16 of the author's thesis; see
`ccenv.runs.studies.paper.numbers`. Seconds are of other machines: they have an axis of their own.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccenv.runs.config.agent_settings import agent_parameters, find_agent
from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.stats.cost_points import Point, borrowed, in_turns, make_point, times_in
from ccenv.runs.stats.dense_comparison import chosen, front_error
from ccenv.runs.stats.intervals import mean_interval
from ccenv.runs.stats.measures import Result
from ccenv.runs.studies.paper.numbers import Series, digitised, trend
from ccenv.runs.tables.drawing import (
    COLORS,
    INK,
    THEIRS,
    Drawn,
    legend_below,
    new_figure,
    plain_logarithms,
)
from ccenv.runs.tables.sweep_table import Table

Results = Mapping[str, Sequence[Result]]
Points = Mapping[str, Point]
"""Label -> its runs as one point."""
OURS, RANDOM = COLORS[:2]
PALE: dict[str, Any] = {"ls": "", "marker": ".", "markersize": 3, "alpha": 0.35}
BARS: dict[str, Any] = {"capsize": 2, "markersize": 4, "marker": "o", "ls": ""}
DENSE: dict[str, Any] = {"color": INK, "marker": "s", "mfc": "none", "ls": "--", "markersize": 4}


def lambda_s_figures(results: Results, by_label: Points, dense: Sequence[Point]) -> list[Drawn]:
    """Fig. 5a: validation error and time of a pass against lambda_s."""
    figure = new_figure(4.6)
    above, below = figure.subplots(2, sharex=True)
    theirs = digitised("fig5a-error")["condnet"]
    axes = [setting(found[0], "sparsity_weight") for found in results.values()]
    points = list(by_label.values())
    lines = [*draw_theirs(above, theirs), draw_ours(above, axes, points)]
    names = ["paper, Fig. 5a", "its medians", "ours"]
    if drawn := draw_dense(above, axes, points, dense):
        lines.append(drawn)
        names.append("dense networks of the same total MACs")
    above.set(ylabel="validation error in %")
    draw_theirs(below, digitised("fig5a-seconds")["condnet"], factor=1)
    below.set(xlabel="lambda_s", ylabel="paper: seconds")
    right = draw_times(below, axes, points)
    right.set_ylabel("ours: ms of 256 images")
    legend_below(figure, lines, names)
    said = "; ".join(f"{p.label}: {100 * p.validation_mean:.1f} %" for p in points)
    alt = f"Validation error and time over lambda_s, ours over the paper's points. {said}"
    return [Drawn(figure, "fig5a", "Error and time against lambda_s, CIFAR-10.", alt)]


def lambda_v_figures(results: Results, by_label: Points, dense: Sequence[Point]) -> list[Drawn]:
    """Fig. 5b: validation error by epoch for several lambda_v."""
    figure = new_figure(3.9)
    axes = figure.add_subplot()
    lines, names, said = [], [], []
    ends = {"lowest lambda_v": 0.25, "middle lambda_v": 0.55, "highest lambda_v": 1.0}
    for name, points in digitised("fig5b").items():
        style = {"color": THEIRS, "alpha": ends[name], "ls": "--", "lw": 1.2}
        lines += axes.plot(*percent_points(points), **style)
        names.append(f"paper, {name}")
    for index, (label, found) in enumerate(results.items()):
        epochs, errors = epoch_curve(found)
        lines += axes.plot(epochs, errors, color=COLORS[index % len(COLORS)], lw=1.2)
        names.append(label)
        said.append(f"{label}: {errors[0]:.1f} to {errors[-1]:.1f} %")
    if dense:
        best = min(100 * point.validation_mean for point in dense)
        lines.append(axes.axhline(best, color=INK, lw=0.8, ls=":"))
        names.append("best dense network")
    axes.set(xlabel="epoch", ylabel="validation error in %")
    legend_below(figure, lines, names)
    alt = f"Validation error by epoch, ours and means of the paper's curves. {'; '.join(said)}"
    return [Drawn(figure, "fig5b", "Error by epoch for several lambda_v, CIFAR-10.", alt)]


def density_figures(results: Results, by_label: Points, dense: Sequence[Point]) -> list[Drawn]:
    """Thesis Fig. 5.7: validation error against realised density, learned and random masks."""
    figure = new_figure(3.9)
    axes = figure.add_subplot()
    lines, names = [], []
    for name, color in (("learned", OURS), ("random", RANDOM)):
        points = digitised("fig5.7")[name]
        lines.append(draw_theirs(axes, points, color=color)[1])
        names.append(f"thesis, {name}")
    for name, learns, color in (("learned", True, OURS), ("random", False, RANDOM)):
        own = {k: v for k, v in results.items() if v[0]["learns"] == learns}
        found = [by_label[label] for label in own]
        places = [density_of(runs) for runs in own.values()]
        lines.append(draw_ours(axes, places, found, color))
        names.append(f"ours, {name}")
        if learns and (drawn := draw_dense(axes, places, found, dense)):
            lines.append(drawn)
            names.append("dense of no more MACs")
    axes.set(xlabel="share of blocks kept", ylabel="validation error in %", yscale="log")
    axes.set_xlim(0, 0.13)
    plain_logarithms(axes.yaxis)
    legend_below(figure, lines, names)
    alt = f"Validation error over density of {len(results)} rows over the thesis' points"
    return [Drawn(figure, "fig5.7", "Learned and random masks by density, MNIST.", alt)]


def front_figures(results: Results, by_label: Points, dense: Sequence[Point]) -> list[Drawn]:
    """Fig. 3 and thesis Fig. 5.16: validation error against the time of a pass."""
    points = list(by_label.values())
    return [
        front_figure(points, dense, digitised("fig3"), 256, "fig3"),
        front_figure(points, dense, digitised("fig5.16"), 1, "fig5.16"),
    ]


def front_figure(
    points: Sequence[Point], dense: Sequence[Point], theirs: Series, images: int, name: str
) -> Drawn:
    """Ours over milliseconds (below), the paper's over seconds (above)."""
    figure = new_figure(3.9)
    axes = figure.add_subplot()
    top = axes.twiny()
    lines, names = [], []
    timed = [(at, point) for point in points if (at := point.time(images)) is not None]
    for kind, color in (("condnet", OURS), ("NN", INK)):
        lines += top.plot(*percent_points(theirs[kind]), **PALE | {"color": color})
        names.append(f"paper, {kind}")
        own = [
            (at, p.validation_mean) for at, p in timed if (p.method == "dense") == (kind == "NN")
        ]
        ours = {"ls": "", "marker": "x", "markersize": 5, "color": color}
        lines += axes.plot(*percent_points(own), **ours)
        names.append(f"ours, {kind}")
    chosen = [(at, point) for at, point in timed if point.method != "dense"]
    if drawn := draw_dense(axes, [at for at, _ in chosen], [p for _, p in chosen], dense):
        lines.append(drawn)
        names.append("dense networks of the condnets' total MACs")
    many = "one image" if images == 1 else f"{images} images"
    axes.set(xlabel=f"ours: milliseconds of {many}", ylabel="validation error in %", xscale="log")
    top.set(xlabel="paper: seconds of a pass over the validation split", xscale="log")
    top.grid(False)
    for axis in (axes.xaxis, top.xaxis):
        plain_logarithms(axis)
    legend_below(figure, lines, names)
    caption = f"Random search on SVHN, {many} a pass. Times are of different machines."
    alt = f"Scatter of error over time, {len(points)} networks of ours over the paper's"
    return Drawn(figure, name, caption, alt)


def draw_theirs(
    axes: Any, points: list[tuple[float, float]], color: str = THEIRS, factor: float = 100
) -> list[Any]:
    """Digitised points and a line through medians of neighbours."""
    xs, ys = percent_points(points, factor)
    dots = axes.plot(xs, ys, **PALE | {"color": color})
    line = axes.plot(*percent_points(trend(points), factor), color=color, lw=1.2, ls="--")
    return [dots[0], line[0]]


def draw_ours(
    axes: Any, places: Sequence[float], points: Sequence[Point], color: str = OURS
) -> Any:
    """Validation errors with Student's 95 % intervals."""
    found = [mean_interval(list(point.validation.values())) for point in points]
    means = [100 * one.mean for one in found]
    halves = [100 * ((one.high or one.mean) - one.mean) for one in found]
    # In logarithms a bar cannot reach below zero.
    ends = [[min(h, 0.9 * m) for h, m in zip(halves, means, strict=True)], halves]
    return axes.errorbar(places, means, yerr=ends, color=color, **BARS)


def draw_dense(
    axes: Any, places: Sequence[float], points: Sequence[Point], dense: Sequence[Point]
) -> Any:
    """Validation errors of dense networks with the MACs of each point; None where not known."""
    pairs = []
    for place, point in zip(places, points, strict=True):
        errors = front_error(dense, point.macs, validation=True)
        if errors:
            pairs.append((place, 100 * float(np.mean(list(errors.values())))))
    if not pairs:
        return None
    (line,) = axes.plot(*zip(*sorted(pairs), strict=True), **DENSE)
    return line


def draw_times(axes: Any, places: Sequence[float], points: Sequence[Point]) -> Any:
    """Our times of a pass of 256 images on a right axis, which is returned."""
    right = axes.twinx()
    right.grid(False)
    right.spines["right"].set_visible(True)
    known = [(at, t) for at, p in zip(places, points, strict=True) if (t := p.time(256))]
    right.plot([at for at, _ in known], [t for _, t in known], color=OURS, marker="o", ls="")
    right.set_ylim(0, 1.1 * max((t for _, t in known), default=1.0))
    return right


def percent_points(
    points: Sequence[tuple[float, float]], factor: float = 100
) -> tuple[list[float], list[float]]:
    """Points as two lists, shares as per cent."""
    return [x for x, _ in points], [factor * y for _, y in points]


def epoch_curve(found: Sequence[Result]) -> tuple[list[float], list[float]]:
    """Epochs and mean validation errors in per cent, where all seeds have a point."""
    per_epoch = 40_000
    curves = [{p["images_seen"]: p["error"] for p in run["curve"]} for run in found]
    images = sorted(set.intersection(*(set(curve) for curve in curves)))
    means = [100 * float(np.mean([curve[n] for curve in curves])) for n in images]
    return [n / per_epoch for n in images], means


def setting(result: Result, name: str) -> float:
    """A number among the agent's settings: what was chosen, or its default."""
    chosen = result["settings"]["agent_settings"]
    usual, _ = agent_parameters(find_agent(result["agent"]))
    return float(chosen.get(name, usual.get(name)))


def density_of(runs: Sequence[Result]) -> float:
    """Mean share of blocks kept on validation images, masks drawn."""
    shares = [
        verdict["density"]
        for result in runs
        for verdict in result["evaluations"]
        if (verdict["split"], verdict["mode"]) == ("validation", "sampled")
    ]
    return float(np.mean(shares))


Use = NDArray[np.float64]


def fig1_of(results: Mapping[str, Sequence[Result]]) -> tuple[str, dict[int, Use]] | None:
    """Label and seed -> block use [classes, blocks] of the first condnet; None where there is none.

    Blocks of different seeds mean different things: they are never averaged.
    """
    for label, found in results.items():
        if found and found[0]["agent"] == "condnet":
            uses = {r["seed"]: np.asarray(r["block_use"][0]) / 100 for r in found if use_known(r)}
            if uses:
                return label, uses
    return None


def use_known(result: Result) -> bool:
    """Whether a result says which blocks each class keeps."""
    return bool(result.get("block_use"))


def fig1_figure(label: str, uses: Mapping[int, Use]) -> Drawn:
    """Activation of each block for class 0, class 1 and all classes, and a map of all; first seed.

    The paper draws a dot for each image and the mean; these are the means.
    """
    seed, use = next(iter(uses.items()))
    figure = new_figure(5.6)
    panels = figure.subplots(4, gridspec_kw={"height_ratios": [1, 1, 1, 1.6]})
    shown = {"class 0": use[0], "class 1": use[1], "all classes": use.mean(axis=0)}
    for axes, (name, means) in zip(panels, shown.items(), strict=False):
        axes.plot(range(len(means)), means, ls="", marker="o", markersize=4, color=COLORS[0])
        axes.vlines(range(len(means)), 0, means, color=COLORS[0], lw=0.8)
        axes.axhline(float(means.mean()), color=INK, lw=0.6, ls=":")
        axes.set(ylabel=name, ylim=(0, 1.05), xlim=(-0.5, len(means) - 0.5))
        axes.xaxis.get_major_locator().set_params(integer=True)
    draw_map(figure, panels[-1], use)
    density = "; ".join(f"{name} {means.mean():.2f}" for name, means in shown.items())
    caption = f"Fig. 1: share of images that keep each block, {label}, seed {seed}."
    alt = f"Activation of blocks by class; mean (dotted): {density}"
    return Drawn(figure, "fig1", caption, alt)


def draw_map(figure: Any, axes: Any, use: Use) -> None:
    """Classes down, blocks across."""
    axes.grid(False)
    drawn = axes.imshow(use, vmin=0, vmax=1, cmap="viridis", aspect="auto", interpolation="none")
    axes.set(xlabel="block", ylabel="class")
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.colorbar(drawn, ax=axes, label="kept")


def fig1_table(label: str, uses: Mapping[int, Use]) -> Table:
    """The figure's numbers for all seeds."""
    blocks = len(next(iter(uses.values()))[0])
    columns = {"seed": "right", "class": "right"}
    columns |= {f"block {i}": "right .2f" for i in range(blocks)}
    lines = [
        [seed, number, *shares] for seed, use in uses.items() for number, shares in enumerate(use)
    ]
    note = "Share of test images of a class that keep each block. Blocks of two seeds are no pairs."
    return Table("fig1", f"Fig. 1: block use by class, {label}", columns, lines, note, shaded=True)


Draw = Callable[[Results, Points, Sequence[Point]], list[Drawn]]
"""(results by label, the same as points, dense networks of the same images) -> figures."""


def drawn_over(draw: Draw, comparison: Comparison, results_dir: Path) -> Part:
    """A figure of the paper; times measured in turns stand in place of the runs' own."""
    datasets = (row["dataset"] for row in comparison.rows)
    elsewhere = borrowed(datasets, results_dir, comparison.name)
    dense = [point for points in elsewhere.values() for point in chosen(points)]
    times = times_in(results_dir, comparison.name)["sampled"]
    results = {label: found for label, found in comparison.results.items() if found}
    points = [make_point(label, found, "sampled") for label, found in results.items()]
    by_label = {point.label: in_turns(point, times) for point in points}
    return Part(figures=draw(results, by_label, dense))


def block_use(comparison: Comparison, results_dir: Path) -> Part:
    """Fig. 1, of the first condnet with a result."""
    fig1 = fig1_of(comparison.results)
    return Part() if fig1 is None else Part([fig1_table(*fig1)], [fig1_figure(*fig1)])


def section(make: Callable[[Comparison, Path], Part]) -> Section:
    """A section of this name in any report."""
    return Section("paper", "Compared with the paper", make)


FIG_1 = section(block_use)
FIG_3 = section(partial(drawn_over, front_figures))
FIG_5A = section(partial(drawn_over, lambda_s_figures))
FIG_5B = section(partial(drawn_over, lambda_v_figures))
FIG_5_7 = section(partial(drawn_over, density_figures))
