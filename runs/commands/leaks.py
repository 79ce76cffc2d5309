"""What the choice of blocks gives away: ccenv analyze leaks FOLDER -> how well labels are guessed.

Learned selection is a side channel: see `ccenv.runs.analysis.leaks`, and
`ccenv.simulator.oblivious` for what closes it at the size of blocks, and at which price.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from ccenv.runs.analysis.leaks import LeakOfRun, leaks_of_run
from ccenv.runs.commands.frame import takes_trust
from ccenv.runs.replay.verdict import NAMED
from ccenv.runs.replay.verdicts import run_folders
from ccenv.runs.store import json_file
from ccenv.runs.tables.sweep_table import markdown

COLUMNS = {"agent": "left", "run": "left", "masks": "left", "error %": "right .2f"}
COLUMNS |= {"total cost": "right .3f", "label guessed %": "right", "chance %": "right .1f"}
COLUMNS |= {"tells": "left"}
NOTES = """\
Label guessed: by an affine map on which blocks were touched, learned on half of the test inputs,
tried on the other half; with Wilson's 95 % interval. Chance: always the commonest label of that
half. What such a map does not find may be there all the same; nothing here claims security."""


def cells(row: LeakOfRun) -> list[object]:
    """One line of the table."""
    leak = row.leak
    return [
        row.agent,
        "/".join(Path(row.folder).parts[-NAMED:]),
        row.draw,
        100 * row.error,
        row.total_cost,
        f"{100 * leak.accuracy:.1f} [{100 * leak.low:.1f}, {100 * leak.high:.1f}]",
        100 * leak.chance,
        "the label" if leak.tells else "nothing found",
    ]


def add_to(analyses: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the analysis to the words of `ccenv analyze`."""
    parser = analyses.add_parser(
        "leaks",
        help="labels of test inputs, guessed from the blocks that finished runs touched",
        description="Guesses labels of test inputs from the blocks that finished runs touched.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", type=Path, help="a run's folder, or one with runs below it")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON only")
    parser.add_argument(
        "--oblivious",
        action="store_true",
        help="also rebuild each policy and judge it where all inputs leave one trace",
    )
    takes_trust(parser, "runs name")
    parser.set_defaults(analyze=analyze)


def analyze(options: argparse.Namespace) -> int:
    """Prints how well labels are guessed; returns the exit status."""
    folders = run_folders(options.folder)
    rows, refused = [], 0
    for folder in tqdm(folders, unit="run", disable=options.json):
        try:
            rows += leaks_of_run(folder, options.trust, oblivious=options.oblivious)
        except ValueError as error:
            refused += 1
            print(f"ccenv analyze: not read: {folder}: {error}", file=sys.stderr)
    if options.json:
        shown = [asdict(row) | {"tells": row.leak.tells} for row in rows]
        print(json.dumps(json_file.finite(shown), indent=2))
    else:
        print(f"{markdown(COLUMNS, [cells(row) for row in rows])}\n\n{NOTES}")
    return 1 if refused else 0
