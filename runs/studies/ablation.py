"""What carries a gain: a sweep that changes one thing of its base a row -> table and figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ccenv.runs.config.sweep import Cell
from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.stats.intervals import Interval, mean_interval, paired_difference
from ccenv.runs.stats.measures import MODES, Result, evaluation
from ccenv.runs.tables.drawing import COLORS, Drawn, legend_below, new_figure
from ccenv.runs.tables.sweep_table import Table

NOTE = (
    "Difference: the row's error minus the base's on test images, paired by seed, with Student's "
    "95 % interval: it matters where the interval does not hold 0. MACs with the policy's own."
)
NAMES = {"sampled": "sampled masks", "mode": "greedy masks"}


@dataclass(frozen=True)
class Change:
    """A row of an ablation under one kind of masks."""

    label: str
    """the sweep's."""
    factor: str
    """what is changed, in words; empty for the base."""
    seeds: int
    """how many have a result."""
    error: Interval
    """share of wrong answers on test images."""
    macs: float
    """of an image, with the policy's own, mean over seeds."""
    difference: Interval | None
    """error minus the base's, paired by seed; None for the base, or without a seed of both."""


def ablation(comparison: Comparison, results_dir: Path) -> Part:
    """Table and figure of a sweep that changes one thing of its first row at a time."""
    results = {label: found for label, found in comparison.results.items() if found}
    cells = [cell for cell in comparison.sweep.cells if cell.label in results]
    if comparison.sweep.cells[0] not in cells or len(cells) < 2:
        return Part()
    changes = {draw: changes_of(cells, results, draw) for draw in MODES}
    return Part([ablation_table(changes)], [ablation_figure(changes)])


ABLATION = Section("ablation", "One thing changed at a time", ablation)


def changes_of(
    cells: Sequence[Cell], results: Mapping[str, Sequence[Result]], draw: str
) -> list[Change]:
    """Rows compared with the first of them."""
    base = cells[0]
    errors = {cell.label: errors_of(results[cell.label], draw) for cell in cells}
    changes = []
    for cell in cells:
        own = errors[cell.label]
        macs = [float(evaluation(found, draw)["macs"]) for found in results[cell.label]]
        is_base = cell is base
        changes.append(
            Change(
                cell.label,
                cell.setting,
                len(own),
                mean_interval(list(own.values())),
                sum(macs) / len(macs),
                None if is_base else paired_difference(own, errors[base.label]),
            )
        )
    return changes


def errors_of(found: Sequence[Result], draw: str) -> dict[int, float]:
    """Seed -> share of wrong answers on test images."""
    return {int(r["seed"]): float(evaluation(r, draw)["error"]) for r in found}


def ablation_table(changes: Mapping[str, Sequence[Change]]) -> Table:
    """All rows, under both kinds of masks."""
    columns = {"changed": "left", "row": "left", "seeds": "right", "MACs": "right ,.0f"}
    for name in NAMES.values():
        columns |= {f"{name}: error %": "right .2%", f"{name}: difference": "right .2%"}
    lines = []
    for pair in zip(*(changes[draw] for draw in MODES), strict=True):
        first = pair[0]
        numbers = [number for change in pair for number in (change.error, change.difference)]
        lines.append([first.factor or "base", first.label, first.seeds, first.macs, *numbers])
    return Table("ablation", "One thing changed at a time", columns, lines, NOTE)


def ablation_figure(changes: Mapping[str, Sequence[Change]]) -> Drawn:
    """Errors with their intervals, a line a row; the base's interval is a band."""
    rows = changes[MODES[0]]
    places, at = [], 0.0
    for before, row in zip((None, *rows), rows, strict=False):
        # A gap where another thing is changed.
        at += 1.6 if before is not None and before.factor != row.factor else 1
        places.append(at)
    figure = new_figure(0.9 + 0.17 * at)
    axes = figure.add_subplot()
    handles = []
    for index, draw in enumerate(MODES):
        found = changes[draw]
        color = COLORS[index]
        base = found[0].error
        if base.low is not None and base.high is not None:
            axes.axvspan(100 * base.low, 100 * base.high, color=color, alpha=0.12, lw=0)
        means = [100 * one.error.mean for one in found]
        halves = [100 * ((one.error.high or one.error.mean) - one.error.mean) for one in found]
        shifted = [place + 0.24 * (index - 0.5) for place in places]
        style = {"color": color, "marker": "os"[index], "markersize": 3.5, "lw": 1, "ls": ""}
        handles.append(axes.errorbar(means, shifted, xerr=halves, capsize=1.5, **style))
    axes.set_yticks(places, [row.label if row.factor else "base" for row in rows])
    axes.set_ylim(places[-1] + 0.7, places[0] - 0.7)
    axes.set_xlabel("test error in %")
    legend_below(figure, handles, list(NAMES.values()))
    said = "; ".join(f"{one.label}: {100 * one.error.mean:.2f} %" for one in changes["mode"])
    caption = "Bars: Student's 95 % intervals over seeds; bands: the base's."
    return Drawn(figure, "ablation", caption, f"Test errors, greedy masks: {said}")
