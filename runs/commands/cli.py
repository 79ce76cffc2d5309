"""The console script, with the list of all commands: ccenv COMMAND ... -> that program."""

import argparse
import importlib
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

from ccenv.base.modules_here import modules_of
from ccenv.base.registry import check_names
from ccenv.runs.commands.frame import program
from ccenv.runs.store.provenance import versions

GROUPS = {
    "train and compare": {
        "train": "train one agent, evaluate it on test inputs",
        "compare": "run what is missing of a sweep, then show the table",
        "suite": "at which skills is my agent better? tasks with a known optimum",
        "search": "search settings of an agent: error and total cost",
    },
    "look at runs": {
        "eval": "evaluate a finished run again, on any split",
        "validate": "recompute the figures of finished runs",
        "plot": "draw finished runs of any folders: page, curves, tables",
        "inspect": "write a page of single inputs: gates, blocks, cost; switch blocks by hand",
        "analyze": "which gates matter, what masks tell about labels, how well tables retrieve",
    },
    "networks and tables": {
        "list": "show agents, rewards, environments, data sets, networks and sweeps by name",
        "data": "describe a data set, download it where asked",
        "table": "build, show or pack the table of all masks of a network",
        "benchmark": "measure speeds on this machine",
    },
    "deploy": {
        "export": "write an exported run as ONNX, or as a folder with a card for a hub",
    },
}
"""Group -> command -> what it does. To add a command, write the module of its name in this folder,
with `main` and `make_parser`, and a line here."""
COMMANDS = {name: about for group in GROUPS.values() for name, about in group.items()}
"""Command -> what it does."""
RENAMED = {
    "show": ("inspect",),
    "leaks": ("analyze", "leaks"),
    "gates": ("analyze", "gates"),
    "retrieval": ("analyze", "retrieval"),
    "share": ("export", "--share"),
    "completion": ("--completion",),
}
"""Words of an earlier version -> the words that do the same today."""
TEXT = "call SkippingClassifier.load(file) on the last symbols, and draw the next one"
GONE = {
    "calibrate": "`auto` chooses by a rule that is the same on every machine",
    "generate": TEXT,
    "write": TEXT,
    "serve": "any web framework serves SkippingClassifier.load(file); see the page on export",
    "challenge": "its tables are the skill real of the suite: ccenv suite AGENT --skill real",
}
"""Word of an earlier version -> why there is nothing in its place."""
OF_THE_LAB = ("docs", "tables", "weights")
"""Words of an earlier version whose programs are not installed: a checkout has them."""
COMPLETION = "--completion"
HOW = {
    "bash": 'eval "$(ccenv --completion bash)"   # in ~/.bashrc',
    "zsh": "ccenv --completion zsh > ~/.zsh/completions/_ccenv   # a folder of your fpath",
    "tcsh": "eval `ccenv --completion tcsh`   # in ~/.tcshrc",
}
"""Shell -> what makes it complete commands, options and names."""
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
        f"ccenv {COMPLETION} bash (or zsh, tcsh) prints what lets a shell complete commands",
    )


def whole_parser() -> argparse.ArgumentParser:
    """All commands as one parser, positional words with the names that they may be."""
    from ccenv.agents import AGENTS
    from ccenv.runs.config.settings import setting_names
    from ccenv.runs.studies import STUDIES

    names: dict[str, Any] = {
        "agent": list(AGENTS),
        "settings": [f"{name}=" for name in setting_names()],
        "sweep": list(STUDIES),
    }
    parser = argparse.ArgumentParser(prog="ccenv", allow_abbrev=False)
    inner = parser.add_subparsers()
    for command, about in COMMANDS.items():
        make = getattr(module_of(command), "make_parser", None)
        parents = [make()] if make else []
        for action in [action for one in parents for action in one._actions]:
            action.choices = names.get(action.dest, action.choices)
        inner.add_parser(
            command, parents=parents, add_help=not parents, help=about, allow_abbrev=False
        )
    return parser


@program("ccenv --completion")
def complete(arguments: Sequence[str] | None = None) -> int:
    """Prints a shell's completion, made once: completing starts no Python; see --help."""
    parser = argparse.ArgumentParser(
        prog=f"ccenv {COMPLETION}",
        description="Prints a program that lets a shell complete ccenv's commands.",
        epilog="\n".join(HOW.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("shell", choices=HOW, help="which one")
    options = parser.parse_args(arguments)
    try:
        import shtab
    except ImportError as error:
        raise ValueError(
            "expected shtab, which writes completions for shells, got none; "
            'pip install "ccenv[completion]"'
        ) from error
    print(shtab.complete(whole_parser(), options.shell))
    return 0


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
        return complete(rest)
    check_names([command], COMMANDS, "command")
    run: Callable[[Sequence[str]], int] = module_of(command).main
    # Names as `my_module:MyAgent` lead to files of the working folder.
    with modules_of(os.getcwd()):
        return run(rest)
