"""What a shell needs to complete commands, options and names: ccenv --completion SHELL."""

import argparse
from collections.abc import Sequence
from typing import Any

from ccenv.agents import AGENTS
from ccenv.runs.commands.frame import program
from ccenv.runs.commands.registry import COMMANDS, module_of
from ccenv.runs.config.settings import setting_names
from ccenv.runs.studies import STUDIES

SHELLS = ("bash", "zsh", "tcsh")
HOW = {
    "bash": 'eval "$(ccenv --completion bash)"   # in ~/.bashrc',
    "zsh": "ccenv --completion zsh > ~/.zsh/completions/_ccenv   # a folder of your fpath",
    "tcsh": "eval `ccenv --completion tcsh`   # in ~/.tcshrc",
}


def script(shell: str) -> str:
    """The shell's program, made once: completing starts no Python."""
    try:
        import shtab
    except ImportError as error:
        raise ValueError(
            "expected shtab, which writes completions for shells, got none; "
            'pip install "ccenv[completion]"'
        ) from error
    return str(shtab.complete(whole_parser(), shell))


def whole_parser() -> argparse.ArgumentParser:
    """All commands as one parser; of those that do not show theirs, the name alone."""
    parser = argparse.ArgumentParser(prog="ccenv", allow_abbrev=False)
    inner = parser.add_subparsers()
    for name, about in COMMANDS.items():
        make = getattr(module_of(name), "make_parser", None)
        parents = [with_names(name, make())] if make else []
        inner.add_parser(
            name, parents=parents, add_help=not parents, help=about, allow_abbrev=False
        )
    return parser


def with_names(command: str, parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Gives positional words the names that they may be, for completion only."""
    names: dict[tuple[str, str], Any] = {
        ("train", "agent"): list(AGENTS),
        ("train", "settings"): [f"{name}=" for name in setting_names()],
        ("compare", "sweep"): list(STUDIES),
    }
    for action in parser._actions:
        action.choices = names.get((command, action.dest), action.choices)
    return parser


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="ccenv --completion",
        description="Prints a program that lets a shell complete ccenv's commands.",
        epilog="\n".join(HOW.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("shell", choices=SHELLS, help="which one")
    return parser


@program("ccenv --completion")
def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a shell's completion; see --help."""
    print(script(make_parser().parse_args(arguments).shell))
    return 0
