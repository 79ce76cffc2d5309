"""Kills as a program: lab faults kills -> a table, and a file with it."""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.runs.commands.frame import program
from ccenv.runs.lab.robustness.kills import VICTIMS, rounds
from ccenv.runs.store.recorded import read_table
from ccenv.runs.store.recorded_rows import record_rows
from ccenv.runs.tables.sweep_table import markdown

KIND = "kills"
COLUMNS = {
    "killed (-9)": "left",
    "same end": "right",
    "went on from a checkpoint": "right d",
    "values compared": "right d",
    "killed after the first checkpoint by": "right",
}
WHAT = {
    "train": "`ccenv train`, then the same command",
    "compare": "`ccenv compare`, its parent, then the same command",
    "worker": "a worker of `ccenv compare`, which goes on by itself",
}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Recorded kills as Markdown."""
    lines = [
        [
            WHAT[row["what"]],
            f"{row['same']} of {row['kills']}",
            row["went_on"],
            row["compared"],
            f"{row['first']} to {row['last']} s",
        ]
        for row in rows
    ]
    return markdown(COLUMNS, lines)


def others(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Rows of a recorded file about what was not killed now."""
    before = read_table(path)["rows"] if path.exists() else []
    return [row for row in before if row["what"] not in [one["what"] for one in rows]]


@program("faults kills")
def main(arguments: Sequence[str] | None = None) -> int:
    """Kills at random moments after the first checkpoint, goes on, and compares; see --help."""
    parser = argparse.ArgumentParser(
        prog="faults kills", description=main.__doc__, allow_abbrev=False
    )
    parser.add_argument("--what", nargs="+", choices=VICTIMS, default=list(VICTIMS))
    parser.add_argument("--kills", type=int, default=20, help="of each")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, help="for the runs, kept; a temporary one if none")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write rows there, as JSON")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ccenv-kills-") as own:
        folder = (options.folder or Path(own)).absolute()
        rows = [
            rounds(name, options.kills, folder, options.seed, lambda text: print(text, flush=True))
            for name in options.what
        ]
    print(table(rows))
    if options.record:
        rows = [*others(options.record, rows), *rows]
        record_rows(options.record, KIND, rows)
    return int(any(row["same"] < row["kills"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
