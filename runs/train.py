"""One agent, one environment, one seed -> one folder: python -m runs.train AGENT key=value ..."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any

from agents import AGENTS
from ccenv.registry import resolve
from ccenv.simulator import setting_defaults
from runs.at_prices import context_lines
from runs.run import CannotStartError, Options, run
from runs.settings import Program, agent_parameters, make_plan
from runs.tracking import compact
from runs.values import parse_pairs


def train(agent: str, **settings: Any) -> dict[str, Any]:
    """Trains and judges an agent; the same as the command line.

    Args:
        agent: a name in `agents.AGENTS` or `module:Class`.
        **settings: see `runs.settings`.

    Returns:
        What `result.json` holds.

    Raises:
        ValueError: if a setting is wrong or the log folder unwritable; nothing is written then.
    """
    return run(make_plan(agent, settings))


def summary(result: dict[str, Any]) -> str:
    """A result in three lines, and one more for each price or budget of a context."""
    test, mode = result["evaluations"][:2]
    density = " ".join(f"{d:.2f}" for d in test["density"])
    lines = [
        f"{result['agent']}: test error {100 * test['error']:.2f} % (masks sampled), "
        f"{100 * mode['error']:.2f} % (most probable masks)",
        f"compute cost {test['compute_cost']:.4f}, with the policy {test['total_cost']:.4f}, "
        f"density {density}",
        *context_lines(result),
        result["folder"],
    ]
    return "\n".join(lines)


def make_parser(agent: str | None) -> argparse.ArgumentParser:
    """The command line; its help knows every setting, and those of the agent if one is named."""
    lines = ["settings of the run:"]
    for option in dataclasses.fields(Program):
        lines.append(f"  {option.name}={compact(option.default)}  {option.metadata['help']}")
    lines.append("settings of the environment (see ccenv.simulator.Simulator):")
    lines += [f"  {name}={compact(value)}" for name, value in setting_defaults().items()]
    lines.append("  reward_kwargs.cost_weight=0.5, weights_kwargs.learning_rate=0.01 and the like;")
    lines.append(
        "  context.cost_weight=[0.05,5] or context.budget=[0.1,0.5] drawn anew for each image;"
    )
    lines.append("  weights_kwargs.schedule_updates=run ends a cosine schedule with the run")
    if agent is not None:
        lines.append(f"settings of {agent}:")
        own, _ = agent_parameters(resolve(agent, AGENTS, "agent"))
        lines += [f"  {name}={value!r}" for name, value in own.items()]
    parser = argparse.ArgumentParser(
        prog="python -m runs.train",
        description="Trains one agent and judges it on test images.",
        epilog="\n".join(lines),
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
        help="leave policy and network in checkpoint/classifier.safetensors, see ccenv.export",
    )
    return parser


def whole_number(text: str) -> int:
    """Reads a number of images.

    Raises:
        ArgumentTypeError: if it is no whole number of at least 0.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains one agent; see --help."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        parser = make_parser(next((a for a in given if not a.startswith("-")), None))
        options = parser.parse_intermixed_args(given)
        plan = make_plan(
            options.agent, {"progress": not options.json} | parse_pairs(options.settings)
        )
    except ValueError as error:
        return refuse(error)
    try:
        how = Options(options.checkpoint_every, not options.anew, options.export)
        result = run(plan, wait=False, options=how)
    except (CannotStartError, BlockingIOError) as error:
        return refuse(error)
    print(json.dumps(result, indent=2) if options.json else summary(result))
    return 0


def refuse(error: Exception) -> int:
    """Says what was wrong with the input: exit status 2."""
    print(f"runs.train: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
