"""Beat the oracle: ccenv challenge ENTRY -> its rank among baselines and recorded policies."""

import argparse
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ccenv.mask_table.challenge import (
    BOUND,
    ENTRY,
    Standing,
    Task,
    candidate,
    shipped_tasks,
    standings,
    together,
)
from ccenv.mask_table.entry import COST_WEIGHTS
from ccenv.mask_table.table import SHIPPED, opened_table, shipped_table
from ccenv.runs.commands.frame import print_json, program

EPILOG = """\
examples:
  ccenv challenge                              standings over all tables of the package
  ccenv challenge my_module:MyPolicy           your policy among them
  ccenv challenge mine.safetensors             a file of ccenv.mask_table.write_entry
  ccenv challenge my_module:MyPolicy --table resnet20

A policy is a class: __init__(self, table, cost_weight) may learn from the table;
act(self, look) chooses masks for held-out inputs: look [n, look_size] -> bits or
keep probabilities [n, num_units]."""
WIDE = 100
"""Columns of a terminal in which standard errors have room."""
NOTES = (
    "Share of the gap between the best static mask (0) and each input's best mask (the oracle, "
    "100) that is closed on held-out inputs, in % ± one standard error; more is better. The reward "
    "is 1 for a right answer, less cost weight x MACs (as a share of the dense network's). Ranks "
    "whose intervals overlap are not significantly different. Ranks rest on trust: an entry's code "
    "runs in this process, and the labels of the package's inputs are public."
)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="ccenv challenge",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "entries", nargs="*", metavar="ENTRY", help="my_module:MyPolicy, or a file of write_entry"
    )
    parser.add_argument(
        "--table",
        help=f"one of {', '.join(SHIPPED)}, or a table of yours whose inputs judge; default: all",
    )
    parser.add_argument(
        "--choose",
        type=Path,
        help="with a --table of yours: the table that policies learn from",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON only")
    return parser


@program("ccenv challenge", (ValueError, ImportError))
def main(arguments: Sequence[str] | None = None) -> int:
    """Judges policies on tables of all masks; see --help."""
    options = make_parser().parse_args(arguments)
    entries = [candidate(text) for text in options.entries]
    tasks = asked_tasks(options.table, options.choose, [one.weights for one in entries])
    tables = {task.name: standings(task, entries) for task in tasks}
    found = together(list(tables.values())) if len(tables) > 1 else next(iter(tables.values()))
    if options.json:
        plain = {name: [dataclasses.asdict(one) for one in table] for name, table in tables.items()}
        standings_of_all = [dataclasses.asdict(one) for one in found]
        print_json({"cost_weights": COST_WEIGHTS, "tables": plain, "standings": standings_of_all})
        return 0
    counts = " + ".join(f"{task.judging.header.num_images:,}" for task in tasks)
    print_standings(f"{', '.join(tables)}: {counts} held-out inputs judge", found, list(tables))
    return 0


def asked_tasks(
    table: str | None, choose: Path | None, weights: Sequence[str | None]
) -> list[Task]:
    """The networks of a command line: those of the package, one of them, or one of the user's.

    Args:
        table: name or file; None for all, or for the one network that the entries are for.
        choose: table to learn from, of the user's network.
        weights: of the networks that entries are for; None for any.
    """
    if choose is not None and (table is None or table in SHIPPED):
        raise ValueError("expected --choose together with a --table of yours, got no such table")
    if table is None:
        ours = [name for name in SHIPPED if shipped_table(name).header.weights in weights]
        return shipped_tasks(ours or SHIPPED)
    if table in SHIPPED:
        return shipped_tasks([table])
    judging = opened_table(table)
    if choose is not None:
        return [Task(Path(table).stem, opened_table(choose), judging)]
    ours = [n for n in SHIPPED if shipped_table(n).header.weights == judging.header.weights]
    if not ours:
        raise ValueError(
            f"expected --choose with a table to learn from, got none: {table} is of a network that "
            "is not part of the package"
        )
    return [Task(Path(table).stem, shipped_table(ours[0]), judging)]


def standings_columns(
    found: Sequence[Standing], names: Sequence[str], with_errors: bool = True
) -> tuple[dict[str, str], list[list[Any]]]:
    """Standings as a table: a column for each network, or for each cost weight of one.

    Args:
        found: in their order.
        names: of the networks.
        with_errors: whether shares have their standard errors.
    """
    parts = names if len(names) > 1 else [f"weight {weight:g}" for weight in COST_WEIGHTS]
    columns = {"rank": "right", "policy": "left"} | dict.fromkeys([*parts, "mean"], "right")
    lines = []
    for one in found:
        shares = [share_text(part, with_errors) for part in (*one.parts, one)]
        lines.append([one.rank and str(one.rank), one.name, *shares])
    return columns, lines


def share_text(part: Any, with_error: bool = True) -> str:
    """A share in per cent, with its standard error unless it is exact.

    >>> from types import SimpleNamespace as Part
    >>> share_text(Part(share=0.066, standard_error=0.01))
    '6.6 ± 1.0'
    >>> share_text(Part(share=-3.0, standard_error=0.147))
    '-300 ± 15'
    """
    if math.isnan(part.share):
        return "no gap"
    # Far from 0 a tenth of a per cent says nothing.
    numbers = ".1f" if abs(part.share) < 1 else ".0f"
    share = format(100 * part.share, numbers)
    error = format(100 * part.standard_error, numbers)
    return f"{share} ± {error}" if with_error and part.standard_error else share


def print_standings(title: str, found: Sequence[Standing], names: Sequence[str]) -> None:
    """Prints standings within the terminal's width, and below them the rank of each entry.

    Args:
        title: above them.
        found: in their order.
        names: of the networks.
    """
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    columns, lines = standings_columns(found, names, console.width >= WIDE)
    for name, side in columns.items():
        if side == "left":
            table.add_column(name, no_wrap=True, ratio=1)
        else:
            table.add_column(name, justify="right")
    for line, one in zip(lines, found, strict=True):
        table.add_row(*(Text(cell or "", "bold" if one.kind == ENTRY else "") for cell in line))
    ranks = sum(one.kind != BOUND for one in found)
    entries = [
        f"{one.name}: rank {one.rank} of {ranks}, closes {share_text(one)} % of the gap"
        for one in found
        if one.kind == ENTRY
    ]
    for part in (Text(title), table, Text(NOTES), *map(Text, entries)):
        console.print(part)
