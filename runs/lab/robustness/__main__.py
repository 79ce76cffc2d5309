"""Faults on purpose: lab faults kills ... -> what was done, what came of it."""

import sys
from collections.abc import Sequence

from ccenv.base.registry import check_names, import_object
from ccenv.runs.commands.frame import program

PARTS = {
    "kills": (
        "ccenv.runs.lab.robustness.kill_program:main",
        "kill -9 at random moments, and go on",
    ),
    "damage": (
        "ccenv.runs.lab.robustness.damage_program:main",
        "damage files of every kind, read them",
    ),
    "table": (
        "ccenv.runs.lab.robustness.circumstance_program:main",
        "try odd circumstances one by one",
    ),
    "fuzz": (
        "ccenv.runs.lab.robustness.fuzz_program:main",
        "give odd command lines and constructors",
    ),
    "size": ("ccenv.runs.lab.robustness.size:main", "time a comparison of 10,000 recorded runs"),
    "soak": ("ccenv.runs.lab.robustness.soak_program:main", "use everything for half an hour"),
}
"""First word -> the program, and what it does."""
HELP = "\n".join(
    [
        "usage: python -m ccenv.runs.lab faults PART ...",
        "",
        *(f"  {name:8} {about}" for name, (_, about) in PARTS.items()),
    ]
)


@program("faults")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the part that the first word names."""
    part, *rest = [*(sys.argv[1:] if arguments is None else arguments)] or ["--help"]
    if part in ("--help", "-h"):
        print(HELP)
        return 0
    check_names([part], PARTS, "part")
    return int(import_object(PARTS[part][0], "part")(rest))


if __name__ == "__main__":
    sys.exit(main())
