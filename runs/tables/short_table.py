"""The table that a terminal shows: at most ten rows, and as many columns as its width holds."""

from collections.abc import Mapping, Sequence
from typing import Any

from ccenv.runs.stats.intervals import with_interval
from ccenv.runs.stats.verdict import ADDED, AGAINST_RANDOM
from ccenv.runs.tables.sweep_table import Row, by_dataset, interval, name_of

MOST_ROWS = 10
SHORTEST_NAME = 12
"""Characters that a row's name keeps however narrow the terminal is."""
NOTE = """\
[low, high]: 95 % interval over seeds. MACs: of one input, with the policy's own;
cost: the same over the dense network's. vs random: random masks of the same cost.
(ceiling): knows the label."""


def short_table(rows: Sequence[Row], width: int = 80) -> str:
    """Rows of a comparison as text, a table for each data set, and how to read it.

    Args:
        rows: of `Comparison.rows`.
        width: of the terminal, in characters.
    """
    parts = []
    for dataset, group in by_dataset(rows).items():
        shown = most_telling(group)
        if len(by_dataset(rows)) > 1:
            parts.append(f"{dataset}:")
        parts.append(aligned(columns_of(shown), width))
        if len(shown) < len(group):
            parts.append(f"{len(group) - len(shown)} more rows are on the page.")
    return "\n".join([*parts, "", NOTE])


def most_telling(rows: Sequence[Row]) -> list[Row]:
    """At most ten rows, in their order: added ones, the Pareto front, then the smallest errors."""

    def place(row: Row) -> tuple[bool, bool, float]:
        return ADDED not in row["label"], not row["on_front"], score_of(row)["mean"]

    first = sorted(rows, key=place)[:MOST_ROWS]
    return [row for row in rows if any(row is one for one in first)]


def score_of(row: Row) -> Mapping[str, Any]:
    """Bits of a text, else the error."""
    score: Mapping[str, Any] = row["bits"] or row["error"]
    return score


def columns_of(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Heading -> cells, the most important columns first; none that is empty."""
    has_bits = all(row["bits"] for row in rows)
    name, spec, field = ("bits", ".3f", "bits") if has_bits else ("error %", ".2%", "error")
    columns = {
        "method": [name_of(row) for row in rows],
        name: [with_interval(interval(row, field), len(row["seeds"]), spec) for row in rows],
        "MACs": [f"{row['macs']['mean']:,.0f}" for row in rows],
        "cost": [f"{row['total_cost']['mean']:.3f}" for row in rows],
        "vs random": [row["verdict"] if row["verdict"] in AGAINST_RANDOM else "" for row in rows],
        "seeds": [str(len(row["seeds"])) for row in rows],
    }
    return {heading: cells for heading, cells in columns.items() if any(cells)}


def aligned(columns: Mapping[str, Sequence[str]], width: int) -> str:
    """Columns side by side, as many as fit: the last ones go first, then ends of long names."""
    kept = dict(columns)
    names, *_ = kept
    while len(kept) > 3 and total_width(kept) > width:
        kept.popitem()
    room = width - (total_width(kept) - longest(names, kept[names]))
    limit = max(SHORTEST_NAME, room)
    kept[names] = [cut(name, limit) for name in kept[names]]
    sizes = [longest(heading, cells) for heading, cells in kept.items()]
    lines = [
        list(kept),
        ["-" * size for size in sizes],
        *map(list, zip(*kept.values(), strict=True)),
    ]
    return "\n".join(
        "  ".join(
            cell.rjust(size) if place else cell.ljust(size)
            for place, (cell, size) in enumerate(zip(line, sizes, strict=True))
        ).rstrip()
        for line in lines
    )


def longest(heading: str, cells: Sequence[str]) -> int:
    """Characters of a column."""
    return max(map(len, (heading, *cells)))


def total_width(columns: Mapping[str, Sequence[str]]) -> int:
    """Characters of a line."""
    return sum(longest(*column) + 2 for column in columns.items()) - 2


def cut(text: str, length: int) -> str:
    """A text without its end where it is too long.

    >>> cut("block_dropout", 6)
    'block…'
    """
    return text if len(text) <= length else text[: length - 1] + "…"
