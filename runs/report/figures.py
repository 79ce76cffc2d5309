"""Draws a comparison: a measure over a cost for each setting of the page's switches, and the rest.

The rest are learning curves and block use by class.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.stats.cost_points import Point, make_point, times_in
from ccenv.runs.stats.dense_comparison import chosen_variants, dense_elsewhere, undominated
from ccenv.runs.stats.intervals import FEWEST, with_interval
from ccenv.runs.stats.measures import (
    BITS,
    ERROR,
    MASKS,
    MODES,
    NLL,
    OF_SYMBOLS,
    OWN,
    RANDOM_MASKS,
    UNKNOWN,
    Measure,
    dataset_of,
    method_of,
    repeated,
)
from ccenv.runs.stats.shapings import compares_shapings, learned_rows
from ccenv.runs.stats.verdict import first_names
from ccenv.runs.tables.drawing import (
    COLORS,
    INK,
    THEIRS,
    WIDE,
    WIDTH,
    Drawn,
    Panel,
    Series,
    drawn_in_style,
    drawn_maps,
    file_part,
    fit_axis,
    legend_columns,
    legend_height,
    new_figure,
    plain_ticks,
    plotted,
    saved,
    write_names,
)
from ccenv.runs.tables.sweep_table import Row, shown_name

KINDS = {
    "learned": ("learned policy", "o^v<>P"),
    "dense": ("dense network", "s"),
    "random": ("random masks", "x"),
    "baseline": ("other baseline", "DdX"),
    "ceiling": ("ceiling: knows label", "*"),
}
"""Kind of a method -> in words, and its markers: shapes tell kinds, colours tell methods."""
DASHES = ("-", "--", ":", "-.")
WHOLE_IMAGES = "whole images"
"""Said of rows in sweeps where others see images of half their size."""

Results = Mapping[str, Sequence[Mapping[str, Any]]]
Style = dict[str, Any]
Place = Callable[[Point], float | None]
"""Where a point stands on the axis of costs; None where that is not known."""


def kind_of_method(result: Mapping[str, Any]) -> str:
    """A name in `KINDS` for the method of a result."""
    if result["uses_labels"]:
        return "ceiling"
    if result["agent"] == RANDOM_MASKS:
        return "random"
    if method_of(result) == "dense":
        return "dense"
    return "learned" if result["learns"] else "baseline"


@dataclass(frozen=True)
class Looks:
    """Who looks how in a report: shapes tell kinds of methods, colours tell methods."""

    methods: Mapping[str, str]
    """label of a row -> its method; see `method_of`."""
    kinds: Mapping[str, str]
    """method -> a name in `KINDS`."""
    shapings: Mapping[str, str]
    """label of a learned row -> its reward, where policies learned from several, but no more than
    there are shapes; else empty."""
    joined: frozenset[str] = frozenset()
    """methods whose points a line joins, as it does a baseline's: one agent's rewards."""

    @functools.cached_property
    def colors(self) -> dict[str, str]:
        """Method -> colour; dense networks are ink and random masks grey."""
        fixed = {"dense": INK, "random": THEIRS}
        others = [name for name, word in self.kinds.items() if word not in fixed]
        others.sort(key=lambda name: self.kinds[name] != "learned")
        colors = {name: COLORS[index % len(COLORS)] for index, name in enumerate(others)}
        return {name: fixed.get(self.kinds[name]) or colors[name] for name in self.kinds}

    def shape(self, shaping: str) -> str:
        """Marker of policies that learned from a reward."""
        shapes = KINDS["learned"][1]
        return shapes[list(dict.fromkeys(self.shapings.values())).index(shaping) % len(shapes)]

    def style(self, label: str) -> Style:
        """Colour and marker of a row; where a colour repeats, the marker is another one."""
        method = self.methods[label]
        color, shapes = self.colors[method], KINDS[self.kinds[method]][1]
        alike = [name for name, other in self.colors.items() if other == color]
        shape = shapes[alike.index(method) % len(shapes)]
        if label in self.shapings:
            shape = self.shape(self.shapings[label])
        face = {"mfc": "none"} if self.kinds[method] == "ceiling" else {}
        return {"color": color, "marker": shape, "ls": ""} | face

    def line(self, label: str) -> Style:
        """Colour and dashes of a row's line; dashes differ between rows of a colour."""
        color = self.colors[self.methods[label]]
        alike = [name for name, method in self.methods.items() if self.colors[method] == color]
        return {"color": color, "ls": DASHES[alike.index(label) % len(DASHES)]}


def make_looks(results: Results) -> Looks:
    """Looks of all rows that have a result."""
    first = {label: runs[0] for label, runs in results.items() if runs}
    methods = {label: method_of(result) for label, result in first.items()}
    kinds = {methods[label]: kind_of_method(result) for label, result in first.items()}
    if compares_shapings(results):
        joined = frozenset(methods[label] for label, _ in learned_rows(results))
        return Looks(methods, kinds, {}, joined)
    shapings = {label: str(r["reward"]) for label, r in first.items() if r["learns"]}
    shapings = {label: reward for label, reward in shapings.items() if reward != UNKNOWN}
    number = len(set(shapings.values()))
    return Looks(methods, kinds, shapings if 1 < number <= len(KINDS["learned"][1]) else {})


@dataclass(frozen=True)
class Cost:
    """An axis of costs."""

    key: str
    """in the page's switches and in names of files."""
    short: str
    """in tables and at the switch."""
    title: str
    """on the axis."""
    of: Place
    """where a point stands."""
    spec: str
    """how it is written."""


@dataclass(frozen=True)
class PlotView:
    """What the figure and the table show at one setting of the switches."""

    number: int
    """of the data set in the report."""
    dataset: str
    """inputs that all points are judged on."""
    measure: Measure
    """on the upright axis; "errors" of points are numbers of it."""
    cost: Cost
    """on the other one."""
    draw: str
    """"sampled", "mode" (greedy), or "own" where agents differ; random masks are sampled."""
    points: tuple[Point, ...]
    """one for each row."""
    ceilings: frozenset[str]
    """labels of rows that know the labels of inputs."""
    elsewhere: tuple[Point, ...]
    """dense networks of the equal-cost sweep on the same inputs."""

    @property
    def settings(self) -> dict[str, str]:
        """Switch -> its setting."""
        measure = self.measure.name or "error"
        settings = {"data": str(self.number), "measure": measure}
        return settings | {"cost": self.cost.key, "masks": self.draw}

    @property
    def when(self) -> str:
        """The settings as tables and figures are marked with them."""
        return " ".join(f"{switch}-{setting}" for switch, setting in self.settings.items())

    @functools.cached_property
    def placed(self) -> list[tuple[float, Point]]:
        """Points whose cost is known; what computes nothing has no place in logarithms."""
        places = ((self.cost.of(point), point) for point in self.points if point.macs)
        return [(cost, point) for cost, point in places if cost and math.isfinite(cost)]

    @functools.cached_property
    def front(self) -> list[tuple[float, Point]]:
        """The Pareto front of means, by cost; ceilings aside."""
        front: list[tuple[float, Point]] = []
        for cost, point in sorted(self.placed, key=lambda pair: (pair[0], pair[1].interval.mean)):
            is_better = not front or point.interval.mean < front[-1][1].interval.mean
            if is_better and point.label not in self.ceilings:
                front.append((cost, point))
        return front

    @functools.cached_property
    def chosen(self) -> frozenset[str]:
        """Labels of rows that validation chose among those of one method and cost."""
        judged = [point for point in self.points if point.label not in self.ceilings]
        return frozenset(p.label for p in chosen_variants(judged, by_memory=self.measure is BITS))


def make_views(comparison: Comparison, results_dir: Path) -> list[PlotView]:
    """Every setting of the switches that there is something to show at."""
    results = {label: runs for label, runs in comparison.results.items() if runs}
    names = list(dict.fromkeys(dataset_of(runs[0]) for runs in results.values()))
    elsewhere = dense_elsewhere(names, results_dir, comparison.name)
    times = times_in(results_dir, comparison.name)
    learned = any(runs[0]["learns"] for runs in results.values())
    views, same = [], repeated(results)
    for number, dataset in enumerate(names):
        rows = {k: runs for k, runs in results.items() if dataset_of(runs[0]) == dataset}
        of_symbols = all(run.get(OF_SYMBOLS) for runs in rows.values() for run in runs)
        ceilings = frozenset(k for k, runs in rows.items() if runs[0]["uses_labels"])
        for measure in (ERROR, BITS if of_symbols else NLL):
            draws = MODES if comparison.draw in MODES else (comparison.draw, *MODES)
            for draw in draws if learned else (comparison.draw,):
                made = [
                    make_point(label, runs, draw, measure, times[draw])
                    for label, runs in rows.items()
                ]
                # Rows that repeat another are its variants, but for the reader's.
                own = {point.label: point.method for point in made}
                own |= {k: own[same[k]] for k in rows if k in same and not rows[k][0].get("added")}
                points = tuple(dataclasses.replace(one, method=own[one.label]) for one in made)
                dense = elsewhere.get(dataset, ()) if measure is ERROR else ()
                views += [
                    PlotView(number, dataset, measure, cost, draw, points, ceilings, tuple(dense))
                    for cost in costs_of(points)
                ]
    return [view for view in views if view.placed]


def costs_of(points: Sequence[Point]) -> list[Cost]:
    """Axes of costs of which something is known."""
    title = "MACs of one input, policy included"
    costs = [Cost("macs", "MACs", title, lambda point: point.macs, ",.0f")]
    for size in sorted({size for point in points for size in point.milliseconds}):
        short = f"ms for {'one input' if size == 1 else f'{size} inputs'}"
        place = functools.partial(Point.time, images=size)
        costs.append(Cost(f"time-{size}", short, f"{short}, policy included", place, ",.3g"))
    if any(point.memory for point in points):
        title = "memory of network and policy in kB"
        costs.append(Cost("memory", "memory in kB", title, lambda point: point.kilobytes, ",.1f"))
    return costs


CAPTION = (
    "Bars: 95 % intervals over seeds, from three seeds on. Dotted steps: Pareto front of means. "
    "Lines: rows of a baseline, or of one reward of several, that no cheaper one beats on "
    "validation data. Pale: rows that validation did not choose."
)


def view_figures(
    comparison: Comparison, views: Sequence[PlotView], looks: Looks, width: float = WIDTH
) -> dict[str, Drawn]:
    """Setting of the switches -> figure, narrow for files and phones or wide for screens."""
    several = len({view.dataset for view in views}) > 1
    figures = {}
    for view in views:
        name = f"equal-{view.cost.key}"
        if (view.measure, view.cost.key, view.draw) == (ERROR, "macs", comparison.draw):
            name = "front"
        name += f"-{file_part(view.dataset)}" if several else ""
        name += f"-{view.measure.name}" if view.measure.name else ""
        name += "-mode" if view.draw == "mode" and not name.startswith("front") else ""
        numbers = {point.label: number for number, point in enumerate(view.points)}
        titles = {f"row-{numbers[p.label]}": words(view, p) for _, p in view.placed}
        draw = functools.partial(drawn_view, view, looks, width)
        caption = CAPTION + kinds_of_masks(view) + unplaced(view)
        figures[view.when] = Drawn(draw, name, caption, alt_of(view), titles)
    return figures


def kinds_of_masks(view: PlotView) -> str:
    """Which rows have other masks than the rest, whose masks are sampled or as the axis says."""
    usual = "sampled" if view.draw == OWN else view.draw
    kinds: dict[str, list[str]] = {}
    for _, point in view.placed:
        if point.masks not in ("", usual):
            kinds.setdefault(point.masks, []).append(point.label)
    said = [f"{MASKS[kind]} of {first_names(labels)}" for kind, labels in kinds.items()]
    return f" Masks: {'; '.join(said)}; {MASKS[usual]} of all others." if said else ""


def unplaced(view: PlotView) -> str:
    """Rows that are not drawn over MACs."""
    labels = [point.label for point in view.points if math.isinf(point.macs)]
    is_missing = labels and view.cost.key == "macs"
    return f" Not drawn, MACs unknown: {first_names(labels)}." if is_missing else ""


def front_figure(comparison: Comparison, results_dir: Path) -> Any:
    """Error over MACs of the first data set, as a matplotlib figure of a screen's width.

    Raises:
        ValueError: if no run is finished.
    """
    views = [v for v in make_views(comparison, results_dir) if v.draw == comparison.draw]
    if not views:
        raise ValueError(f"expected finished runs of {comparison.name} to draw, got none")
    view = views[0]
    with drawn_in_style():
        figure = drawn_view(view, make_looks(comparison.results), WIDE)
    # A notebook draws figures of pyplot alone, others it asks for a picture.
    vars(figure)["_repr_png_"] = functools.partial(saved, figure, "png", dpi=100, facecolor="white")
    return figure


def words(view: PlotView, point: Point) -> str:
    """A point in words."""
    measure, cost = view.measure, view.cost.of(point)
    number = with_interval(point.interval, len(point.error), measure.spec, measure.ends)
    number += f", {MASKS[point.masks]} masks" if point.masks else ""
    at = "" if cost is None else f"; {view.cost.title} {cost:{view.cost.spec}}"
    return f"{point.label}: {measure.heading} {number}{at}"


def alt_of(view: PlotView) -> str:
    """What is to be seen."""
    front = "; ".join(words(view, point) for _, point in view.front)
    return (
        f"Scatter plot of test {view.measure.title} over {view.cost.title} for "
        f"{len(view.placed)} rows on {view.dataset}. Pareto front: {front}."
    )


@dataclass(frozen=True)
class Group:
    """Points that share a name and a look."""

    pairs: Sequence[tuple[float, Point]]
    """cost and point, by cost."""
    style: Style
    """as matplotlib names it; "ls" where a line joins them."""

    def at(self, factor: float) -> list[tuple[float, float]]:
        """Where its points stand."""
        return [(cost, factor * point.interval.mean) for cost, point in self.pairs]


LONGEST = 28
"""Letters of a row's label that may stand at its point; else its method's name does."""


def named_groups(view: PlotView, looks: Looks) -> dict[str, Group]:
    """Name at the points -> rows of one method and size of images, as far as validation chose them.

    Of baselines only those are kept that no cheaper row of the same baseline beats on validation
    data; a line joins them.
    """
    both = len({point.halves for _, point in view.placed}) > 1
    members: dict[tuple[str, bool], list[tuple[float, Point]]] = {}
    for cost, point in sorted(view.placed, key=lambda pair: pair[0]):
        if point.label in view.chosen or point.label in view.ceilings:
            key = looks.methods[point.label], both and not point.halves
            members.setdefault(key, []).append((cost, point))
    groups = {}
    for (method, is_whole), pairs in members.items():
        style = looks.style(pairs[0][1].label) | ({"mfc": "none"} if is_whole else {})
        if method in looks.joined or looks.kinds[method] not in ("learned", "ceiling"):
            pairs, style = on_validation(pairs), style | {"ls": "-"}
        label = pairs[0][1].label
        name = label if len(pairs) == 1 and len(label) <= LONGEST else method
        if looks.kinds[method] == "random":
            name = KINDS["random"][0]
        groups[f"{name}, {WHOLE_IMAGES}" if is_whole else name] = Group(pairs, style)
    placed = [(at, point) for point in view.elsewhere if (at := view.cost.of(point))]
    if {point.label for _, point in placed} - {point.label for point in view.points}:
        style = {"color": INK, "marker": "s", "mfc": "none", "ls": "--"}
        groups[ELSEWHERE] = Group(on_validation(placed), style)
    return groups


def on_validation(pairs: Sequence[tuple[float, Point]]) -> list[tuple[float, Point]]:
    """Points that no cheaper one beats on validation data."""
    costs = {point.label: cost for cost, point in pairs}
    front = undominated([point for _, point in pairs], lambda point: costs[point.label])
    return [(costs[point.label], point) for point in front]


ELSEWHERE = "dense, of the equal-cost sweep"
"""Name of dense networks that are no rows of the comparison."""
ASPECT = 0.75, 0.5
"""Height over width of the axes, of narrow figures and of wide ones."""


def too_far(view: PlotView, looks: Looks) -> list[Point]:
    """Random masks on texts, over MACs: they would take the room of all others."""
    random = [p for _, p in view.placed if looks.kinds[looks.methods[p.label]] == "random"]
    is_of_texts = view.measure is BITS and view.cost.key == "macs"
    return random if is_of_texts and len(random) < len(view.placed) else []


def drawn_view(view: PlotView, looks: Looks, width: float) -> Any:
    """The figure itself."""
    far = {point.label for point in too_far(view, looks)}
    placed = [(cost, point) for cost, point in view.placed if point.label not in far]
    groups = named_groups(dataclasses.replace(view, points=tuple(p for _, p in placed)), looks)
    factor = view.measure.factor
    place = {point.label: (cost, factor * point.interval.mean) for cost, point in placed}
    area = width - 0.7, ASPECT[width > WIDTH] * width
    figure = new_figure(area[1] + 0.5, False, width)
    axes = figure.add_axes(box_of(figure, area))
    # Cost and ends of each interval, as tables write them; none of too few seeds.
    least, greatest = view.measure.ends
    bars = [
        (cost, factor * max(one.low, least), factor * min(one.high, greatest))
        for cost, point in placed
        for one in [point.interval]
        if len(point.error) >= FEWEST and one.low is not None and one.high is not None
    ]
    shown = [*place.values(), *(at for group in groups.values() for at in group.at(factor))]
    fit_axis(axes.xaxis, [cost for cost, _ in shown])
    fit_axis(axes.yaxis, [mean for _, mean in shown], [end for _, *ends in bars for end in ends])
    front = [place[point.label] for _, point in view.front if point.label in place]
    front = front[:1] + [at for (_, y), to in itertools.pairwise(front) for at in ((to[0], y), to)]
    if front:
        axes.plot(*zip(*front, strict=True), color=INK, lw=0.8, ls=":", zorder=1)
    if bars:
        axes.vlines(*zip(*bars, strict=True), color=INK, lw=0.7, alpha=0.4, zorder=1)
    for name, group in groups.items():
        style = group.style | ({"ms": 4} if name == ELSEWHERE else {"marker": ""})
        axes.plot(*zip(*group.at(factor), strict=True), **style, lw=0.9, zorder=2)
    faces = {
        point.label: {"mfc": group.style["mfc"]} if "mfc" in group.style else {}
        for name, group in groups.items()
        if name != ELSEWHERE
        for _, point in group.pairs
    }
    pale: Style = {"alpha": 0.3, "ms": 3}
    for number, point in enumerate(view.points):
        if point.label in place:
            style = {"ms": 5.5} | looks.style(point.label) | faces.get(point.label, pale)
            axes.plot(*place[point.label], **style, zorder=3, gid=f"row-{number}")
    heading = f"{view.measure.heading}, {MASKS[view.draw]} masks"
    axes.set(xlabel=view.cost.title, ylabel=heading)
    colors = {name: group.style["color"] for name, group in groups.items()}
    places = {name: group.at(factor) for name, group in groups.items()}
    lines = [front, *(group.at(factor) for group in groups.values() if group.style["ls"])]
    lines += [[(cost, low), (cost, high)] for cost, low, high in bars]
    lines = [line for line in lines if line]
    without = write_names(axes, places, colors, lines)
    write_key(figure, axes, area, key_styles(view, looks) | {n: groups[n].style for n in without})
    return figure


def key_styles(view: PlotView, looks: Looks) -> dict[str, Style]:
    """What shapes mean: kinds of methods, and rewards where there are several."""
    here = {looks.kinds[looks.methods[point.label]] for _, point in view.placed}
    styles: dict[str, Style] = {
        KINDS[name][0]: {"marker": KINDS[name][1][0]} for name in KINDS if name in here
    }
    learned = [looks.shapings.get(point.label) for _, point in view.placed]
    shapings = [name for name in dict.fromkeys(learned) if name]
    if len(shapings) > 1:
        shapes: dict[str, Style] = {
            f"policy, {name}": {"marker": looks.shape(name)} for name in shapings
        }
        styles = shapes | {k: v for k, v in styles.items() if k != KINDS["learned"][0]}
    if far := too_far(view, looks):
        word, measure = KINDS["random"][0], view.measure
        means = (f"{measure.factor * point.interval.mean:{measure.spec}}" for point in far)
        styles[f"{word}: {', '.join(means)}"] = styles.pop(word)
    hollow = {"mfc": "none"}
    return {
        name: {"color": INK, "ls": ""} | style | (hollow if name == KINDS["ceiling"][0] else {})
        for name, style in styles.items()
    }


def box_of(figure: Any, area: tuple[float, float]) -> tuple[float, float, float, float]:
    """Place of the axes, at the upper right of a figure, as shares of it."""
    width, height = figure.get_size_inches()
    left, bottom = 1 - (area[0] + 0.1) / width, 1 - (area[1] + 0.05) / height
    return left, bottom, area[0] / width, area[1] / height


def write_key(figure: Any, axes: Any, area: tuple[float, float], key: Mapping[str, Style]) -> None:
    """Writes a legend below the axes, which keep their size."""
    from matplotlib.lines import Line2D

    columns = legend_columns(list(key)) if figure.get_figwidth() <= WIDTH else 4
    rows = -(-len(key) // columns)
    figure.set_size_inches(figure.get_figwidth(), area[1] + 0.55 + 0.16 * rows)
    axes.set_position(box_of(figure, area))
    usual: Style = {"ms": 5, "lw": 0.9}
    handles = [Line2D([], [], **(usual | style)) for style in key.values()]
    figure.legend(handles, list(key), loc="lower left", ncols=columns, borderaxespad=0.1)


CURVES = {"error": "error in %", "total_cost": "total cost"}
RETURNS = {"mean_return": "return"}


def curve_figures(comparison: Comparison, looks: Looks) -> list[Drawn]:
    """Validation error and total cost over inputs seen: a figure for each data set and shaping.

    Where one agent's rewards are compared, a figure for each cost weight, with returns.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in comparison.rows:
        runs = comparison.results[row["label"]]
        if any(len(result.get("curve", [])) > 2 for result in runs):
            is_joined = looks.methods[row["label"]] in looks.joined
            alike = cost_weight_of(runs[0]) if is_joined else f"reward {row['shaping']}"
            groups.setdefault((row["dataset"], alike), []).append(row)
    figures = []
    for (dataset, alike), rows in groups.items():
        part = file_part(dataset, alike.removeprefix("reward ").replace(" ", "-"))
        name = "curves" if len(groups) == 1 else f"curves-{part}"
        panels = curve_panels(comparison.results, rows, looks)
        height = 0.4 + 1.7 * len(panels) + legend_height([one.name for one in panels[0].series])
        ends = ", ".join(f"{row['label']} {100 * row['error']['mean']:.1f} %" for row in rows)
        caption = f"Validation data of {dataset}, {alike}. Bands: lowest to highest seed."
        if len(panels) > len(CURVES):
            caption += " Returns of different rewards are in different units."
        alt = f"Validation error and total cost over training inputs; test error in the end: {ends}"
        draw = functools.partial(plotted, panels, height)
        figures.append(Drawn(draw, name, caption, alt))
    return figures


def cost_weight_of(result: Mapping[str, Any]) -> str:
    """The cost weight of a run's reward in words, as it was given."""
    given = result["settings"]["environment"]["reward_kwargs"]
    return f"cost weight {given['cost_weight']:g}" if "cost_weight" in given else "no cost weight"


def curve_panels(results: Results, rows: Sequence[Row], looks: Looks) -> list[Panel]:
    """One line for each row: mean and range over the seeds that got as far.

    A panel of returns where rows are one agent's under several rewards, and all results say them.
    """
    points = [p for row in rows for run in results[row["label"]] for p in run.get("curve", [])]
    is_joined = all(looks.methods[row["label"]] in looks.joined for row in rows)
    has_returns = is_joined and all("mean_return" in point for point in points)
    panels = []
    for number, title in (CURVES | (RETURNS if has_returns else {})).items():
        series = []
        for row in rows:
            by_inputs: dict[int, list[float]] = {}
            for result in results[row["label"]]:
                for point in result.get("curve", []):
                    value = (100 if number == "error" else 1) * point[number]
                    by_inputs.setdefault(point["images_seen"], []).append(value)
            inputs = sorted(by_inputs)
            low, mean, high = (
                [float(f(by_inputs[n])) for n in inputs] for f in (min, np.mean, max)
            )
            style: Style = {"lw": 1.2} | looks.line(row["label"])
            name = shown_name(row)
            if is_joined:
                name, style = looks.methods[row["label"]], style | {"ls": "-"}
            series.append(Series(name, inputs, mean, style, (low, high)))
        ends: Style = {} if number in RETURNS else {"ylim": (0, None)}
        panels.append(Panel(series, {"ylabel": title} | ends))
    below = {"xlabel": "training inputs seen"}
    last = dataclasses.replace(
        panels[-1],
        settings={**panels[-1].settings, **below},
        finish=lambda axes: plain_ticks(axes.xaxis),
    )
    return [*panels[:-1], last]


def block_figures(comparison: Comparison, looks: Looks) -> list[Drawn]:
    """How often each class keeps each block, of one seed of each method's row of least error."""
    best: dict[str, Row] = {}
    for one in sorted(comparison.rows, key=lambda row: float(row["error"]["mean"])):
        method = looks.methods[one["label"]]
        uses = [result.get("block_use") for result in comparison.results[one["label"]]]
        has_choice = any(len(use[0][0]) > 1 for use in uses if use)
        if has_choice and looks.kinds[method] not in ("dense", "random"):
            best.setdefault(method, one)
    figures = []
    for best_row in best.values():
        results = comparison.results[best_row["label"]]
        first = next(result for result in results if result.get("block_use"))
        layers = [np.asarray(layer) / 100 for layer in first["block_use"]]
        means = "; ".join(
            f"layer {i}: {use.mean():.2f} kept, most used: block {int(use.mean(0).argmax())}"
            for i, use in enumerate(layers)
        )
        name = f"blocks-{file_part(best_row['label'].replace(' ', '-'))}"
        caption = (
            f"{shown_name(best_row)}, seed {first['seed']}: share of inputs that keep a block."
        )
        alt = f"Map of block use by class for {best_row['label']}; {means}"
        figures.append(Drawn(functools.partial(drawn_maps, layers), name, caption, alt))
    return figures
