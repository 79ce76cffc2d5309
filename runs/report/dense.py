"""Dense against conditional networks: the section of every report whose sweep has both."""

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.report.families import OTHERS, Style, make_families
from ccenv.runs.stats.cost_points import RIVALS, Point, Times, borrowed, in_kilobytes, times_in
from ccenv.runs.stats.dense_comparison import (
    Contest,
    EqualError,
    EqualMacs,
    at_equal_error,
    at_equal_macs,
    groups_of_one_cost,
    make_contests,
    undominated,
)
from ccenv.runs.stats.intervals import mean_interval
from ccenv.runs.stats.measures import BITS, ERROR, MODES, OF_SYMBOLS, Measure
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
from ccenv.runs.tables.sweep_table import Table

MACS_NOTE = (
    "Each row beside a dense network of the same total MACs, its error linear in the logarithm of "
    "MACs between the two nearest ones of the same seed; dense networks that a cheaper one beats "
    "on validation images are left out, and beyond the dearest of the others it is that one. "
    "Variants of one cost were chosen by validation error. "
    "Difference: ours minus dense, paired by seed, with Student's 95 % interval. Better or worse: "
    "the two 95 % intervals over seeds are apart. Rows that compute nothing are left out."
)
ERROR_NOTE = (
    "For each dense width (dropout chosen by validation error) the cheapest conditional row whose "
    "validation error is no larger. Ratios: its total MACs and its measured time over the dense "
    "network's. Times: medians of rounds in turns where those are recorded, "
    "else the least over seeds of runs that were timed one by one, beside others. Test errors: "
    "better or worse where the 95 % intervals are apart."
)

VARIANTS_NOTE = (
    "Rows of one agent whose total MACs are the same, trained in several ways; the one with the "
    "least validation error is chosen and stands in the other tables. A row that fewer seeds have "
    "finished than another does not take part yet."
)


def dense_tables(contests: Sequence[Contest], draw: str, note: str = "") -> list[Table]:
    """The tables for each data set."""
    tables = []
    for contest in contests:
        part = f"-{contest.dataset.replace(':', '.')}" if len(contests) > 1 else ""
        part += f"-{contest.measure.name}" if contest.measure.name else ""
        part += "" if draw == "sampled" else f"-{draw}"
        tables += [make(contest, part, note) for make in TABLES]
    return tables


def titled(measure: Measure) -> str:
    """A measure with its unit, where that is no word of it."""
    return measure.title + percent(measure)


def percent(measure: Measure) -> str:
    """The sign behind a column's name, if there is one."""
    return " %" if measure.unit == "%" else ""


def equal_macs_table(contest: Contest, part: str, note: str) -> Table:
    """Conditional rows beside dense networks of their cost."""
    measure, spec = contest.measure, f"right {contest.measure.spec}"
    columns = {"row": "left", "MACs": "right ,.0f", f"test {titled(measure)}": spec}
    columns |= {f"dense of equal MACs{percent(measure)}": spec, "difference": spec}
    columns |= {"against dense": "left"}
    # The most probable masks of a dropout are none at all, which is no network to compare.
    pairs = [one for one in at_equal_macs(contest) if one.point.macs > 0]
    lines = [equal_macs_line(one) for one in pairs]
    if measure.name:
        columns |= {"kB": "right ,.0f"}
        note = f"kB: network and policy. {note}"
        lines = [[*line, in_kilobytes(one.point)] for line, one in zip(lines, pairs, strict=True)]
    title = f"At equal total MACs, {contest.dataset}"
    return Table(f"at-equal-macs{part}", title, columns, lines, f"{MACS_NOTE} {note}".strip())


def equal_macs_line(pair: EqualMacs) -> list[Any]:
    """One row of the table."""
    point = pair.point
    verdict = pair.verdict or "outside the widths"
    return [point.label, point.macs, point.interval, pair.dense, pair.difference, verdict]


def equal_error_table(contest: Contest, part: str, note: str) -> Table:
    """Dense networks beside the cheapest conditional row that is as good."""
    title = f"At equal error, {contest.dataset}"
    columns, lines = equal_error_lines(contest, contest.compared)
    return Table(f"at-equal-error{part}", title, columns, lines, f"{ERROR_NOTE} {note}".strip())


def dense_front_table(contest: Contest, part: str, note: str) -> Table:
    """The same for dense networks that no cheaper one beats on validation images."""
    title = f"At the error of the dense front, {contest.dataset}"
    columns, lines = equal_error_lines(contest, undominated(contest.compared))
    notes = (
        f"{ERROR_NOTE} Dense networks that a cheaper one beats on validation images are left out."
    )
    return Table(f"at-front-error{part}", title, columns, lines, f"{notes} {note}".strip())


def equal_error_lines(
    contest: Contest, among: Sequence[Point]
) -> tuple[dict[str, str], list[list[Any]]]:
    """Columns and rows of a table of these dense networks."""
    measure, spec = contest.measure, f"right {contest.measure.spec}"
    columns = {"dense": "left", "MACs": "right ,.0f", f"its {titled(measure)}": spec}
    columns |= {"conditional": "left", "its MACs": "right ,.0f", titled(measure): spec}
    columns |= {f"test {measure.title}": "left", "MACs ratio": "right .2f"}
    columns |= {f"time ratio, {n}": "right .2f" for n in contest.batches}
    found = at_equal_error(contest, among)
    return columns, [equal_error_line(one, contest.batches) for one in found]


def equal_error_line(pair: EqualError, batches: Sequence[int]) -> list[Any]:
    """One row of the table."""
    start = [pair.dense.label, pair.dense.macs, pair.dense.interval]
    if pair.point is None:
        return [*start, "none as good", *[None] * (4 + len(batches))]
    ratios = [pair.macs_ratio, *(pair.time_ratio(images) for images in batches)]
    return [*start, pair.point.label, pair.point.macs, pair.point.interval, pair.verdict, *ratios]


def variants_table(contest: Contest, part: str, note: str) -> Table:
    """What was tried at equal cost, best first."""
    columns = {"row": "left", "MACs": "right ,.0f", "seeds": "right"}
    measure, spec = contest.measure, f"right {contest.measure.spec}"
    columns |= {f"validation {titled(measure)}": spec, f"test {titled(measure)}": spec}
    columns |= {"chosen": "left"}
    chosen = {point.label for point in (*contest.dense, *contest.conditional)}
    points = [*contest.dense, *contest.conditional, *contest.others]
    lines = [
        variant_line(point, point.label in chosen)
        for group in groups_of_one_cost(points, by_memory=bool(measure.name))
        if len(group) > 1
        for point in sorted(group, key=lambda point: point.validation_mean)
    ]
    title = f"Variants of one cost, {contest.dataset}"
    return Table(f"variants{part}", title, columns, lines, f"{VARIANTS_NOTE} {note}".strip())


def variant_line(point: Point, is_chosen: bool) -> list[Any]:
    """One row of the table."""
    validation = mean_interval(list(point.validation.values())) if point.validation else None
    start = [point.label, point.macs, len(point.error)]
    return [*start, validation, point.interval, "*" if is_chosen else None]


TABLES = (equal_macs_table, equal_error_table, dense_front_table, variants_table)


DRAWS = {
    "sampled": "Masks as drawn.",
    "mode": "Most probable masks; validation errors are theirs too where they are known.",
}


def against_dense(comparison: Comparison, results_dir: Path, measure: Measure = ERROR) -> Part:
    """Tables and figures under each kind of masks."""
    elsewhere = {}
    if measure is ERROR:
        names = (row["dataset"] for row in comparison.rows)
        elsewhere = borrowed(names, results_dir, comparison.name)
    times = times_in(results_dir, comparison.name)
    contests = contests_of(comparison, elsewhere, times, measure)
    tables: list[Table] = []
    families = make_families(comparison.results)
    of_agents = {r["agent"]: families.style(r["label"]) for r in comparison.rows}
    styles = of_agents | dict(families.styles)
    figures: list[Drawn] = []
    for draw, under_draw in contests.items():
        tables += dense_tables(under_draw, draw, DRAWS[draw])
        figures += dense_figures(under_draw, styles, draw, DRAWS[draw])
    return Part(tables, figures)


def contests_of(
    comparison: Comparison,
    elsewhere: Mapping[str, Sequence[Point]],
    times: Mapping[str, Times | None],
    measure: Measure = ERROR,
) -> dict[str, list[Contest]]:
    """Masks -> dense against conditional networks; most probable too where some are learned."""
    learned = any(row["learns"] for row in comparison.rows)
    shown: Iterable[str] = (comparison.draw,)
    if learned and comparison.draw == "sampled":
        shown = MODES
    return {
        draw: make_contests(comparison.results, draw, elsewhere, times[draw], measure)
        for draw in shown
    }


AGAINST_DENSE = Section("dense", "Against dense networks", against_dense)


def in_bits(comparison: Comparison, results_dir: Path) -> Part:
    """The same of texts in bits a symbol; nothing of other data."""
    runs = itertools.chain.from_iterable(comparison.results.values())
    if not all(run.get(OF_SYMBOLS) for run in runs):
        return Part()
    return against_dense(comparison, results_dir, BITS)


IN_BITS = Section("bits", "Against dense networks, in bits a symbol", in_bits)


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
