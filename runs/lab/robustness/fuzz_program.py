"""Fuzzing as a program: lab faults fuzz --minutes 10 -> counts, and crashes."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ccenv.runs.lab.robustness import command_lines, constructors
from ccenv.runs.lab.robustness.fuzz import Fuzzed, apart, fuzz, limit_memory
from ccenv.runs.lab.robustness.samples import samples
from ccenv.runs.programs import program

Strategy = Callable[[], Any]
KINDS: dict[str, tuple[Strategy, Callable[[Any], Any]]] = {
    "command lines": (command_lines.lines, command_lines.taken),
    "constructors": (constructors.constructors, constructors.taken),
}
"""What is fuzzed: what is given, and who takes it."""


def line(name: str, found: Fuzzed) -> str:
    """What is printed of a kind."""
    return (
        f"{name}: {found.tried:,} in {found.seconds / 60:.1f} minutes of one core, "
        f"{len(found.crashes)} without a name for what was wrong"
    )


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
    parser.add_argument("--record", type=Path, metavar="FILE", help="write crashes there, as JSON")
    options = parser.parse_args(arguments)
    record = None if options.record is None else options.record.absolute()
    crashes: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory(prefix="ccenv-fuzz-") as own, apart(Path(own)):
        samples(Path(own))
        limit_memory()
        for name in options.what:
            strategy, taken = KINDS[name]
            seconds = 60 * options.minutes / len(options.what)
            found = fuzz(strategy(), taken, options.most, seconds, options.seed)
            print(line(name, found), flush=True)
            for crash in found.crashes.values():
                print(f"  {crash.where}: {crash.error}: {crash.given!r}"[:600], flush=True)
                crashes.append({"given": repr(crash.given), "error": crash.error})
    if record is not None:
        record.write_text(json.dumps(crashes, indent=2) + "\n", encoding="utf-8")
    return int(bool(crashes))


if __name__ == "__main__":
    sys.exit(main())
