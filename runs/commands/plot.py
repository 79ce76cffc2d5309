"""Finished runs to their page, with curves, front and tables: ccenv plot FOLDER ..."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ccenv.runs.commands.frame import positive, program
from ccenv.runs.config.plan import safe_name
from ccenv.runs.engine.collect_runs import gather_folders
from ccenv.runs.engine.run_jobs import say
from ccenv.runs.report.board import serve_board
from ccenv.runs.report.over_seeds import write_sweep
from ccenv.runs.report.publish import PAGE, publish
from ccenv.runs.stats.measures import MODES


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="ccenv plot",
        description="Draws finished runs: page, curves and front (PNG, SVG), tables (CSV); or "
        "serves their TensorBoard.",
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
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="serve TensorBoard instead, runs named by what differs between them and the seed",
    )
    parser.add_argument("--port", type=positive, help="of TensorBoard; 6006 or the next free one")
    return parser


@program("ccenv plot")
def main(arguments: Sequence[str] | None = None) -> int:
    """Draws finished runs; see --help."""
    options = make_parser().parse_args(arguments)
    if options.tensorboard:
        if len(options.folders) > 1:
            raise ValueError(
                f"expected one folder with --tensorboard, got {len(options.folders)}; "
                "name one that holds them all"
            )
        serve_board(options.folders[0], options.port)
        return 0
    found = gather_folders(options.folders, options.name, options.masks)
    report = Path(options.out) / safe_name(options.name)
    print(publish(found, report))
    say(f"report: {report / PAGE} (tables and plots beside it)")
    if options.board:
        say(f"means over seeds: tensorboard --logdir {write_sweep(found, options.board)}")
    return 0
