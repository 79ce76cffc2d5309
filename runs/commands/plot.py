"""Finished runs to their page, with curves, front and tables: ccenv plot FOLDER ..."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ccenv.runs.commands.frame import program
from ccenv.runs.config.plan import safe_name
from ccenv.runs.engine.collect_runs import gather_folders
from ccenv.runs.engine.run_jobs import say
from ccenv.runs.report.over_seeds import write_sweep
from ccenv.runs.report.publish import PAGE, publish
from ccenv.runs.stats.measures import MODES


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="ccenv plot",
        description="Draws finished runs: page, curves and front (PNG, SVG), tables (CSV).",
        allow_abbrev=False,
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="with runs below")
    parser.add_argument("--name", default="plot", help="of the report; plot by default")
    parser.add_argument("--out", default="runs/reports", help="folder of tables and plots")
    parser.add_argument(
        "--masks", choices=MODES, default="sampled", help="masks drawn, or the most probable ones"
    )
    parser.add_argument(
        "--board", metavar="FOLDER", help="also write means over seeds for TensorBoard below it"
    )
    return parser


@program("ccenv plot")
def main(arguments: Sequence[str] | None = None) -> int:
    """Draws finished runs; see --help."""
    options = make_parser().parse_args(arguments)
    found = gather_folders(options.folders, options.name, options.masks)
    report = Path(options.out) / safe_name(options.name)
    print(publish(found, report))
    say(f"report: {report / PAGE} (tables and plots beside it)")
    if options.board:
        say(f"means over seeds: tensorboard --logdir {write_sweep(found, options.board)}")
    return 0
