"""Recall of winner-take-all tables over memory: ccenv analyze retrieval network=... -> a table.

What the agent `wta_retrieval` would find on a frozen network, see `ccenv.runs.analysis.recalls`.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path

import torch

from ccenv.runs.analysis.recalls import Recall, recalls
from ccenv.runs.commands.gates import read_settings, settings_help
from ccenv.runs.config.values import parse_pairs
from ccenv.runs.store import folder as run_folder
from ccenv.runs.tables.recall_figure import recall_figure
from ccenv.runs.tables.sweep_table import markdown
from ccenv.simulator.simulator import Simulator

COLUMNS = {"gate": "left", "tables": "right", "probes": "right", "numbers in tables": "right ,.0f"}
COLUMNS |= {"recall": "right .3f", "retrieved": "right .3f"}
NOTES = """\
Recall: share of the quarter of blocks whose keys have the largest product with an input. Retrieved:
share of all blocks that are found; whoever takes that share by chance has the same recall."""
TABLES, PROBES = (1, 2, 4, 8, 16, 32), (1, 4, 16)


def measured(words: Sequence[str]) -> list[Recall]:
    """Recall of all sizes on the network that settings say.

    Raises:
        ValueError: if a setting is wrong.
    """
    own, environment = read_settings(parse_pairs(list(words)))
    torch.set_num_threads(own.threads)
    simulator = Simulator(1, split=own.split, **environment)
    sizes = list(product(TABLES, PROBES))
    return recalls(simulator, sizes, images=own.images, seed=own.seed)


def add_to(analyses: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the analysis to the words of `ccenv analyze`."""
    parser = analyses.add_parser(
        "retrieval",
        help="recall of winner-take-all tables over their memory",
        description="Recall of winner-take-all tables on a frozen network, over their memory.",
        epilog="\n".join(settings_help()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="see below")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON only")
    parser.add_argument("--figure", type=Path, help="a PNG file for the first gate's curves")
    parser.set_defaults(analyze=analyze)


def analyze(options: argparse.Namespace) -> int:
    """Prints recall over memory, and draws it where asked; returns the exit status."""
    if options.figure is not None:
        run_folder.check_writable(options.figure.parent)
    rows = [asdict(row) for row in measured(options.settings)]
    if options.figure is not None:
        options.figure.parent.mkdir(parents=True, exist_ok=True)
        first = [row for row in rows if row["gate"] == rows[0]["gate"]]
        options.figure.write_bytes(recall_figure(first).png)
    lines = [list(row.values()) for row in rows]
    print(json.dumps(rows, indent=2) if options.json else f"{markdown(COLUMNS, lines)}\n\n{NOTES}")
    return 0
