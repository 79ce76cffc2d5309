"""The console script: ccenv COMMAND ... -> the program of that name."""

import importlib
import os
import sys
from collections.abc import Callable, Sequence

from ccenv.base.registry import check_names
from ccenv.runs.programs import program
from ccenv.runs.store.machine import versions

COMMANDS = {
    "train": ("ccenv.runs.train", "train one agent, judge it on test images"),
    "compare": ("ccenv.runs.compare", "run what is missing of a sweep, then show the table"),
    "list": (
        "ccenv.runs.list",
        "agents, rewards, environments, data sets, networks and sweeps by name",
    ),
    "validate": ("ccenv.runs.validate", "recompute the figures of finished runs"),
    "benchmark": ("ccenv.runs.benchmark", "measure speeds on this machine"),
    "gates": ("ccenv.runs.gates", "tell which gates of a network matter, leaving out each in turn"),
    "table": (
        "ccenv.runs.table",
        "build or show the table of all masks of a frozen network: exact optimum and values",
    ),
    "data": ("ccenv.data.__main__", "describe a data set, download it where asked"),
    "weights": ("ccenv.runs.weights", "train weights that come with the package, by their recipe"),
    "write": ("ccenv.runs.write", "write a paragraph by an exported predictor of text"),
    "export": ("ccenv.runs.export", "write an exported run as ONNX, and compare it with itself"),
    "serve": ("ccenv.runs.serve", "answer over HTTP by an exported run, in micro-batches"),
    "tables": ("ccenv.runs.tables", "rewrite the marked tables of a text from recorded results"),
}
"""Command -> its module, imported on use, and what it does."""
HELP = "\n".join(
    [
        "usage: ccenv COMMAND ...",
        "",
        *(f"  {name:10} {about}" for name, (_, about) in COMMANDS.items()),
        "",
        "ccenv COMMAND --help tells more; ccenv --version says what is installed",
    ]
)


@program("ccenv")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program that the first word names; the other words are the program's.

    Args:
        arguments: words of the command line, the process's own by default.

    Returns:
        The exit status.
    """
    command, *rest = [*(sys.argv[1:] if arguments is None else arguments)] or ["--help"]
    if command in ("--help", "-h"):
        print(HELP)
        return 0
    if command == "--version":
        print(", ".join(f"{name} {found}" for name, found in versions().items()))
        return 0
    check_names([command], COMMANDS, "command")
    find_modules_here()
    run: Callable[[Sequence[str]], int] = importlib.import_module(COMMANDS[command][0]).main
    return run(rest)


def find_modules_here() -> None:
    """Lets names as `my_module:MyAgent` lead to files of the working folder.

    Last, so that no file of that folder stands in place of a library.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)


if __name__ == "__main__":
    sys.exit(main())
