"""An agent, an environment, a seed or several -> a folder each: ccenv train AGENT key=value ..."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.agents import AGENTS
from ccenv.base.joined import joined
from ccenv.base.ranks import OneProcess, RanksError
from ccenv.runs.board.mirror import SERVICES, NoServiceError, mirrored
from ccenv.runs.engine.at_prices import context_lines
from ccenv.runs.engine.checkpoint import warn
from ccenv.runs.engine.ranked import LeaderStoppedError, run_by
from ccenv.runs.engine.run import Options, run
from ccenv.runs.engine.stops import CannotStartError, StoppedError
from ccenv.runs.plan.command import AGENT, read_config
from ccenv.runs.plan.plan import Plan
from ccenv.runs.plan.settings import make_plan
from ccenv.runs.plan.values import parse_pairs
from ccenv.runs.programs import REFUSED, program
from ccenv.runs.settings_help import settings_help
from ccenv.runs.stats.bits import bits_lines
from ccenv.runs.stats.intervals import mean_interval, told
from ccenv.runs.stats.mask_gap import mask_gap_of
from ccenv.runs.stats.results import evaluation

STOPPED = (
    "stopped; the same command goes on from the run's last checkpoint, "
    "or starts anew where there is none yet"
)
DIGITS = 18
"""A whole number of so many digits fits in 64 bits."""


def train(agent: str, **settings: Any) -> dict[str, Any]:
    """Trains and judges an agent; the same as the command line.

    Args:
        agent: a name in `ccenv.agents.AGENTS` or `module:Class`.
        **settings: see `ccenv.runs.plan.settings`.

    Returns:
        What `result.json` holds.

    Raises:
        ValueError: if a setting is wrong or the log folder unwritable; nothing is written then.
    """
    result = run(make_plan(agent, settings))
    warn_of_masks(result)
    return result


def warn_of_masks(result: Mapping[str, Any]) -> None:
    """Says on stderr where greedy and sampled masks have different errors; see `mask_gap`."""
    if said := mask_gap_of(result):
        warn(said)


def summary(result: dict[str, Any]) -> str:
    """A result in three lines, one more of bits for texts, and one for each value of a context."""
    test, likeliest = result["evaluations"][:2]
    density = " ".join(f"{d:.2f}" for d in test["density"])
    lines = [
        f"{result['agent']}: test error {100 * test['error']:.2f} % (masks sampled), "
        f"{100 * likeliest['error']:.2f} % (most probable masks)",
        f"compute cost {test['compute_cost']:.4f}, with the policy {test['total_cost']:.4f}, "
        f"density {density}",
        *bits_lines(result),
        *context_lines(result),
        result["folder"],
    ]
    return "\n".join(lines)


def over_seeds(results: Sequence[Mapping[str, Any]]) -> str:
    """Mean over several seeds with its interval, in a line."""
    verdicts = [evaluation(result, "sampled") for result in results]
    error, cost = (
        mean_interval([verdict[name] for verdict in verdicts]) for name in ("error", "total_cost")
    )
    return (
        f"over {len(results)} seeds: test error {error:±.2%} % (mean ± standard deviation; "
        f"Student's 95 % interval: {told(error, len(results), '.2%')}), total cost {cost.mean:.4f}"
    )


def make_parser(agent: str | None = None) -> argparse.ArgumentParser:
    """The command line; its help knows every setting, and those of the agent if one is named."""
    parser = argparse.ArgumentParser(
        prog="ccenv train",
        description="Trains one agent and judges it on test images.",
        epilog="\n".join(settings_help(agent)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "agent", nargs="?", help=f"one of {', '.join(AGENTS)}, or module:Class; or of --config"
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="see below")
    parser.add_argument(
        "--seeds",
        type=at_least_one,
        default=1,
        metavar="N",
        help="train N seeds from seed= on; those that are finished are taken unless --anew",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="settings as TOML, or a run's config.json; modules that it names are imported; "
        "key=value goes before it",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON only")
    parser.add_argument(
        "--checkpoint-every",
        type=whole_number,
        metavar="IMAGES",
        help="images between checkpoints, 0 for none; one after each validation by default",
    )
    parser.add_argument(
        "--anew", action="store_true", help="start an interrupted run anew instead of resuming it"
    )
    parser.add_argument(
        "--export",
        action="store_true",
        help="leave policy and network in checkpoint/classifier.safetensors",
    )
    parser.add_argument(
        "--track", choices=SERVICES, help="send the curves there too, as they are written"
    )
    return parser


def agent_named(arguments: Sequence[str]) -> str | None:
    """The agent whose settings --help explains: the first word that is no option nor its value."""
    before = ("", *arguments)
    takes_value = ("--seeds", "--config", "--checkpoint-every", "--track")
    words = (
        word
        for last, word in zip(before, arguments, strict=False)
        if last not in takes_value and not word.startswith("-") and "=" not in word
    )
    return next(words, None)


def whole_number(text: str) -> int:
    """Reads a number of images.

    Raises:
        ArgumentTypeError: if it is no whole number of at least 0.
    """
    if not text.isdecimal() or len(text) > DIGITS:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return int(text)


def at_least_one(text: str) -> int:
    """Reads a number of seeds.

    Raises:
        ArgumentTypeError: if it is no whole number of at least 1.
    """
    number = whole_number(text)
    if not number:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return number


@program("ccenv train", (CannotStartError, NoServiceError, StoppedError, RanksError), STOPPED)
def main(arguments: Sequence[str] | None = None) -> int:
    """Trains one agent; see --help. By torchrun, several processes train it together."""
    options, plans = read(list(sys.argv[1:] if arguments is None else arguments))
    try:
        with joined() as ranks:
            results = train_all(options, plans, ranks)
    except LeaderStoppedError:
        return REFUSED
    if not results:
        return 0
    several = len(plans) > 1
    if options.json:
        print(json.dumps(results if several else results[0], indent=2))
    elif several:
        print(over_seeds(results))
    return 0


def train_all(
    options: argparse.Namespace, plans: Sequence[Plan], ranks: OneProcess
) -> list[dict[str, Any]]:
    """Trains plan after plan, and prints each result; ranks that follow have none."""
    how = Options(options.checkpoint_every, not options.anew, options.export)
    reuse, results = len(plans) > 1 and not options.anew, []
    for plan in plans:
        with mirrored(options.track if ranks.leads else None, plan):
            result = run_by(ranks, plan, wait=False, reuse=reuse, options=how)
        if result is None:
            continue
        results.append({"folder": str(plan.folder())} | result)
        if not options.json:
            print(summary(results[-1]), flush=True)
        warn_of_masks(result)
    return results


def read(arguments: list[str]) -> tuple[argparse.Namespace, list[Plan]]:
    """Reads the command line: its options, and a plan a seed.

    Raises:
        CannotStartError: if a name or a value is wrong.
    """
    try:
        parser = make_parser(agent_named(arguments))
        options = parser.parse_intermixed_args(arguments)
        found = read_config(options.config) if options.config else {}
        if options.agent and "=" in options.agent:
            # With an agent of --config, the first word is a setting.
            options.settings.insert(0, options.agent)
            options.agent = None
        agent = options.agent or found.pop(AGENT, None)
        found.pop(AGENT, None)
        if not agent:
            raise ValueError(f"expected an agent, got none; give one of {', '.join(AGENTS)}")
        given = found | parse_pairs(options.settings)
        first = make_plan(agent, given | {"progress": not options.json})
        seeds = range(first.program.seed, first.program.seed + options.seeds)
        return options, [first.with_seed(seed) for seed in seeds]
    except ValueError as error:
        raise CannotStartError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
