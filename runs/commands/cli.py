"""The console script, with the list of all commands: ccenv COMMAND ... -> that program."""

import importlib
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

from ccenv.base.modules_here import modules_of
from ccenv.base.registry import check_names
from ccenv.runs.commands.frame import program
from ccenv.runs.store.provenance import versions

GROUPS = {
    "train and compare": {
        "train": "train one agent, evaluate it on test inputs",
        "compare": "run what is missing of a sweep, then show the table",
        "suite": "at which skills is my agent better? tasks with a known optimum",
    },
    "look at runs": {
        "eval": "evaluate a finished run again, on any split",
        "validate": "recompute the figures of finished runs",
        "plot": "draw finished runs of any folders: page, curves, tables",
        "inspect": "write a page of single inputs: gates, blocks, cost; switch blocks by hand",
    },
    "networks and tables": {
        "list": "show agents, rewards, environments, data sets, networks and sweeps by name",
        "data": "describe a data set, download it where asked",
        "table": "build, show or pack the table of all masks of a network",
        "benchmark": "measure speeds on this machine",
    },
    "deploy": {
        "export": "write an exported run as ONNX",
        "generate": "write a paragraph by an exported predictor of text",
    },
}
"""Group -> command -> what it does. To add a command, write the module of its name in this folder,
with `main` and `make_parser`, and a line here."""
COMMANDS = {name: about for group in GROUPS.values() for name, about in group.items()}
"""Command -> what it does."""
EXAMPLES = """\
examples:
  ccenv train reinforce                 train an agent on digits that come with the package
  ccenv compare                         four policies and six baselines: a table and a page
  ccenv list agents                     what train can be given; also rewards, networks, ...
  ccenv validate runs/logs              recompute the figures of all runs below a folder"""
"""What `ccenv --help` begins with."""


def module_of(command: str) -> ModuleType:
    """Imports a command's module; its `main` runs the command."""
    return importlib.import_module(f"{__package__}.{command}")


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
    check_names([command], COMMANDS, "command")
    run: Callable[[Sequence[str]], int] = module_of(command).main
    # Names as `my_module:MyAgent` lead to files of the working folder.
    with modules_of(os.getcwd()):
        return run(rest)
