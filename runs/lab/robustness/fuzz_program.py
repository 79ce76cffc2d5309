"""Fuzzing as a program: lab faults fuzz --minutes 10 -> counts, and crashes."""

import argparse
import functools
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.runs.commands.frame import program
from ccenv.runs.lab.robustness import command_lines, constructors
from ccenv.runs.lab.robustness.command_lines import REFUSED, TAKEN, Crash
from ccenv.runs.lab.robustness.fuzz import CRASHED, apart, copied, fuzz, limit_memory
from ccenv.runs.lab.robustness.samples import samples
from ccenv.runs.store.recorded_rows import record_rows
from ccenv.runs.tables.sweep_table import markdown

KIND = "fuzz"
CAME = (TAKEN, REFUSED, CRASHED)
COLUMNS = {"odd": "left", "given": "right ,d"} | dict.fromkeys(CAME, "right ,d")
COLUMNS |= {"minutes of one core": "right .1f"}
KINDS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "command lines": (command_lines.lines, command_lines.came_of),
    "constructors": (constructors.constructors, constructors.came_of),
}
"""What is fuzzed: what is given, and what comes of it."""


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Recorded fuzzing as Markdown."""
    names = ("what", "given", *CAME, "minutes")
    return markdown(COLUMNS, [[row[name] for name in names] for row in rows])


def tell(crash: Crash) -> None:
    """Prints a crash."""
    print(f"{crash.where}: {crash.error}: {crash.given!r}"[:600], flush=True)


@program("faults fuzz")
def main(arguments: Sequence[str] | None = None) -> int:
    """Gives odd command lines and constructors within a time; see --help."""
    parser = argparse.ArgumentParser(
        prog="faults fuzz", description=main.__doc__, allow_abbrev=False
    )
    parser.add_argument("--what", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--minutes", type=float, default=10.0, help="of the clock, for all")
    parser.add_argument("--most", type=int, default=20_000, help="of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, metavar="FILE", help="write rows there, as JSON")
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory(prefix="ccenv-fuzz-") as own:
        with apart(Path(own)):
            samples(Path(own))
        limit_memory()
        place = functools.partial(copied, Path(own))
        for name in options.what:
            strategy, came_of = KINDS[name]
            seconds = 60 * options.minutes / len(options.what)
            found = fuzz(strategy(), came_of, options.most, seconds, options.seed, place, tell)
            counts = {came: found.came[came] for came in CAME}
            minutes = found.seconds / 60
            rows.append({"what": name, "given": found.came.total(), **counts, "minutes": minutes})
    print(table(rows))
    if options.record:
        record_rows(options.record, KIND, rows)
    return int(any(row[CRASHED] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
