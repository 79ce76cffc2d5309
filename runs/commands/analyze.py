"""Analyses of networks and finished runs: ccenv analyze leaks, gates or retrieval."""

import argparse
from collections.abc import Sequence

from ccenv.runs.commands import gates, leaks, retrieval
from ccenv.runs.commands.frame import program


def make_parser() -> argparse.ArgumentParser:
    """The command line: a word for each analysis."""
    parser = argparse.ArgumentParser(prog="ccenv analyze", description=__doc__, allow_abbrev=False)
    analyses = parser.add_subparsers(required=True, metavar="ANALYSIS")
    for module in (leaks, gates, retrieval):
        module.add_to(analyses)
    return parser


@program("ccenv analyze", (ValueError, ImportError))
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the analysis that the first word names; see --help."""
    options = make_parser().parse_args(arguments)
    return int(options.analyze(options))
