"""A sweep's rows to its main table, and any table in Markdown, CSV or as cells of a page."""

import csv
import functools
import html
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ccenv.base.files import write_whole
from ccenv.base.mask_words import SHOWN, deterministic_of, kind_in_words
from ccenv.runs.stats.intervals import Interval, with_interval
from ccenv.runs.stats.measures import BITS_NOTE, RANDOM_MASKS

Row = Mapping[str, Any]
Columns = Mapping[str, tuple[str, str | Callable[[Any], Any]]]
"""Heading -> how its cells are written (see `Table.columns`), and what is read of an item: a field
of it, or what a function makes of it."""


def read_columns(columns: Columns, items: Sequence[Any]) -> tuple[dict[str, str], list[list[Any]]]:
    """Columns and lines of a table, a line for each item.

    >>> columns = {"who": ("left", "name"), "size": ("right .2f", len)}
    >>> read_columns(columns, [{"name": "a", "age": 3}])
    ({'who': 'left', 'size': 'right .2f'}, [['a', 2]])
    """
    reads = [of for _, of in columns.values()]
    return {heading: form for heading, (form, _) in columns.items()}, [
        [item.get(of) if isinstance(of, str) else of(item) for of in reads] for item in items
    ]


def named(row: Row) -> str:
    """A row's label, with a mark on ceilings, and on rows that repeat another."""
    marks = [f"= {row['same_as']}"] if row.get("same_as") else []
    marks += ["ceiling"] if row["uses_labels"] else []
    return row["label"] + "".join(f" ({mark})" for mark in marks)


def shown_name(row: Row) -> str:
    """The same where no column says how masks are chosen: policies of other than sampled say it."""
    is_other = deterministic_of(row["masks"]) is not False and masks_of(row)
    return named(row) + (f" ({masks_of(row)})" if is_other else "")


def other_error(row: Row) -> str:
    """Error in per cent of a row's other kind of masks, with the kind; "" of rules and functions.

    >>> error = {"mean": 0.06}
    >>> other_error({"learns": True, "masks": "mode", "other_error": error})
    '6.00 sampled'
    """
    shown = deterministic_of(row["masks"])
    if not row["learns"] or shown is None or not row.get("other_error"):
        return ""
    return f"{100 * row['other_error']['mean']:.2f} {kind_in_words(not shown)}"


def interval(row: Row, name: str) -> Any:
    """A number over seeds of a row as an `Interval`; None where the row has none."""
    return Interval(**row[name]) if row.get(name) else None


def above_random(row: Row, spec: str) -> str:
    """Error above random masks' in points with its interval; "" without any."""
    number = interval(row, "above_random")
    return "" if number is None else with_interval(number, len(row["seeds"]), spec, (-1, 1))


def masks_of(row: Row) -> str:
    """How masks were chosen, in words; "" of rules, whose masks training does not change."""
    return SHOWN[row["masks"]] if row["learns"] or row["agent"] == RANDOM_MASKS else ""


def mean_in(row: Row, name: str) -> float | str:
    """A number's mean over seeds; a dash where it is unknown."""
    return row[name]["mean"] if row[name] else "-"


def speedup_of(row: Row) -> str | None:
    """Measured speed-ups of one input and of 256."""
    speedup = row["speedup"]
    return " / ".join(f"{speedup[size]:.2f}" for size in ("1", "256")) if speedup else None


BITS = "test bits"
"""Heading of a column that tables of texts have alone."""
COLUMNS: Columns = {
    "agent": ("left", named),
    "seeds": ("right", lambda row: len(row["seeds"])),
    "masks": ("left", masks_of),
    "test error %": ("right ±.2%", lambda row: interval(row, "error")),
    BITS: ("right ±.3f", lambda row: interval(row, "bits")),
    "MACs": ("right ,.0f", lambda row: mean_in(row, "macs")),
    "compute cost": ("right .3f", lambda row: row["compute_cost"]["mean"]),
    "total cost": ("right .3f", lambda row: mean_in(row, "total_cost")),
    "density": ("left", lambda row: " ".join(f"{value:.2f}" for value in row["density"])),
    "greedy: error %": (
        "right ±.2%",
        lambda row: interval(row, "mode_error") if row["learns"] else None,
    ),
    "greedy: MACs": (
        "right ,.0f",
        lambda row: mean_in(row, "mode_macs") if row["learns"] else None,
    ),
    "speed-up 1 / 256": ("right", speedup_of),
    "front": ("left", lambda row: "*" if row["on_front"] else None),
    "block_dropout %": ("right ±.2%", lambda row: interval(row, "dropout_error")),
    "against it": ("left", "verdict"),
}
NOTES = """\
Error: mean ± standard deviation over seeds. Masks: those that an agent is for, sampled or greedy,
or as given by a function. Greedy: with greedy masks. A dash: MACs of the policy are unknown.
MACs: of one image, the policy's own included. Cost: executed MACs over the dense network's; total
cost adds the policy's own. Speed-up: measured dense time over time with the policy, for one image
and for 256. `front` (*): on the Pareto front of mean error and MACs. `block_dropout %`: error of
random masks at the same total cost, the dense network at the end; better or worse where the 95 %
interval (Student's t) of the difference, paired by seed, excludes 0. All seeds share the test
images. (ceiling): knows the true label; no policy can."""


@dataclass(frozen=True)
class Table:
    """A table that can be shown anywhere."""

    name: str
    """of its files, without an ending."""
    title: str
    """above it."""
    columns: Mapping[str, str]
    """heading -> "left" or "right", and how its cells are formatted: "right ,.0f"."""
    lines: Sequence[Sequence[Any]]
    """cells of each line: texts, numbers, `Interval`s, None for nothing."""
    note: str = ""
    """below it: how to read it."""
    shaded: bool = False
    """whether cells that are shares of 1 are shaded by them on the page."""
    when: Mapping[str, str] = field(default_factory=dict)
    """heading, or "" for the table -> settings of the page's switches at which it is shown, such as
    "masks-mode cost-macs"; shown at all of them if it has none."""

    @functools.cached_property
    def texts(self) -> list[list[str]]:
        """The cells as they are shown."""
        return cell_texts(self.columns, self.lines)

    @functools.cached_property
    def filled(self) -> list[bool]:
        """Whether a column has a text in any line."""
        return [any(column) for column in zip(*self.texts, strict=True)]

    def markdown(self) -> str:
        """Title, table and note."""
        parts = (f"## {self.title}", markdown(self.columns, self.lines), self.note)
        return "\n\n".join(part for part in parts if part) + "\n"

    def csv(self) -> str:
        """The same cells, comma separated."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([list(self.columns), *self.texts])
        return text.getvalue()

    def write(self, folder: Path) -> None:
        """Writes both files."""
        write_whole(folder / f"{self.name}.md", self.markdown())
        write_whole(folder / f"{self.name}.csv", self.csv())


def table(rows: Sequence[Row]) -> str:
    """Rows (as dicts) in Markdown, padded so that it reads well as text too.

    Each data set has its own table: errors and MACs of different ones are not comparable. Tables
    of texts have bits behind the error.
    """
    groups = by_dataset(rows)
    shown = {}
    for name, group in (groups or {"": []}).items():
        has_bits = any(row.get("bits") for row in group)
        columns = {k: v for k, v in COLUMNS.items() if has_bits or k != BITS}
        shown[name] = markdown(*read_columns(columns, group))
    if len(shown) < 2:
        return "".join(shown.values())
    return "\n\n".join(f"Data set {name}:\n\n{text}" for name, text in shown.items())


def notes(rows: Sequence[Row]) -> str:
    """How to read the main table of rows."""
    return f"{NOTES}\n{BITS_NOTE}" if any(row.get("bits") for row in rows) else NOTES


def by_dataset(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of each data set, in order."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        # Results recorded by the first version do not say; each of them was about one data set.
        groups.setdefault(row.get("dataset", ""), []).append(row)
    return groups


def cell_texts(columns: Mapping[str, str], lines: Sequence[Sequence[Any]]) -> list[list[str]]:
    """Cells as texts.

    >>> cell_texts({"who": "left", "share": "right .2f"}, [["a", 0.5], ["b", None], ["c", "none"]])
    [['a', '0.50'], ['b', ''], ['c', 'none']]
    """
    forms = [form.partition(" ")[2] for form in columns.values()]
    return [
        [
            "" if cell is None else cell if isinstance(cell, str) else format(cell, form)
            for cell, form in zip(line, forms, strict=True)
        ]
        for line in lines
    ]


def markdown(columns: Mapping[str, str], lines: Sequence[Sequence[Any]]) -> str:
    """A Markdown table with aligned columns, padded so that it reads well as text too.

    Args:
        columns: heading -> "left" or "right", with the format of its cells; see `Table`.
        lines: cells of each line.
    """
    texts = [
        [text.replace("|", "\\|").replace("\n", "<br>") for text in line]
        for line in cell_texts(columns, lines)
    ]
    widths = [max(map(len, column)) for column in zip(columns, *texts, strict=True)]
    is_right = [form.startswith("right") for form in columns.values()]

    def joined(line: Sequence[str]) -> str:
        shapes = zip(line, widths, is_right, strict=True)
        return f"| {' | '.join(t.rjust(w) if right else t.ljust(w) for t, w, right in shapes)} |"

    rules = ("-" * (w + 1) + "-:"[right] for w, right in zip(widths, is_right, strict=True))
    return "\n".join([joined(list(columns)), f"|{'|'.join(rules)}|", *map(joined, texts)])


def html_table(columns: Mapping[str, str], lines: Sequence[Sequence[Any]]) -> str:
    """The same for a notebook's cell, where text has no columns; every text is escaped.

    >>> html_table({"<b>": "left"}, [["&"]])
    '<table><tr><th style="text-align:left">&lt;b&gt;</th></tr>\
<tr><td style="text-align:left">&amp;</td></tr></table>'
    """
    sides = [form.split()[0] for form in columns.values()]

    def joined(tag: str, line: Sequence[str]) -> str:
        cells = (
            f'<{tag} style="text-align:{side}">{html.escape(text)}</{tag}>'
            for text, side in zip(line, sides, strict=True)
        )
        return f"<tr>{''.join(cells)}</tr>"

    body = "".join(joined("td", line) for line in cell_texts(columns, lines))
    return f"<table>{joined('th', list(columns))}{body}</table>"
