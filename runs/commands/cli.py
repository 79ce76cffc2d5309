"""The console script: ccenv COMMAND ... -> the program of that name."""

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence

from ccenv.base.modules_here import modules_of
from ccenv.base.registry import check_names
from ccenv.runs.commands.frame import program
from ccenv.runs.commands.registry import (
    COMMANDS,
    GONE,
    GROUPS,
    OF_THE_LAB,
    RENAMED,
    module_of,
)
from ccenv.runs.store.provenance import versions

COMPLETION = "--completion"
EXAMPLES = """\
examples:
  ccenv train reinforce                 train an agent on digits that come with the package
  ccenv compare                         four policies and six baselines: a table and a page
  ccenv list agents                     what train can be given; also rewards, networks, ...
  ccenv validate runs/logs              recompute the figures of all runs below a folder"""
"""What `ccenv --help` begins with."""


def help_lines() -> Iterator[str]:
    """What `ccenv --help` prints: examples, then commands in groups."""
    width = shutil.get_terminal_size().columns
    yield from ("usage: ccenv COMMAND ...", "", EXAMPLES)
    for group, commands in GROUPS.items():
        yield from ("", f"{group}:")
        for name, about in commands.items():
            yield from textwrap.wrap(f"  {name:10} {about}", width, subsequent_indent=" " * 13)
    yield from (
        "",
        "ccenv COMMAND --help lists its options; ccenv --version shows what is installed;",
        f"ccenv {COMPLETION} bash (or zsh, tcsh) prints what lets a shell complete commands",
    )


@program("ccenv")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program that the first word names; the other words are the program's."""
    command, *rest = [*(sys.argv[1:] if arguments is None else arguments)] or ["--help"]
    if command in ("--help", "-h"):
        print("\n".join(help_lines()))
        return 0
    if command == "--version":
        print(", ".join(f"{name} {number}" for name, number in versions().items()))
        return 0
    if command in OF_THE_LAB:
        raise ValueError(
            f"expected a command, got {command!r}, which is no part of what is installed; "
            f"in a checkout: python -m ccenv.runs.lab {command}"
        )
    if command in GONE:
        raise ValueError(f"expected a command, got {command!r}, which is gone: {GONE[command]}")
    for count in (1, 2):
        old = " ".join([command, *rest][:count])
        if old in RENAMED:
            today = RENAMED[old]
            print(f"ccenv: `ccenv {old}` is now `ccenv {' '.join(today)}`", file=sys.stderr)
            command, *rest = [*today, *[command, *rest][count:]]
            break
    if command == COMPLETION:
        return int(module_of("completion").main(rest))
    check_names([command], COMMANDS, "command")
    run: Callable[[Sequence[str]], int] = module_of(command).main
    # Names as `my_module:MyAgent` lead to files of the working folder.
    with modules_of(os.getcwd()):
        return run(rest)
