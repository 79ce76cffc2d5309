"""Which gates of a network matter: ccenv analyze gates key=value ... -> a table.

How it is measured: `ccenv.runs.analysis.gate_sweep`.
"""

import argparse
from collections.abc import Sequence

from ccenv.runs.analysis.settings import UNUSED, AnalysisSettings
from ccenv.runs.commands.frame import Parser, print_json, program
from ccenv.runs.config.agent_settings import fields_help
from ccenv.runs.config.values import compact, parse_pairs
from ccenv.runs.tables.analysis import GATE_NOTES, gate_table
from ccenv.runs.tables.short_table import print_text
from ccenv.simulator.settings import EXTENSIONS, EnvironmentSettings


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(
        prog="ccenv analyze",
        description="Error, nll and cost of a frozen network without each of its gates.",
        epilog="\n".join(analysis_help()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("analysis", choices=("gates",), help="what is analyzed")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="see below")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON only")
    return parser


def analysis_help() -> list[str]:
    """Every setting of a frozen network's analysis, with its default and its meaning."""
    return [
        "settings of the program:",
        *fields_help(AnalysisSettings),
        "settings of the environment (see ccenv.simulator.settings.EnvironmentSettings):",
        *fields_help(EnvironmentSettings, (*UNUSED, *EXTENSIONS)),
    ]


@program("ccenv analyze", (ValueError, ImportError))
def main(arguments: Sequence[str] | None = None) -> int:
    """Leaves out each gate in turn; see --help."""
    options = make_parser().parse_intermixed_args(arguments)
    from ccenv.runs.analysis.gate_sweep import sweep_gates

    result = sweep_gates(parse_pairs(options.settings), progress=not options.json)
    if options.json:
        print_json(result)
        return 0
    settings = ", ".join(f"{k}={compact(v)}" for k, v in result["settings"].items()) or "defaults"
    head = (
        f"{settings}: {result['answers']:,} answers for {result['inputs']:,} inputs "
        f"({result['split']}), dense {result['dense_macs']:,} MACs"
    )
    print_text(f"{head}\n\n{gate_table(result['rows'])}\n\n{GATE_NOTES}")
    return 0
