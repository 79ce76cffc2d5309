"""What a terminal shows: at most twenty rows of a comparison, and any text within its width."""

import html
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from itertools import compress

from ccenv.base.mask_words import kind_in_words
from ccenv.runs.stats.intervals import with_interval
from ccenv.runs.stats.measures import BITS, ERROR
from ccenv.runs.stats.verdict import crosses_shapings
from ccenv.runs.tables.shapings import SHORT_NOTE
from ccenv.runs.tables.sweep_table import (
    Columns,
    Row,
    Table,
    above_random,
    by_dataset,
    cell_texts,
    html_table,
    interval,
    masks_of,
    mean_in,
    named,
    other_error,
    read_columns,
)

MOST_ROWS = 20
SHORTEST_NAME = 12
"""Characters that a row's name keeps however narrow the terminal is."""
NOTES = {
    "minus the first": SHORT_NOTE,
    "random: less": "random: rows with less error than random masks of the same cost, with as "
    "much, with more, and without a verdict.",
    "[": "[low, high]: 95 % interval over seeds.",
    " MACs": "MACs: of one input, with the policy's own.",
    " to ": "a to b: of the row with the least, and of the one with the most.",
    " cost": "cost: these over the dense network's.",
    " vs random": "vs random: points of error above random masks of the same cost.",
    "other masks %": "masks: how a row's error was measured; the other kind's error stands in its "
    "row.",
    "MACs": "Masks of policies are sampled where no column says otherwise.",
    "(ceiling)": "(ceiling): knows the label.",
}
"""What stands in a table -> what is said of it below."""
Cells = tuple[Mapping[str, str], Sequence[Sequence[str]]]
"""Heading -> "left" or "right", as in `Table`, and the texts of each line."""
WIDEST = 100
"""Characters of a line of prose."""


def answer(
    description: str,
    rows: Sequence[Row],
    verdict: Sequence[str],
    rewards: Sequence[Table] = (),
) -> str:
    """What a comparison is about, its tables, and the verdict, within the terminal's width.

    Args:
        description: a sentence above the tables.
        rows: of `Comparison.rows`.
        verdict: sentences below them.
        rewards: tables of rewards compared; see `Comparison.shaping_tables`.
    """
    width = shutil.get_terminal_size().columns
    sentences = (description, " ".join(verdict))
    above, below = (textwrap.fill(text, min(width, WIDEST)) for text in sentences)
    return "\n\n".join([above, short_table(rows, width, rewards), below])


def html_answer(rows: Sequence[Row], verdict: Sequence[str], rewards: Sequence[Table] = ()) -> str:
    """The same for a notebook's cell, the verdict first; arguments as those of `answer`."""
    note = short_table(rows, WIDEST, rewards).rpartition("\n\n")[2]
    parts: list[str | Cells] = [*verdict, *short_parts(rows, rewards), note]
    return "".join(
        f"<p>{html.escape(part)}</p>" if isinstance(part, str) else html_table(*part)
        for part in parts
        if part
    )


def short_table(rows: Sequence[Row], width: int = 80, rewards: Sequence[Table] = ()) -> str:
    """Rows of a comparison as text, a table for each data set, and how to read it.

    Args:
        rows: of `Comparison.rows`.
        width: of the terminal, in characters.
        rewards: tables above them.
    """
    parts = short_parts(rows, rewards)
    tables = "\n".join(
        textwrap.fill(one, width) if isinstance(one, str) else aligned(*one, width) for one in parts
    )
    note = " ".join(text for sign, text in NOTES.items() if sign in tables)
    return "\n".join([tables, "", textwrap.fill(note, min(width, WIDEST))])


def short_parts(rows: Sequence[Row], rewards: Sequence[Table] = ()) -> list[str | Cells]:
    """Tables of rewards, a table of rows for each data set, and lines between them."""
    parts: list[str | Cells] = []
    for table in (one for one in rewards if one.lines):
        parts += [without_empty(table.columns, table.texts), ""]
    groups = by_dataset(rows)
    for dataset, group in groups.items():
        crossed = crosses_shapings(group)
        # Too many to be read one by one: rewards stand above.
        shown = most_telling(
            [row for row in group if not crossed or not row["learns"] or row["added"]]
        )
        if len(groups) > 1:
            parts.append(f"{dataset}:")
        if shown:
            parts.append(short_columns(shown))
        if more := len(group) - len(shown):
            parts.append(
                f"{more} of {len(group)} rows are left out here: the page and --json have all."
            )
    return parts


def most_telling(rows: Sequence[Row]) -> list[Row]:
    """At most `MOST_ROWS`, in their order: added and dense ones, the Pareto front, smallest errors.

    Rows that repeat another come last.
    """
    dense = next((row for row in rows if row["method"] == "dense"), None)

    def place(row: Row) -> tuple[bool, bool, bool, float]:
        is_named, is_again = row["added"] or row is dense, bool(row.get("same_as"))
        mean = (row["bits"] or row["error"])["mean"]
        return not is_named, is_again, not row["on_front"], mean

    first = sorted(rows, key=place)[:MOST_ROWS]
    return [row for row in rows if any(row is one for one in first)]


def short_columns(rows: Sequence[Row]) -> Cells:
    """Heading -> cells, the most important columns first; none that is empty.

    Where masks of policies are not all sampled, columns say each row's kind and the other's error.
    """
    has_bits = all(row["bits"] for row in rows)
    measure, field = (BITS, "bits") if has_bits else (ERROR, "error")

    def score(row: Row) -> str:
        return with_interval(interval(row, field), len(row["seeds"]), measure.spec, measure.ends)

    kinds: Columns = {"masks": ("left", masks_of), "other masks %": ("right", other_error)}
    columns: Columns = {
        "method": ("left", named),
        "bits" if has_bits else "error %": ("right", score),
        **(kinds if {masks_of(row) for row in rows} - {"", kind_in_words(False)} else {}),
        "MACs": ("right ,.0f", lambda row: mean_in(row, "macs")),
        "vs random": ("right", lambda row: above_random(row, ".1%")),
        "cost": ("right .3f", lambda row: mean_in(row, "total_cost")),
        "seeds": ("right", lambda row: str(len(row["seeds"]))),
    }
    forms, lines = read_columns(columns, rows)
    return without_empty(forms, cell_texts(forms, lines))


def without_empty(columns: Mapping[str, str], texts: Sequence[Sequence[str]]) -> Cells:
    """Columns that say something, a line in place of several."""
    shown = [any(cells) for cells in zip(*texts, strict=True)]
    return dict(compress(columns.items(), shown)), [
        [text.replace("\n", "; ") for text in compress(line, shown)] for line in texts
    ]


def aligned(columns: Mapping[str, str], texts: Sequence[Sequence[str]], width: int) -> str:
    """Columns side by side, as many as fit: the last ones go first, then the middle of long names.

    The names are those of the first column.
    """
    lines = [list(columns), *texts]
    sizes = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    while len(sizes) > 3 and sum(sizes) + 2 * (len(sizes) - 1) > width:
        sizes.pop()
    room = width - sum(sizes[1:]) - 2 * (len(sizes) - 1)
    sizes[0] = limit = min(sizes[0], max(SHORTEST_NAME, room))
    # Rows of one sweep often differ in their last words alone.
    end = limit // 2
    shown = []
    for name, *cells in [lines[0], ["-" * size for size in sizes], *texts]:
        short = name if len(name) <= limit else f"{name[: limit - end - 1]}…{name[-end:]}"
        columns_shown = zip((short, *cells), sizes, columns.values(), strict=False)
        shown.append(
            "  ".join(
                text.ljust(size) if form.startswith("left") else text.rjust(size)
                for text, size, form in columns_shown
            ).rstrip()
        )
    return "\n".join(shown)


def print_text(text: str) -> None:
    """Prints a text with Markdown tables: within a terminal's width, elsewhere as it is."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(text))
    else:
        print(text, flush=True)
