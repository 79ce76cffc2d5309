"""Writes a page of finished runs: ccenv plot FOLDER ..."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ccenv.runs.commands.frame import Parser, program
from ccenv.runs.config.plan import safe_name
from ccenv.runs.engine.collect_runs import gather_folders
from ccenv.runs.store import PAGE, REPORTS
from ccenv.runs.store.recorded import results_folders
from ccenv.runs.tables.short_table import answer


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(
        prog="ccenv plot",
        description="Writes a page of finished runs, with figures (PNG, SVG) and tables (CSV).",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="with runs below")
    parser.add_argument("--name", default="plot", help="of the report; plot by default")
    parser.add_argument("--out", default=REPORTS, help="folder of tables and plots")
    parser.add_argument("--results-dir", type=Path, help="of recorded results")
    parser.add_argument(
        "--board", metavar="FOLDER", help="also write means over seeds for TensorBoard below it"
    )
    return parser


@program("ccenv plot")
def main(arguments: Sequence[str] | None = None) -> int:
    """Draws finished runs; see --help."""
    options = make_parser().parse_args(arguments)
    from ccenv.runs.engine.errors import say
    from ccenv.runs.report.over_seeds import write_sweep
    from ccenv.runs.report.publish import publish

    comparison = gather_folders(options.folders, options.name)
    folder, *_ = results_folders(options.results_dir)
    report = Path(options.out) / safe_name(options.name)
    print(
        answer(
            comparison.sweep.description,
            comparison.rows,
            comparison.sentences,
            comparison.shaping_tables,
        ),
        flush=True,
    )
    publish(comparison, report, folder)
    say(f"report: {report / PAGE} (tables and plots next to it)")
    if options.board:
        say(f"means over seeds: tensorboard --logdir {write_sweep(comparison, options.board)}")
    return 0
