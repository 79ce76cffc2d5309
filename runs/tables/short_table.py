"""What a terminal shows: at most ten rows of a comparison, and any text within its width."""

import html
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence

from ccenv.runs.stats.intervals import with_interval
from ccenv.runs.stats.measures import BITS, ERROR
from ccenv.runs.stats.shapings import Shapings
from ccenv.runs.stats.verdict import crosses_shapings
from ccenv.runs.tables.shapings import SHORT_NOTE, shapings_table
from ccenv.runs.tables.sweep_table import (
    Columns,
    Row,
    by_dataset,
    cell_texts,
    html_table,
    interval,
    mean_in,
    read_columns,
    shown_name,
)

MOST_ROWS = 10
SHORTEST_NAME = 12
"""Characters that a row's name keeps however narrow the terminal is."""
NOTES = {
    "[": "[low, high]: 95 % interval over seeds.",
    " MACs": "MACs: of one input, with the policy's own.",
    " to ": "a to b: from the agent with the least to the one with the most.",
    " cost": "cost: these over the dense network's.",
    " vs random": "vs random: points of error above random masks of the same cost.",
    "MACs": "Masks of policies are sampled where a row does not say greedy or as given.",
    "(ceiling)": "(ceiling): knows the label.",
}
"""What stands in a table -> what is said of it below."""
Cells = Mapping[str, Sequence[str]]
"""Heading -> texts of its column."""
WIDEST = 100
"""Characters of a line of prose."""


def answer(
    description: str,
    rows: Sequence[Row],
    verdict: Sequence[str],
    rewards: Sequence[Shapings] = (),
    width: int | None = None,
) -> str:
    """What a comparison is about, its tables, and the verdict.

    Args:
        description: a sentence above the tables.
        rows: of `Comparison.rows`.
        verdict: sentences below them.
        rewards: one agent's, on each data set; see `Comparison.shapings`.
        width: in characters; that of the terminal, or 80 where there is none.
    """
    width = width or shutil.get_terminal_size().columns
    sentences = (description, " ".join(verdict))
    above, below = (textwrap.fill(text, min(width, WIDEST)) for text in sentences)
    shapings = [aligned(one, width, "reward") for one in shapings_columns(rewards)]
    shapings += [textwrap.fill(SHORT_NOTE, min(width, WIDEST))] if shapings else []
    return "\n\n".join([above, *shapings, short_table(rows, width), below])


def html_answer(
    rows: Sequence[Row], verdict: Sequence[str], rewards: Sequence[Shapings] = ()
) -> str:
    """The same for a notebook's cell, the verdict first; arguments as those of `answer`."""
    shapings = shapings_columns(rewards)
    parts = [*verdict, *shapings, *([SHORT_NOTE] if shapings else []), *short_parts(rows)]
    return "".join(map(as_html, [*parts, note_of(short_table(rows))]))


def as_html(part: str | Cells) -> str:
    """A paragraph, or a table whose names, texts and rewards are aligned to the left."""
    if isinstance(part, str):
        return f"<p>{html.escape(part)}</p>" if part else ""
    first, *_ = part
    sides = {name: "left" if name in (first, "reward") else "right" for name in part}
    return html_table(sides, list(zip(*part.values(), strict=True)))


def shapings_columns(rewards: Sequence[Shapings]) -> list[Cells]:
    """Tables of rewards at common costs."""
    tables = [shapings_table(one, len(rewards)) for one in rewards]
    return [
        dict(zip(one.columns, zip(*one.texts, strict=True), strict=True))
        for one in tables
        if one.lines
    ]


def short_table(rows: Sequence[Row], width: int = 80) -> str:
    """Rows of a comparison as text, a table for each data set, and how to read it.

    Args:
        rows: of `Comparison.rows`.
        width: of the terminal, in characters.
    """
    parts = short_parts(rows)
    lines = [part if isinstance(part, str) else aligned(part, width) for part in parts]
    tables = "\n".join(lines)
    return "\n".join([tables, "", textwrap.fill(note_of(tables), min(width, WIDEST))])


def note_of(tables: str) -> str:
    """How to read what stands in them."""
    return " ".join(text for sign, text in NOTES.items() if sign in tables)


def short_parts(rows: Sequence[Row]) -> list[str | Cells]:
    """Tables of the rows, a few for each data set, and lines between them."""
    parts: list[str | Cells] = []
    groups = by_dataset(rows)
    for dataset, group in groups.items():
        crossed = crosses_shapings(group)
        summed = [row for row in group if crossed and row["learns"] and not row["added"]]
        others = [row for row in group if not any(row is one for one in summed)]
        shown = most_telling(others)
        if len(groups) > 1:
            parts.append(f"{dataset}:")
        if summed:
            parts.append(shaping_columns(summed))
            parts += [""] if shown else []
        if shown:
            parts.append(short_columns(shown))
        if more := len(group) - len(shown):
            kind = "single" if summed else "more"
            parts.append(f"{more} {kind} rows are on the page and in --json.")
    return parts


def most_telling(rows: Sequence[Row]) -> list[Row]:
    """At most ten rows, in their order: added ones, the Pareto front, then the smallest errors."""

    def place(row: Row) -> tuple[bool, bool, float]:
        return not row["added"], not row["on_front"], (row["bits"] or row["error"])["mean"]

    first = sorted(rows, key=place)[:MOST_ROWS]
    return [row for row in rows if any(row is one for one in first)]


def shaping_columns(rows: Sequence[Row]) -> Cells:
    """Heading -> cells, a line for each reward that several agents learned under."""

    def span(name: str, spec: str, factor: float = 1.0) -> Callable[[Sequence[Row]], str]:
        def of(group: Sequence[Row]) -> str:
            means = sorted(factor * row[name]["mean"] for row in group if row[name])
            return f"{means[0]:{spec}} to {means[-1]:{spec}}" if means else ""

        return of

    columns: Columns = {
        "shaping": ("left", lambda group: group[0]["shaping"]),
        "error %": ("right", span("error", ".2f", 100)),
        "MACs": ("right", span("macs", ",.0f")),
        "vs random": ("right", span("above_random", "+.1f", 100)),
        "cost": ("right", span("total_cost", ".3f")),
    }
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["shaping"], []).append(row)
    texts = zip(*cell_texts(*read_columns(columns, list(groups.values()))), strict=True)
    return {name: cells for name, cells in zip(columns, texts, strict=True) if any(cells)}


def short_columns(rows: Sequence[Row]) -> Cells:
    """Heading -> cells, the most important columns first; none that is empty."""
    has_bits = all(row["bits"] for row in rows)
    measure, field = (BITS, "bits") if has_bits else (ERROR, "error")

    def score(row: Row) -> str:
        return with_interval(interval(row, field), len(row["seeds"]), measure.spec, measure.ends)

    columns: Columns = {
        "method": ("left", shown_name),
        "bits" if has_bits else "error %": ("right", score),
        "MACs": ("right ,.0f", lambda row: mean_in(row, "macs")),
        "vs random": ("right", above_random),
        "cost": ("right .3f", lambda row: mean_in(row, "total_cost")),
        "seeds": ("right", lambda row: str(len(row["seeds"]))),
    }
    texts = zip(*cell_texts(*read_columns(columns, rows)), strict=True)
    return {name: cells for name, cells in zip(columns, texts, strict=True) if any(cells)}


def above_random(row: Row) -> str:
    """The one number of a row: error above random masks' in points; "" without any."""
    number = interval(row, "above_random")
    return "" if number is None else with_interval(number, len(row["seeds"]), ".1%", (-1, 1))


def aligned(columns: Cells, width: int, words: str = "") -> str:
    """Columns side by side, as many as fit: the last ones go first, then the middle of long names.

    The first column and that of `words` are aligned to the left.
    """
    sizes = {name: max(map(len, (name, *cells))) for name, cells in columns.items()}
    names, *_ = sizes
    while len(sizes) > 3 and sum(sizes.values()) + 2 * (len(sizes) - 1) > width:
        sizes.popitem()
    room = width + sizes[names] - sum(sizes.values()) - 2 * (len(sizes) - 1)
    limit = max(SHORTEST_NAME, room)
    sizes[names] = min(sizes[names], limit)
    rules = ["-" * size for size in sizes.values()]
    lines = [list(sizes), rules, *zip(*(columns[name] for name in sizes), strict=True)]
    texts = []
    for name, *cells in lines:
        # Rows of one sweep often differ in their last words alone.
        end = limit // 2
        short = name if len(name) <= limit else f"{name[: limit - end - 1]}…{name[-end:]}"
        (_, own), *rest = sizes.items()
        others = [
            cell.ljust(size) if heading == words else cell.rjust(size)
            for cell, (heading, size) in zip(cells, rest, strict=True)
        ]
        texts.append("  ".join([short.ljust(own), *others]).rstrip())
    return "\n".join(texts)


def print_text(text: str) -> None:
    """Prints a text with Markdown tables: within a terminal's width, elsewhere as it is."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(text))
    else:
        print(text, flush=True)
