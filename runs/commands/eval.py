"""A finished run evaluated again, on any split: ccenv eval RUN."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ccenv.base.mask_words import BOTH, EITHER, SHOWN, deterministic_of
from ccenv.data.registry import SPLITS
from ccenv.runs.commands.frame import Parser, print_json, program, takes_trust
from ccenv.runs.tables.short_table import print_text
from ccenv.runs.tables.sweep_table import Columns, markdown, read_columns

COLUMNS: Columns = {
    "masks": ("left", lambda one: SHOWN[one["mode"]]),
    "split": ("left", "split"),
    "images": ("right ,d", "num_images"),
    "error %": ("right .2f", lambda one: 100 * one["error"]),
    "nll": ("right .3f", "nll"),
    "compute cost": ("right .4f", "compute_cost"),
    "total cost": ("right .4f", "total_cost"),
    "MACs": ("right ,.0f", "macs"),
    "density": ("left", lambda one: " ".join(f"{value:.2f}" for value in one["density"])),
}


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(
        prog="ccenv eval",
        description="Evaluates a finished run again: its own weights, policy and seed.",
    )
    parser.add_argument("run", type=Path, help="a run's folder, as ccenv train says it")
    parser.add_argument("--split", choices=SPLITS, default="test", help="images; test by default")
    parser.add_argument(
        "--masks", choices=(*EITHER, "both"), default="both", help="sampled, greedy, or both"
    )
    parser.add_argument("--json", action="store_true", help="print the evaluations as JSON only")
    takes_trust(parser)
    return parser


@program("ccenv eval")
def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluates a finished run again; see --help."""
    options = make_parser().parse_args(arguments)
    from ccenv.runs.replay.rebuilt import open_run
    from ccenv.runs.replay.replay import ask

    rebuilt = open_run(options.run, options.trust)
    kinds = BOTH if options.masks == "both" else (bool(deterministic_of(options.masks)),)
    evaluations = [ask(rebuilt, greedy, options.split).numbers() for greedy in kinds]
    if options.json:
        print_json(evaluations)
    else:
        print_text(markdown(*read_columns(COLUMNS, evaluations)))
    return 0
