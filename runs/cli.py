"""The console script: ccenv COMMAND ... -> the program of that name."""

import importlib
import os
import sys
from collections.abc import Callable, Sequence

from ccenv.base.registry import check_names
from ccenv.runs.commands import COMMANDS
from ccenv.runs.programs import program
from ccenv.runs.store.machine import versions

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
