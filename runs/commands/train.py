"""An agent, an environment, a seed or several -> a folder each: ccenv train AGENT key=value ..."""

import argparse
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccenv.agents import AGENTS
from ccenv.runs.commands.frame import (
    Parser,
    positive,
    print_json,
    program,
    takes_trust,
    whole_number,
)
from ccenv.runs.config.agent_settings import agent_parameters, find_agent, settings_help
from ccenv.runs.config.command import AGENT, read_config
from ccenv.runs.config.plan import Plan
from ccenv.runs.config.settings import make_plan, setting_names
from ccenv.runs.config.values import parse_pairs
from ccenv.runs.engine.errors import CannotStartError, StoppedError
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.untrusted_files import EXPORTED

if TYPE_CHECKING:
    from ccenv.runs.api import Run

STOPPED = (
    "stopped; the same command goes on from the run's last checkpoint, "
    "or starts over where there is none yet"
)


def make_parser(agent: str | None = None) -> argparse.ArgumentParser:
    """The command line; its help knows every setting, and those of the agent if one is named."""
    parser = Parser(
        prog="ccenv train",
        description="Trains one agent and evaluates it on test inputs.",
        epilog="\n".join(settings_help(agent)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "agent", nargs="?", help=f"one of {', '.join(AGENTS)}, or module:Class; or of --config"
    )
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="see below; also written as options"
    )
    parser.add_argument(
        "--seeds",
        type=positive,
        default=1,
        metavar="N",
        help="train N seeds from seed= on",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="settings as TOML, or a run's config.json; key=value overrides it",
    )
    takes_trust(parser, "--config names")
    parser.add_argument("--json", action="store_true", help="print the result as JSON only")
    parser.add_argument(
        "--checkpoint-every",
        type=whole_number,
        metavar="IMAGES",
        help="images between checkpoints, 0 for none; one after each validation by default",
    )
    parser.add_argument(
        "--anew",
        action="store_true",
        help="start over, instead of resuming an interrupted run or answering from a finished one",
    )
    parser.add_argument(
        "--export",
        action="store_true",
        help="leave policy and network in checkpoint/classifier.safetensors",
    )
    return parser


def agent_named(arguments: Sequence[str]) -> str | None:
    """The agent whose settings --help explains: the first word that is no option nor its value."""
    flags = {
        name
        for action in make_parser()._actions
        if action.nargs == 0
        for name in action.option_strings
    }
    before = ("", *arguments)
    words = (
        word
        for last, word in zip(before, arguments, strict=False)
        if not word.startswith("-")
        and "=" not in word
        and (not last.startswith("--") or "=" in last or last in flags)
    )
    return next(words, None)


def options_as_pairs(arguments: Sequence[str], settings: Collection[str]) -> list[str]:
    """Words with `--seed 3` and `--seed=3` as the setting `seed=3` that they mean.

    >>> options_as_pairs(["rloo", "--seed", "3", "--num-kept=2", "--json"], ["seed", "num_kept"])
    ['rloo', 'seed=3', 'num_kept=2', '--json']
    """
    words, pairs = list(arguments), []
    while words:
        word = words.pop(0)
        option, equals, value = word.partition("=")
        name = option.removeprefix("--").replace("-", "_")
        is_setting = option.startswith("--") and name.partition(".")[0] in settings
        if is_setting and equals:
            pairs.append(f"{name}={value}")
        elif is_setting and words and not words[0].startswith("--"):
            pairs.append(f"{name}={words.pop(0)}")
        else:
            pairs.append(word)
    return pairs


@program("ccenv train", (CannotStartError, StoppedError), STOPPED)
def main(arguments: Sequence[str] | None = None) -> int:
    """Trains one agent; see --help."""
    options, plans = read_words(list(sys.argv[1:] if arguments is None else arguments))
    runs = train_all(options, plans)
    several = len(plans) > 1
    if options.json:
        results = [run.result for run in runs]
        print_json(results if several else results[0])
    elif several:
        from ccenv.runs.api import Runs

        print(Runs(runs).summary, flush=True)
    exported = [(run.folder / run_folder.CHECKPOINT / EXPORTED).exists() for run in runs]
    return 1 if options.export and not all(exported) else 0


def train_all(options: argparse.Namespace, plans: Sequence[Plan]) -> "list[Run]":
    """Trains plan after plan, and prints each result."""
    from ccenv.runs.api import train_plan
    from ccenv.runs.engine.prepare import Options

    how = Options(options.checkpoint_every, not options.anew, options.export)
    runs = []
    for plan in plans:
        runs.append(train_plan(plan, how))
        if not options.json:
            print(runs[-1].summary, flush=True)
    return runs


def plans_of(agent: str, from_file: Mapping[str, Any], options: argparse.Namespace) -> list[Plan]:
    """A plan for each seed."""
    # In a file a bar would be one line of thousands of characters.
    shows_bar = not options.json and sys.stderr.isatty()
    settings = {**from_file, "progress": shows_bar, **parse_pairs(options.settings)}
    first = make_plan(agent, settings)
    return [first.with_seed(first.program.seed + number) for number in range(options.seeds)]


def read_words(arguments: list[str]) -> tuple[argparse.Namespace, list[Plan]]:
    """Reads the command line: its options, and a plan a seed."""
    try:
        named = agent_named(arguments)
        parameters = agent_parameters(find_agent(named))[0] if named else {}
        parser = make_parser(named)
        options = parser.parse_intermixed_args(
            options_as_pairs(arguments, setting_names(parameters))
        )
        from_file = read_config(options.config, options.trust) if options.config else {}
        # A setting may stand before the agent, or the agent in the file of --config.
        words = [word for word in (options.agent, *options.settings) if word is not None]
        options.agent = next((word for word in words if "=" not in word), None)
        if options.agent is not None:
            words.remove(options.agent)
        options.settings = words
        agent = options.agent or from_file.pop(AGENT, None)
        from_file.pop(AGENT, None)
        if not agent:
            raise ValueError(f"expected an agent, got none; give one of {', '.join(AGENTS)}")
        return options, plans_of(agent, from_file, options)
    except ValueError as error:
        raise CannotStartError(str(error)) from error
