"""Draws a comparison's measure over a cost for each setting of the page's switches.

Shapes tell kinds of methods, colours tell methods; names stand at the points.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccenv.base.mask_words import in_files, kind_in_words
from ccenv.runs.engine.sweep_runs import SweepRuns
from ccenv.runs.report.names import write_names
from ccenv.runs.report.views import PlotView, make_views
from ccenv.runs.stats.cost_points import Point
from ccenv.runs.stats.dense_comparison import undominated
from ccenv.runs.stats.intervals import FEWEST, with_interval
from ccenv.runs.stats.measures import (
    BITS,
    ERROR,
    RANDOM_MASKS,
    UNKNOWN,
    Result,
    method_of,
)
from ccenv.runs.stats.shapings import learned_rows, rewards_are_the_question, shaping_of
from ccenv.runs.stats.verdict import first_names
from ccenv.runs.tables.drawing import (
    COLORS,
    INK,
    THEIRS,
    WIDE,
    WIDTH,
    Picture,
    drawn_in_style,
    file_part,
    fit_axis,
    legend_columns,
    new_figure,
    saved,
)

KINDS = {
    "learned": ("learned policy", "o^v<>PphH"),
    "dense": ("dense network", "s"),
    "random": ("random masks", "x"),
    "baseline": ("other baseline", "DdX"),
    "ceiling": ("ceiling: knows label", "*"),
}
"""Kind of a method -> in words, and its markers: shapes tell kinds, colours tell methods."""
DASHES = ("-", "--", ":", "-.")
WHOLE_IMAGES = "whole images"
"""Said of rows in sweeps where others see images of half their size."""

Results = Mapping[str, Sequence[Result]]
Style = dict[str, Any]


def kind_of_method(result: Result) -> str:
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
    """label of a row -> its method, see `method_of`; its reward where rewards are compared."""
    kinds: Mapping[str, str]
    """method -> a name in `KINDS`."""
    shaped: Mapping[str, str]
    """label of a learned row -> what its shape tells: the reward where colours tell methods, the
    agent where they tell rewards; empty where all are alike, or more than there are shapes."""
    joined: frozenset[str] = frozenset()
    """methods whose points a line joins, as it does a baseline's: rewards that are compared."""

    @functools.cached_property
    def colors(self) -> dict[str, str]:
        """Method -> colour; dense networks are ink and random masks grey."""
        fixed = {"dense": INK, "random": THEIRS}
        others = [name for name, word in self.kinds.items() if word not in fixed]
        others.sort(key=lambda name: self.kinds[name] != "learned")
        colors = dict(zip(others, itertools.cycle(COLORS), strict=False))
        return {name: fixed.get(self.kinds[name]) or colors[name] for name in self.kinds}

    @functools.cached_property
    def shapes(self) -> dict[str, str]:
        """What shapes tell -> marker."""
        return dict(zip(dict.fromkeys(self.shaped.values()), KINDS["learned"][1], strict=False))

    def kind(self, label: str) -> str:
        """A row's name in `KINDS`."""
        return self.kinds[self.methods[label]]

    def style(self, label: str) -> Style:
        """Colour and marker of a row; where a colour repeats, the marker is another one."""
        method, kind = self.methods[label], self.kind(label)
        alike = [name for name, color in self.colors.items() if color == self.colors[method]]
        shapes = KINDS[kind][1]
        shape = shapes[alike.index(method) % len(shapes)]
        if label in self.shaped:
            shape = self.shapes[self.shaped[label]]
        face = {"mfc": "none"} if kind == "ceiling" else {}
        return {"color": self.colors[method], "marker": shape, "ls": ""} | face

    def line(self, label: str) -> Style:
        """Colour and dashes of a row's line; dashes differ between rows of a colour."""
        color = self.colors[self.methods[label]]
        alike = [name for name, method in self.methods.items() if self.colors[method] == color]
        return {"color": color, "ls": DASHES[alike.index(label) % len(DASHES)]}


def make_looks(results: Results) -> Looks:
    """Looks of all rows that have a result."""
    first = {label: runs[0] for label, runs in results.items() if runs}
    methods = {label: method_of(result) for label, result in first.items()}
    learned = dict(learned_rows(results))
    is_of_rewards = rewards_are_the_question(results)
    if is_of_rewards:
        methods |= {label: shaping_of(first[label]) for label in learned}
        shaped = {label: str(first[label]["agent"]) for label in learned}
    else:
        shaped = {label: str(r["reward"]) for label, r in first.items() if r["learns"]}
        shaped = {label: reward for label, reward in shaped.items() if reward != UNKNOWN}
    kinds = {methods[label]: kind_of_method(result) for label, result in first.items()}
    joined = frozenset(methods[label] for label in learned if is_of_rewards)
    is_told = 1 < len(set(shaped.values())) <= len(KINDS["learned"][1])
    return Looks(methods, kinds, shaped if is_told else {}, joined)


CAPTION = (
    "Bars: 95 % intervals over seeds, from three seeds on. Dotted steps: Pareto front of means. "
    "Lines: rows of a baseline, or of one reward of several, that no cheaper one beats on "
    "validation data. Pale: rows that validation did not choose."
)


def view_figures(
    comparison: SweepRuns, views: Sequence[PlotView], looks: Looks, width: float = WIDTH
) -> dict[str, Picture]:
    """Setting of the switches -> figure, narrow for files and phones or wide for screens."""
    several = len({view.dataset for view in views}) > 1
    figures = {}
    for view in views:
        is_first = (view.measure, view.cost.key, view.deterministic) == (
            ERROR,
            "macs",
            comparison.deterministic,
        )
        name = "front" if is_first else f"equal-{view.cost.key}"
        name += f"-{file_part(view.dataset)}" if several else ""
        name += f"-{view.measure.name}" if view.measure.name else ""
        name += f"-{in_files(True)}" if view.deterministic and not is_first else ""
        numbers = {point.label: number for number, point in enumerate(view.points)}
        titles = {f"row-{numbers[point.label]}": words(view, point) for point in view.placed}
        alt = (
            f"Scatter plot of test {view.measure.title} over {view.cost.title} for "
            f"{len(view.placed)} rows on {view.dataset}. Pareto front: "
            f"{'; '.join(words(view, point) for point in view.front)}."
        )
        draw = functools.partial(drawn_view, view, looks, width)
        figures[view.when] = Picture(draw, name, caption_of(view), alt, titles)
    return figures


def caption_of(view: PlotView) -> str:
    """How to read a figure, which rows have other masks than the rest, and which are not drawn."""
    # Sampled, or as the axis says.
    usual, caption = kind_in_words(bool(view.deterministic)), CAPTION
    kinds: dict[str, list[str]] = {}
    for point in view.placed:
        if point.masks not in ("", usual):
            kinds.setdefault(point.masks, []).append(point.label)
    if kinds:
        masks = (f"{kind} of {first_names(labels)}" for kind, labels in kinds.items())
        caption += f" Masks: {'; '.join(masks)}; {usual} of all others."
    unknown = [point.label for point in view.points if math.isinf(point.macs)]
    if unknown and view.cost.key == "macs":
        caption += f" Not drawn, MACs unknown: {first_names(unknown)}."
    return caption


def words(view: PlotView, point: Point) -> str:
    """A point in words."""
    measure, cost = view.measure, view.cost
    number = with_interval(point.interval, len(point.error), measure.spec, measure.ends)
    number += f", {point.masks} masks" if point.masks else ""
    at = f"{cost.title} {cost.of(point):{cost.spec}}"
    return f"{point.label}: {measure.heading} {number}; {at}"


def front_figure(comparison: SweepRuns, results_dir: Path) -> Any:
    """Error over MACs of the first data set, as a matplotlib figure of a screen's width.

    Raises:
        ValueError: if no run is finished.
    """
    views = [
        v
        for v in make_views(comparison, results_dir)
        if v.deterministic == comparison.deterministic
    ]
    if not views:
        raise ValueError(f"expected finished runs of {comparison.name} to draw, got none")
    with drawn_in_style():
        figure = drawn_view(views[0], make_looks(comparison.results), WIDE)
    # A notebook draws figures of pyplot alone, others it asks for a picture.
    vars(figure)["_repr_png_"] = functools.partial(saved, figure, "png", dpi=100, facecolor="white")
    return figure


@dataclass(frozen=True)
class Group:
    """Points that share a name and a look."""

    points: Sequence[Point]
    """by cost."""
    style: Style
    """as matplotlib names it; "ls" where a line joins them."""


LONGEST = 28
"""Letters of a row's label that may stand at its point; else its method's name does."""
ELSEWHERE = "dense, of the equal-cost sweep"
"""Name of dense networks that are no rows of the comparison."""


def named_groups(view: PlotView, looks: Looks) -> dict[str, Group]:
    """Name at the points -> rows of one method and size of images, as far as validation chose them.

    Of baselines only those are kept that no cheaper row of the same baseline beats on validation
    data; a line joins them.
    """
    both = len({point.halves for point in view.placed}) > 1
    members: dict[tuple[str, bool], list[Point]] = {}
    for point in sorted(view.placed, key=view.cost.of):
        if point.label in view.chosen or point.label in view.ceilings:
            key = looks.methods[point.label], both and not point.halves
            members.setdefault(key, []).append(point)
    groups = {}
    for (method, is_whole), points in members.items():
        label, kind = points[0].label, looks.kinds[method]
        style = looks.style(label) | ({"mfc": "none"} if is_whole else {})
        if method in looks.joined or kind not in ("learned", "ceiling"):
            points, style = undominated(points, view.cost.of), style | {"ls": "-"}
            if method in looks.joined and looks.shaped:
                style["marker"] = ""
            label = points[0].label
        name = label if len(points) == 1 and len(label) <= LONGEST else method
        if kind == "random":
            name = KINDS["random"][0]
        groups[f"{name}, {WHOLE_IMAGES}" if is_whole else name] = Group(points, style)
    dense = [point for point in view.elsewhere if view.cost.of(point) < math.inf]
    if {point.label for point in dense} - {point.label for point in view.points}:
        style = {"color": INK, "marker": "s", "mfc": "none", "ls": "--"}
        groups[ELSEWHERE] = Group(undominated(dense, view.cost.of), style)
    return groups


ASPECT = 0.75, 0.5
"""Height over width of the axes, of narrow figures and of wide ones."""


def drawn_view(view: PlotView, looks: Looks, width: float) -> Any:
    """The figure itself."""
    far = [point for point in view.placed if looks.kind(point.label) == "random"]
    if view.measure is not BITS or view.cost.key != "macs" or len(far) == len(view.placed):
        # On texts alone they would take the room of all others: there the key tells their numbers.
        far = []
    near = dataclasses.replace(view, points=tuple(p for p in view.placed if p not in far))
    groups = named_groups(near, looks)
    places = {name: [view.at(point) for point in group.points] for name, group in groups.items()}
    area = width - 0.7, ASPECT[width > WIDTH] * width
    figure = new_figure(area[1] + 0.5, False, width)
    axes = figure.add_axes(box_of(figure, area))
    # Cost and ends of each interval, as tables write them; none of too few seeds.
    factor, (least, greatest) = view.measure.factor, view.measure.ends
    bars = [
        (view.cost.of(point), factor * max(one.low, least), factor * min(one.high, greatest))
        for point in near.points
        for one in [point.interval]
        if len(point.error) >= FEWEST and one.low is not None and one.high is not None
    ]
    shown = [*map(view.at, near.points), *itertools.chain.from_iterable(places.values())]
    fit_axis(axes.xaxis, [cost for cost, _ in shown])
    fit_axis(axes.yaxis, [mean for _, mean in shown], [end for _, *ends in bars for end in ends])
    front = [view.at(point) for point in view.front if point not in far]
    front = front[:1] + [at for (_, y), to in itertools.pairwise(front) for at in ((to[0], y), to)]
    if front:
        axes.plot(*zip(*front, strict=True), color=INK, lw=0.8, ls=":", zorder=1)
    if bars:
        axes.vlines(*zip(*bars, strict=True), color=INK, lw=0.7, alpha=0.4, zorder=1)
    faces: dict[str, Style] = {}
    for name, group in groups.items():
        marker: Style = {"ms": 4} if name == ELSEWHERE else {"marker": ""}
        axes.plot(*zip(*places[name], strict=True), **(group.style | marker), lw=0.9, zorder=2)
        if name != ELSEWHERE:
            face = {k: v for k, v in group.style.items() if k == "mfc"}
            faces |= {point.label: face for point in group.points}
    pale: Style = {"alpha": 0.3, "ms": 3}
    for number, point in enumerate(view.points):
        if point in near.points:
            style = {"ms": 5.5} | looks.style(point.label) | faces.get(point.label, pale)
            axes.plot(*view.at(point), **style, zorder=3, gid=f"row-{number}")
    small = [view.at(point) for point in near.points if point.label not in faces]
    axes.set(
        xlabel=view.cost.title,
        ylabel=f"{view.measure.heading}, {kind_in_words(view.deterministic, 'asked')} masks",
    )
    lines = [front, *(places[name] for name, group in groups.items() if group.style["ls"])]
    lines += [[(cost, low), (cost, high)] for cost, low, high in bars]
    colors = {name: group.style["color"] for name, group in groups.items()}
    without = write_names(axes, places, colors, [line for line in lines if line], small)
    key = key_styles(view, looks, far) | {name: groups[name].style for name in without}
    write_key(figure, axes, area, key)
    return figure


def key_styles(view: PlotView, looks: Looks, far: Sequence[Point]) -> dict[str, Style]:
    """What shapes mean: kinds of methods, and rewards, or agents, where there are several.

    Random masks that are too far to be drawn stand here with their numbers.
    """
    labels = [point.label for point in view.placed]
    here = {looks.kind(label) for label in labels}
    hollow: Style = {"mfc": "none"}
    styles: dict[str, Style] = {
        word: {"marker": shapes[0]} | (hollow if name == "ceiling" else {})
        for name, (word, shapes) in KINDS.items()
        if name in here
    }
    told = dict.fromkeys(looks.shaped[label] for label in labels if label in looks.shaped)
    if len(told) > 1:
        styles.pop(KINDS["learned"][0], None)
        styles = {f"policy, {one}": {"marker": looks.shapes[one]} for one in told} | styles
    if far:
        word = KINDS["random"][0]
        means = (f"{view.at(point)[1]:{view.measure.spec}}" for point in far)
        styles[f"{word}: {', '.join(means)}"] = styles.pop(word)
    return {name: {"color": INK, "ls": ""} | style for name, style in styles.items()}


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
