"""The lab's programs and experiments: python -m ccenv.runs.lab NAME ... -> what NAME does."""

import sys
from collections.abc import Sequence

from ccenv.base.registry import check_names, import_object
from ccenv.runs.commands.frame import program
from ccenv.runs.lab.experiment import run_experiment
from ccenv.runs.lab.registry import experiments

PROGRAMS = {
    "tables": (
        "ccenv.runs.lab.tables:main",
        "rewrite the marked tables of a text from recorded results",
    ),
    "docs": (
        "ccenv.runs.lab.docs_build.program:main",
        "build the documentation, or its tables, from a checkout",
    ),
    "suite": (
        "ccenv.runs.lab.suite_agents:main",
        "play the agents that the suite records, and pack their scores",
    ),
    "weights": (
        "ccenv.runs.lab.weights:main",
        "train weights that come with the package, by their recipe",
    ),
}
"""Name -> a program that records no rows, imported on use, and what it does."""
NAME = "python -m ccenv.runs.lab"


def help_text() -> str:
    """All names, programs first."""
    told = {name: about for name, (_, about) in PROGRAMS.items()}
    told |= {name: one.about for name, one in experiments().items()}
    lines = [f"  {name:18} {about}" for name, about in told.items()]
    return "\n".join([f"usage: {NAME} NAME ...", "", *lines, "", f"{NAME} NAME --help tells more"])


@program("lab", (ValueError, OSError, ImportError))
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what the first word names; the other words are its own.

    Returns:
        The exit status.
    """
    name, *rest = [*(sys.argv[1:] if arguments is None else arguments)] or ["--help"]
    if name in ("--help", "-h"):
        print(help_text())
        return 0
    if name in PROGRAMS:
        return int(import_object(PROGRAMS[name][0], "program")(rest))
    check_names([name], [*PROGRAMS, *experiments()], "experiment")
    return run_experiment(experiments()[name], NAME, rest)


if __name__ == "__main__":
    sys.exit(main())
