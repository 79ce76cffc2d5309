"""Single inputs on their way through a trained network: ccenv inspect RUN [OTHER RUN]."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ccenv.base.files import write_whole
from ccenv.base.mask_words import EITHER, deterministic_of, kind_in_words
from ccenv.runs.commands.frame import Parser, program, takes_trust
from ccenv.runs.engine.collect_runs import row_labels, settings_of

if TYPE_CHECKING:
    from ccenv.runs.replay.rebuilt import Rebuilt

PAGE = "inputs.html"


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(
        prog="ccenv inspect",
        description="Writes a page of single test inputs: gates, blocks, cost, logits; blocks can "
        "be switched by hand where the network is small and fully connected.",
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="one run's folder, or two"
    )
    parser.add_argument("--out", type=Path, help=f"the page; {PAGE} in the first run's folder")
    parser.add_argument(
        "--masks",
        choices=EITHER,
        default=kind_in_words(True),
        help="greedy masks, or sampled ones",
    )
    takes_trust(parser)
    return parser


def run_names(runs: "Sequence[Rebuilt]") -> list[str]:
    """What runs are called: their agents, with what tells two of one agent apart."""
    plans = [run.plan for run in runs]
    names = row_labels([(plan.agent, settings_of({"settings": plan.config()})) for plan in plans])
    if len(set(names)) < len(names):
        names = [f"{name}, seed {p.program.seed}" for name, p in zip(names, plans, strict=True)]
    if len(set(names)) < len(names):
        names = [f"{name} ({number})" for number, name in enumerate(names, start=1)]
    return names


@program("ccenv inspect")
def main(arguments: Sequence[str] | None = None) -> int:
    """Writes a page of single inputs; see --help."""
    options = make_parser().parse_args(arguments)
    folders = [folder.resolve() for folder in options.runs]
    if len(folders) > 2 or len(set(folders)) < len(folders):
        raise ValueError(f"expected one run or two different ones, got {len(folders)}")
    from ccenv.runs.engine.errors import say
    from ccenv.runs.replay.rebuilt import open_run
    from ccenv.runs.report.inputs import view_of
    from ccenv.runs.report.publish import input_page

    opened = [open_run(folder, options.trust) for folder in options.runs]
    view = view_of(
        dict(zip(run_names(opened), opened, strict=True)), bool(deterministic_of(options.masks))
    )
    target = options.out or options.runs[0] / PAGE
    write_whole(target, input_page(view))
    for agent in view["agents"]:
        if agent["why"]:
            say(f"{agent['name']}: {agent['why']}")
    print(target)
    return 0
