"""Analyses of networks and finished runs: ccenv analyze leaks, gates or retrieval.

What each finds, and how: `ccenv.runs.analysis`. The setting `oblivious` closes what `leaks` finds,
and says at which cost weight.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path

from ccenv.base.files import write_whole
from ccenv.runs.analysis.settings import UNUSED, AnalysisSettings, read_analysis
from ccenv.runs.commands.frame import print_json, program, takes_trust
from ccenv.runs.config.agent_settings import fields_help
from ccenv.runs.config.values import compact, parse_pairs
from ccenv.runs.replay.verdict import NAMED
from ccenv.runs.store import folder as run_folder
from ccenv.runs.tables.analysis import GATE_NOTES, gate_table, recall_figure
from ccenv.runs.tables.short_table import print_text
from ccenv.runs.tables.sweep_table import formatted
from ccenv.simulator.settings import EXTENSIONS, EnvironmentSettings

LEAK_COLUMNS = {
    "agent": "<{agent}",
    "run": "<{run}",
    "masks": "<{draw}",
    "error %": ">{error!p:.2f}",
    "total cost": ">{total_cost:.3f}",
    "label guessed %": ">{leak[accuracy]!p:.1f} [{leak[low]!p:.1f}, {leak[high]!p:.1f}]",
    "chance %": ">{leak[chance]!p:.1f}",
    "tells": "<{finding}",
}
LEAK_NOTES = """\
Label guessed: by an affine map on which blocks were touched, learned on half of the test inputs,
tried on the other half; with Wilson's 95 % interval. Chance: always the commonest label of that
half. What such a map does not find may be there all the same; nothing here claims security."""
RECALL_COLUMNS = {
    "gate": "<{gate}",
    "tables": ">{tables}",
    "probes": ">{probes}",
    "numbers in tables": ">{entries:,.0f}",
    "recall": ">{recall:.3f}",
    "retrieved": ">{retrieved:.3f}",
}
RECALL_NOTES = """\
Recall: share of the quarter of blocks whose keys have the largest product with an input. Retrieved:
share of all blocks that are found; blocks taken by chance, as many, have the same recall."""
TABLES, PROBES = (1, 2, 4, 8, 16, 32), (1, 4, 16)


def analyze_leaks(options: argparse.Namespace) -> int:
    """Guesses labels from the blocks that runs touched; 1 where a run cannot be read."""
    from tqdm import tqdm

    from ccenv.runs.analysis.leaks import leaks_of_run

    rows, refused = [], 0
    for folder in tqdm(
        run_folder.run_folders(options.folder), unit="run", disable=options.json or None
    ):
        try:
            rows += leaks_of_run(folder, options.trust, oblivious=options.oblivious)
        except ValueError as error:
            refused += 1
            print(f"ccenv analyze: not read: {folder}: {error}", file=sys.stderr)
    found = [asdict(row) | {"tells": row.leak.tells} for row in rows]
    if options.json:
        print_json(found)
    else:
        for one in found:
            one["run"] = "/".join(Path(one["folder"]).parts[-NAMED:])
            one["finding"] = "the label" if one["tells"] else "nothing found"
        print_text(f"{formatted(LEAK_COLUMNS, found)}\n\n{LEAK_NOTES}")
    return 1 if refused else 0


def analyze_gates(options: argparse.Namespace) -> int:
    """Leaves out each gate in turn."""
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


def analyze_retrieval(options: argparse.Namespace) -> int:
    """Measures recall over memory on the network that settings name, and draws it where asked."""
    import torch

    from ccenv.runs.analysis.recalls import recalls
    from ccenv.simulator.simulator import Simulator

    if options.figure is not None:
        run_folder.check_writable(options.figure.parent)
    settings, environment = read_analysis(parse_pairs(options.settings))
    torch.set_num_threads(settings.threads)
    simulator = Simulator(1, split=settings.split, **environment)
    sizes = list(product(TABLES, PROBES))
    measured = recalls(simulator, sizes, images=settings.images, seed=settings.seed)
    rows = [asdict(row) for row in measured]
    if options.figure is not None:
        first = [row for row in rows if row["gate"] == rows[0]["gate"]]
        write_whole(options.figure, recall_figure(first).png)
    if options.json:
        print_json(rows)
    else:
        print_text(f"{formatted(RECALL_COLUMNS, rows)}\n\n{RECALL_NOTES}")
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The command line: a word for each analysis."""
    parser = argparse.ArgumentParser(prog="ccenv analyze", description=__doc__, allow_abbrev=False)
    analyses = parser.add_subparsers(required=True, metavar="ANALYSIS")

    def add(
        name: str, about: str, run: Callable[[argparse.Namespace], int], takes_settings: bool
    ) -> argparse.ArgumentParser:
        inner = analyses.add_parser(
            name,
            help=about,
            description=f"{about[0].upper()}{about[1:]}.",
            epilog="\n".join(analysis_help()) if takes_settings else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        inner.add_argument("--json", action="store_true", help="print the rows as JSON only")
        if takes_settings:
            inner.add_argument("settings", nargs="*", metavar="key=value", help="see below")
        inner.set_defaults(analyze=run)
        return inner

    about = "labels of test inputs, guessed from the blocks that finished runs touched"
    leaks = add("leaks", about, analyze_leaks, takes_settings=False)
    leaks.add_argument("folder", type=Path, help="a run's folder, or one with runs below it")
    leaks.add_argument(
        "--oblivious",
        action="store_true",
        help="also rebuild each policy and evaluate it where all inputs leave one trace",
    )
    takes_trust(leaks, "runs name")
    about = "error, nll and cost of a frozen network without each of its gates"
    add("gates", about, analyze_gates, takes_settings=True)
    about = "recall of winner-take-all tables on a frozen network, over their memory"
    retrieval = add("retrieval", about, analyze_retrieval, takes_settings=True)
    retrieval.add_argument("--figure", type=Path, help="a PNG file for the first gate's curves")
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
    """Runs the analysis that the first word names; see --help."""
    options = make_parser().parse_args(arguments)
    return int(options.analyze(options))
