"""What a shell needs to complete commands, options and names: ccenv --completion SHELL."""

import argparse
from collections.abc import Sequence
from typing import Any

from ccenv.agents import AGENTS
from ccenv.runs.commands.cli import COMMANDS, module_of
from ccenv.runs.commands.frame import program
from ccenv.runs.config.settings import setting_names
from ccenv.runs.studies import STUDIES

SHELLS = ("bash", "zsh", "tcsh")
HOW = {
    "bash": 'eval "$(ccenv --completion bash)"   # in ~/.bashrc',
    "zsh": "ccenv --completion zsh > ~/.zsh/completions/_ccenv   # a folder of your fpath",
    "tcsh": "eval `ccenv --completion tcsh`   # in ~/.tcshrc",
}


def whole_parser() -> argparse.ArgumentParser:
    """All commands as one parser, positional words with the names that they may be."""
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
    """Prints a shell's completion, made once: completing starts no Python; see --help."""
    options = make_parser().parse_args(arguments)
    try:
        import shtab
    except ImportError as error:
        raise ValueError(
            "expected shtab, which writes completions for shells, got none; "
            'pip install "ccenv[completion]"'
        ) from error
    print(shtab.complete(whole_parser(), options.shell))
    return 0
