"""Laws of options: none is abbreviated, and what a message advises is there to be given."""

import argparse
import ast
import functools
import importlib
import re
from pathlib import Path
from unittest import mock

import pytest
from test_architecture import tree_of

from ccenv.runs.commands import train
from ccenv.runs.commands.cli import COMMANDS
from ccenv.runs.config.agent_settings import EXAMPLES

ROOT = Path(__file__).parents[3]
FILES = [path for top in ("ccenv", "agents", "runs") for path in sorted((ROOT / top).rglob("*.py"))]
LAB = ROOT / "runs" / "lab"
SHIPPED = [path for path in FILES if not path.is_relative_to(LAB)]
"""What users see the advice of."""
OPENS_STORED = ("eval", "validate", "inspect", "export")
"""Programs that follow names of stored runs and classifiers."""
SHOWN_BY = {
    "ccenv/base/trust.py": OPENS_STORED,
    "ccenv/annexes/deploy/masked_form.py": ("export",),
    "runs/engine/onnx_export.py": ("export",),
    "runs/commands/cli.py": tuple(COMMANDS),
    "runs/commands/frame.py": tuple(COMMANDS),
    "runs/comparing.py": ("compare",),
    "agents/foreign.py": ("compare",),
    "runs/tables/mask_table.py": ("table",),
    "runs/tables/short_table.py": ("compare",),
    "runs/config/sweep.py": ("compare",),
    "runs/config/sweep_file.py": ("compare",),
    "runs/config/agent_settings.py": ("train",),
    "runs/store/untrusted_files.py": ("export", "generate"),
    "runs/store/recorded.py": ("compare",),
}
"""Files without a program of their own that advise options -> the programs that show it."""
ELSEWHERE = {"--export": "train", "--anew": "train"}
"""Options of one program in files that others use too, or advised for what it did before."""
OF_OTHERS = {
    *("--logdir", "--force-reinstall", "--no-deps"),
    *("--untracked-files", "--query-gpu", "--format", "--ink", "--version"),
}
"""Options of tensorboard, pip, git, nvidia-smi, `ccenv` alone; a style's colour."""
NO_COMMANDS = {
    *("classifier", "looks", "slopes", "times", "table entry", "table of"),
    *("calibration", "developers"),
}
"""Words behind `ccenv` in names of kinds of files, of a thread, and of people."""


class AskedError(BaseException):
    """Brings a program's parser here, before anything is parsed."""

    def __init__(self, parser):
        self.parser = parser


def program_of(command):
    """The module of a command."""
    return f"ccenv.runs.commands.{command}"


@functools.cache
def parser_of(module):
    """The parser of a program's `main`."""

    def ask(parser, *given, **named):
        raise AskedError(parser)

    # Python 3.12 and later do not come from the second to the first.
    ways = dict.fromkeys(("parse_known_args", "parse_known_intermixed_args"), ask)
    with (
        mock.patch.multiple(argparse.ArgumentParser, **ways),
        pytest.raises(AskedError) as asked,
    ):
        importlib.import_module(module).main([])
    return asked.value.parser


def commands_of(parser):
    """Parsers below a parser, by their words."""
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return {word: below for action in inner for word, below in action.choices.items()}


def options_of(parser):
    """All options of a parser and of those below it."""
    return set(parser._option_string_actions).union(*map(options_of, commands_of(parser).values()))


def module_of(path):
    top, *parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join([*(["ccenv"] if top != "ccenv" else []), top, *parts])


def calls(path, names):
    return [
        node
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in names
    ]


@functools.cache
def programs():
    """Files that make a parser -> their modules."""
    return {path: module_of(path) for path in FILES if calls(path, ["Parser"])}


def test_every_program_reads_its_options_alike():
    assert len(programs()) > 10
    assert not [path for path in FILES if calls(path, ["ArgumentParser"])]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["reinforce", "--seed", "3"], {"seed": 3}),
        (["--seed", "3", "reinforce"], {"seed": 3}),
        (["reinforce", "--seed=3", "--json", "--log-dir", "here"], {"seed": 3, "log_dir": "here"}),
        (["--learning_rate", "0.1", "reinforce", "--keep-best", "true"], {"keep_best": True}),
        (["reinforce", "--seed", "3", "--seeds", "2"], {"seed": 3}),
    ],
)
def test_a_setting_written_as_an_option_is_that_setting(words, expected):
    _, plans = train.read_words(words)
    assert {name: getattr(plans[0].program, name) for name in expected} == expected
    assert len(plans) == (2 if "--seeds" in words else 1)
    rate = 0.1 if "--learning_rate" in words else 0.05
    assert plans[0].agent_settings["learning_rate"] == rate


def test_a_nested_setting_may_be_written_as_an_option_and_comes_once():
    words = ["reinforce", "--reward_kwargs.cost_weight", "0.5", "--context.budget=[0.1,0.5]"]
    environment = train.read_words(words)[1][0].environment
    assert environment["reward_kwargs"] == {"cost_weight": 0.5}
    assert environment["context"] == {"budget": [0.1, 0.5]}
    with pytest.raises(ValueError, match="expected each setting once, got 'seed' again"):
        train.read_words(["reinforce", "seed=1", "--seed", "3"])


@functools.cache
def literals(path):
    """Texts of a file that are no docstring; X stands for what is put in."""
    told, inside = [], set()
    for node in ast.walk(tree_of(path)):
        body = getattr(node, "body", None)
        inside.update(
            line.value
            for line in (body if isinstance(body, list) else [])
            if isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)
        )
        if isinstance(node, ast.JoinedStr):
            inside.update(node.values)
            told.append(
                "".join(
                    getattr(part, "value", "X") if isinstance(part, ast.Constant) else "X"
                    for part in node.values
                )
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inside:
            told.append(node.value)
    return [text for text in told if not re.fullmatch(r"--[\w-]+", text)]


COMMAND = re.compile(r"\bccenv (?P<name>[a-z]+)(?P<rest>(?: +(?![:;,.)])[^\s:;,()`'\"]+)*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")


def test_a_command_that_is_advised_is_there_with_its_options():
    advised = [
        found for path in SHIPPED for text in literals(path) for found in COMMAND.finditer(text)
    ]
    assert len(advised) > 30
    for found in advised:
        name, words = found["name"], found["rest"].split()
        if {name, " ".join([name, *words[:1]])} & NO_COMMANDS:
            continue
        assert name in COMMANDS, found.string
        parser = parser_of(program_of(name))
        below = commands_of(parser)
        if below and words:
            assert words[0] in below, found.string
            parser = below[words[0]]
        assert set(filter(OPTION.fullmatch, words)) <= options_of(parser), found.string


def showing(path):
    """Programs that show the advice of a file."""
    own = path in programs() and path.stem not in ("experiment", "cli")
    place, found = path.relative_to(ROOT).as_posix(), [programs()[path]] if own else []
    for start, names in SHOWN_BY.items():
        shows = names if place.startswith(start) else ()
        found += [program_of(name) if name in COMMANDS else name for name in shows]
    return found


def test_an_option_that_is_advised_is_taken_by_every_program_that_shows_the_advice():
    advised = [
        (path, text, option)
        for path in SHIPPED
        for text in literals(path)
        for option in set(OPTION.findall(COMMAND.sub("", text))) - OF_OTHERS
    ]
    assert len(advised) > 30
    for path, text, option in advised:
        shown_by = [program_of(ELSEWHERE[option])] if option in ELSEWHERE else showing(path)
        assert shown_by, f"which programs show {text!r}?"
        for program in shown_by:
            assert option in options_of(parser_of(program)), (program, text)


def test_the_examples_of_the_help_are_read():
    examples = [line.split() for line in EXAMPLES.splitlines() if line.startswith("  ccenv train")]
    own = [words[2:] for words in examples if ":" not in words[2]]
    assert len(own) == len(examples) - 1
    for words in own:
        assert train.read_words(words)[1]
