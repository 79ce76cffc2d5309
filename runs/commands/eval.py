"""A finished run judged again, on any split: ccenv eval RUN."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.data.registry import SPLITS
from ccenv.runs.commands.frame import print_json, program, takes_trust
from ccenv.runs.stats.measures import MODES
from ccenv.runs.tables.short_table import print_text
from ccenv.runs.tables.sweep_table import markdown

COLUMNS = {"masks": "left", "split": "left", "images": "right ,d", "error %": "right .2f"}
COLUMNS |= {"nll": "right .3f", "compute cost": "right .4f", "total cost": "right .4f"}
COLUMNS |= {"MACs": "right ,.0f", "density": "left"}


def cells(verdict: Mapping[str, Any]) -> list[Any]:
    """One line of the table."""
    numbers = [verdict[name] for name in ("nll", "compute_cost", "total_cost", "macs")]
    density = " ".join(f"{value:.2f}" for value in verdict["density"])
    first = [verdict["mode"], verdict["split"], verdict["num_images"], 100 * verdict["error"]]
    return [*first, *numbers, density]


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="ccenv eval",
        description="Judges a finished run again: its own weights, policy and seed.",
        allow_abbrev=False,
    )
    parser.add_argument("run", type=Path, help="a run's folder, as ccenv train says it")
    parser.add_argument("--split", choices=SPLITS, default="test", help="images; test by default")
    parser.add_argument(
        "--masks", choices=(*MODES, "both"), default="both", help="sampled, greedy (mode), or both"
    )
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON only")
    takes_trust(parser)
    return parser


@program("ccenv eval")
def main(arguments: Sequence[str] | None = None) -> int:
    """Judges a finished run again; see --help."""
    options = make_parser().parse_args(arguments)
    from ccenv.runs.replay.rebuilt import open_run
    from ccenv.runs.replay.replay import ask

    rebuilt = open_run(options.run, options.trust)
    draws = MODES if options.masks == "both" else (options.masks,)
    verdicts = [ask(rebuilt, draw, options.split).numbers() for draw in draws]
    if options.json:
        print_json(verdicts)
    else:
        print_text(markdown(COLUMNS, [cells(verdict) for verdict in verdicts]))
    return 0
