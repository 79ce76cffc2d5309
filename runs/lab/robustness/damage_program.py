"""Damaged files as a program: lab faults damage -> what came of each kind."""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.runs.commands.frame import program
from ccenv.runs.lab.robustness.damage import BELIEVED, CRASHED, HARMLESS, NOTICED, harm_many
from ccenv.runs.lab.robustness.kinds import kinds
from ccenv.runs.store.recorded_rows import record_rows
from ccenv.runs.tables.sweep_table import markdown

KIND = "damage"
CAME = (NOTICED, HARMLESS, BELIEVED, CRASHED)
COLUMNS = {"file": "left", "changes": "right ,d"} | dict.fromkeys(CAME, "right ,d")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Recorded damage as Markdown."""
    lines = [[row["file"], row["changes"], *(row[came] for came in CAME)] for row in rows]
    return markdown(COLUMNS, lines)


@program("faults damage")
def main(arguments: Sequence[str] | None = None) -> int:
    """Damages one file of every kind again and again, and reads it; see --help."""
    parser = argparse.ArgumentParser(
        prog="faults damage", description=main.__doc__, allow_abbrev=False
    )
    parser.add_argument("--times", type=int, default=1000, help="changes of each file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, metavar="FILE", help="write rows there, as JSON")
    options = parser.parse_args(arguments)
    begun, rows = time.process_time(), []
    with tempfile.TemporaryDirectory(prefix="ccenv-damage-") as own:
        for name, kind in kinds(Path(own)).items():
            came, bad = harm_many(kind, options.times, options.seed)
            rows.append({"file": name, "changes": options.times} | {c: came[c] for c in CAME})
            for harm in bad:
                print(f"{name}: {harm.what}: {harm.came} {harm.said}", flush=True)
    print(table(rows))
    print(f"{time.process_time() - begun:.0f} seconds of one core")
    if options.record:
        record_rows(options.record, KIND, rows)
    return int(any(row[BELIEVED] + row[CRASHED] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
