"""Draws the dense front and conditional rows: test error over MACs, memory and measured time."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ccenv.runs.report.families import OTHERS, Style
from ccenv.runs.stats.cost_points import RIVALS, Point, in_kilobytes
from ccenv.runs.stats.dense_comparison import Contest, undominated
from ccenv.runs.tables.drawing import (
    INK,
    THEIRS,
    Drawn,
    file_part,
    legend_below,
    legend_height,
    new_figure,
    plain_logarithms,
)

CHOICE = (
    "Where rows of one agent cost the same, validation error chose (full colour); the others are "
    "pale. Bars: Student's 95 % intervals over seeds. Line: dense networks that no cheaper one "
    "beats on validation images; the others are pale. Where some rows see images of half their "
    "size, empty markers are rows on whole images."
)
WHOLE_IMAGES = "whole images"
"""Said of rows in sweeps where others see images of half their size."""
Place = Callable[[Point], float | None]
"""Where a point stands on the x axis; None where that is not known."""


def dense_figures(
    contests: Sequence[Contest], styles: Mapping[str, Style], draw: str, note: str = ""
) -> list[Drawn]:
    """Error over MACs, memory (of texts) and the time of a pass for each number of inputs."""
    figures = []
    for contest in contests:
        suffix = f"-{contest.measure.name}" if contest.measure.name else ""
        suffix += "" if draw == "sampled" else f"-{draw}"
        part = f"-{file_part(contest.dataset)}" if len(contests) > 1 else ""
        judged = contest.measure.input
        title = f"total MACs of {judged}, policy included"
        name = f"equal-macs{part}{suffix}"
        figures.append(dense_figure(contest, lambda point: point.macs, title, name, note, styles))
        if contest.measure.name and any(point.memory for point in contest.dense):
            title, name = "kB of network and policy", f"equal-memory{part}{suffix}"
            figures.append(dense_figure(contest, in_kilobytes, title, name, note, styles))
        timed = [n for n in contest.batches if any(point.time(n) for point in contest.dense)]
        for images in timed:
            noun = judged.split()[-1]
            many = f"one {noun}" if images == 1 else f"{images} {noun}s"
            title = f"milliseconds of a pass of {many}, policy included"
            name = f"equal-time-{images}{part}{suffix}"
            place = functools.partial(Point.time, images=images)
            figures.append(dense_figure(contest, place, title, name, note, styles))
    return figures


def on_axis(place: Place, point: Point) -> float | None:
    """Only places of rows that compute something."""
    return place(point) if point.macs else None


def dense_figure(
    contest: Contest,
    place: Place,
    title: str,
    name: str,
    note: str,
    styles: Mapping[str, Style],
) -> Drawn:
    """One figure: the dense line, and a colour for each agent."""
    # No MACs have no place on a logarithmic axis.
    place = functools.partial(on_axis, place)
    caption = " ".join(part for part in (f"{contest.dataset}.", CHOICE, note) if part)
    draw = functools.partial(drawn_contest, contest, place, title, styles)
    return Drawn(draw, name, caption, words(contest, place, title))


def drawn_contest(contest: Contest, place: Place, title: str, styles: Mapping[str, Style]) -> Any:
    """The figure itself."""
    measure, factor = contest.measure, contest.measure.factor
    placed = [point for point in contest.conditional if place(point) is not None]
    agents = list(dict.fromkeys(point.agent for point in placed))
    lines = {label: line for label, line in dense_lines(contest, place).items() if line[0]}
    shown = {point.label for points, _, _ in lines.values() for point in points}
    both = has_both_sizes(contest)
    groups = conditional_groups(placed, both)
    names = [*lines, *groups]
    figure = new_figure(2.9 + legend_height(names))
    axes = figure.add_subplot()
    handles = [
        draw_points(
            axes, points, place, {"color": INK, "marker": "s", "ls": ls, "mfc": face}, factor
        )
        for points, ls, face in lines.values()
    ]
    for own in groups.values():
        style = style_of(styles, own[0].agent)
        if own[0].agent in RIVALS:
            own, style = front(own, place), style | {"ls": "-", "lw": 0.7}
        empty = {"mfc": "none"} if is_empty(own[0], both) else {}
        handles.append(draw_points(axes, own, place, style | empty, factor))
    for agent in agents:
        others = [point for point in contest.others if point.agent == agent]
        draw_pale(axes, others, place, style_of(styles, agent), factor)
    others = [p for p in contest.others if p.agent == "dense"]
    beaten = [p for p in contest.dense if p.label not in shown]
    draw_pale(axes, [*beaten, *others], place, {"color": INK}, factor)
    unit = f" in {measure.unit}" if measure.unit == "%" else ""
    axes.set(xlabel=title, ylabel=f"test {measure.title}{unit}", xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        plain_logarithms(axis)
    legend_below(figure, handles, names)
    return figure


def style_of(styles: Mapping[str, Style], agent: str) -> Style:
    """Colour and marker of an agent."""
    return {"color": THEIRS, "marker": OTHERS[0]} | styles.get(agent, {}) | {"ls": ""}


def has_both_sizes(contest: Contest) -> bool:
    """Whether some networks of a kind see whole images and others halves."""
    return len({point.halves for point in (*contest.dense, *contest.conditional)}) > 1


def is_empty(point: Point, both: bool) -> bool:
    """Whether a marker is left empty: whole images where others see halves."""
    return both and not point.halves


def conditional_groups(points: Sequence[Point], both: bool) -> dict[str, list[Point]]:
    """Name in the legend -> rows of one agent and size of images, halves first."""
    groups: dict[str, list[Point]] = {}
    for point in sorted(points, key=lambda point: not point.halves):
        note = f", {WHOLE_IMAGES}" if is_empty(point, both) else ""
        groups.setdefault(f"{point.agent}{note}", []).append(point)
    return groups


def dense_lines(contest: Contest, place: Place) -> dict[str, tuple[Sequence[Point], str, str]]:
    """Name -> dense networks, how their line is drawn and their markers filled."""
    lines: dict[str, tuple[Sequence[Point], str, str]] = {}
    if contest.dense:
        lines["dense"] = (front(contest.dense, place), "-", INK)
    if has_both_sizes(contest):
        whole = [point for point in contest.dense if not point.halves]
        lines[f"dense, {WHOLE_IMAGES}"] = (front(whole, place), ":", "none")
    if contest.elsewhere:
        name = "dense, of the equal-cost sweep"
        lines[name] = (front(contest.elsewhere, place), "--", "none")
    return lines


def front(points: Sequence[Point], place: Place) -> list[Point]:
    """Points whose place is known and that no cheaper one beats on validation images."""
    places = {point.label: at for point in points if (at := place(point)) is not None}
    known = [point for point in points if point.label in places]
    return undominated(known, lambda point: places[point.label])


def draw_points(
    axes: Any, points: Sequence[Point], place: Place, style: Any, factor: float = 100
) -> Any:
    """Points with their intervals; returns the legend's entry."""
    known = [(at, point) for point in points if (at := place(point)) is not None]
    means = [factor * point.interval.mean for _, point in known]
    halves = [factor * ((p.interval.high or p.interval.mean) - p.interval.mean) for _, p in known]
    # In logarithms a bar cannot reach below zero.
    ends = [[min(h, 0.9 * m) for h, m in zip(halves, means, strict=True)], halves]
    return axes.errorbar(
        [at for at, _ in known], means, yerr=ends, capsize=2, markersize=4, **({"lw": 1} | style)
    )


def draw_pale(
    axes: Any, points: Iterable[Point], place: Place, style: Any, factor: float = 100
) -> None:
    """Variants that validation did not choose."""
    known = [(at, factor * p.interval.mean) for p in points if (at := place(p)) is not None]
    if known:
        pale = {"alpha": 0.3, "markersize": 3, "marker": "s", "zorder": 1} | style | {"ls": ""}
        axes.plot(*zip(*known, strict=True), **pale)


def words(contest: Contest, place: Place, title: str) -> str:
    """What is to be seen."""
    parts = []
    for point in (*contest.dense, *contest.elsewhere, *contest.conditional):
        at = place(point)
        if at is not None:
            said = contest.measure.said(point.interval.mean)
            parts.append(f"{point.label} at {at:,.3g}: {said}")
    return f"Test {contest.measure.title} over {title}. {'; '.join(parts)}"
