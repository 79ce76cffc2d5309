"""One agent, one environment, one seed -> one folder: ccenv train AGENT key=value ..."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ccenv.agents import AGENTS
from ccenv.runs.board.tracking import compact
from ccenv.runs.engine.at_prices import context_lines
from ccenv.runs.engine.run import CannotStartError, Options, StoppedError, run
from ccenv.runs.plan.explained import explained, explained_of_class
from ccenv.runs.plan.settings import Plan, Program, agent_parameters, find_agent, make_plan
from ccenv.runs.plan.values import parse_pairs
from ccenv.runs.programs import program
from ccenv.runs.stats.bits import bits_lines
from ccenv.simulator.simulator import Simulator, setting_defaults

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
    return run(make_plan(agent, settings))


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


def make_parser(agent: str | None) -> argparse.ArgumentParser:
    """The command line; its help knows every setting, and those of the agent if one is named."""
    parser = argparse.ArgumentParser(
        prog="ccenv train",
        description="Trains one agent and judges it on test images.",
        epilog="\n".join(settings_help(agent)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("agent", help=f"one of {', '.join(AGENTS)}, or module:Class")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="see below")
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
    return parser


def settings_help(agent: str | None) -> Iterator[str]:
    """Every setting with its default and its meaning, a line each."""
    yield "settings of the run:"
    for option in dataclasses.fields(Program):
        yield f"  {option.name}={compact(option.default)}  {option.metadata['help']}"
    yield "settings of the environment (see ccenv.simulator.simulator.Simulator):"
    meaning = explained(Simulator.__init__)
    for name, value in setting_defaults().items():
        yield f"  {name}={compact(value)}  {meaning.get(name, '')}".rstrip()
    yield "  reward_kwargs.cost_weight=0.5 and the like (ccenv list rewards);"
    yield "  network_kwargs.depth=20 and the like (ccenv list networks);"
    yield "  context.cost_weight=[0.05,5] or context.budget=[0.1,0.5] drawn anew for each image;"
    yield "  weights_kwargs.schedule_updates=run ends a cosine schedule with the run"
    if agent is None:
        return
    yield f"settings of {agent}:"
    found = find_agent(agent)
    own, takes_more = agent_parameters(found)
    meaning = explained_of_class(found)
    for name, value in own.items():
        yield f"  {name}={value!r}  {meaning.get(name, '')}".rstrip()
    if takes_more:
        yield f"  others are {meaning.get('settings', 'handed on')}"


def whole_number(text: str) -> int:
    """Reads a number of images.

    Raises:
        ArgumentTypeError: if it is no whole number of at least 0.
    """
    if not text.isdecimal() or len(text) > DIGITS:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return int(text)


@program("ccenv train", (CannotStartError, StoppedError), STOPPED)
def main(arguments: Sequence[str] | None = None) -> int:
    """Trains one agent; see --help."""
    options, plan = read(list(sys.argv[1:] if arguments is None else arguments))
    how = Options(options.checkpoint_every, not options.anew, options.export)
    result = run(plan, wait=False, options=how)
    print(json.dumps(result, indent=2) if options.json else summary(result))
    return 0


def read(arguments: list[str]) -> tuple[argparse.Namespace, Plan]:
    """Reads the command line.

    Raises:
        CannotStartError: if a name or a value is wrong.
    """
    try:
        parser = make_parser(next((a for a in arguments if not a.startswith("-")), None))
        options = parser.parse_intermixed_args(arguments)
        settings = {"progress": not options.json} | parse_pairs(options.settings)
        return options, make_plan(options.agent, settings)
    except ValueError as error:
        raise CannotStartError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
