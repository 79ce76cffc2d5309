"""Odd circumstances as a program: lab faults table -> a row each, and a file."""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.runs.commands.frame import program
from ccenv.runs.lab.robustness.circumstances import CIRCUMSTANCES, attempts
from ccenv.runs.store.recorded import read_table
from ccenv.runs.store.recorded_rows import record_rows
from ccenv.runs.tables.sweep_table import markdown

KIND = "circumstances"
COLUMNS = dict.fromkeys(("fault", "what was done", "what must come", "what came", ""), "left")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Recorded circumstances as Markdown."""
    marks = {True: "as it must", False: "NOT as it must", None: ""}
    lines = [
        [row["name"], row["done"], row["rule"], row["came"], marks[row["is_right"]]] for row in rows
    ]
    return markdown(COLUMNS, lines)


@program("faults table")
def main(arguments: Sequence[str] | None = None) -> int:
    """Tries odd circumstances one by one; see --help."""
    parser = argparse.ArgumentParser(
        prog="faults table", description=main.__doc__, allow_abbrev=False
    )
    names = list(CIRCUMSTANCES)
    parser.add_argument("--what", nargs="+", choices=names, default=names)
    parser.add_argument("--record", type=Path, metavar="FILE", help="write rows there, as JSON")
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory(prefix="ccenv-faults-") as own:
        Path(own).chmod(0o755)
        for row in attempts(options.what, Path(own)):
            print(f"{row['name']}: {row['came']} ({row['is_right']})", flush=True)
            rows.append(row)
    if options.record:
        before = read_table(options.record)["rows"] if options.record.exists() else []
        rows = [row for row in before if row["name"] not in options.what] + rows
        record_rows(options.record, KIND, rows)
    return int(any(row["is_right"] is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
