"""Stored runs, checked row by row: ccenv validate FOLDER.

A row is one evaluation of one run, see `ccenv.runs.replay.verdicts`. Nothing is imported or called
because a file names it: see `ccenv.runs.store.untrusted_files`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ccenv.runs.commands.frame import Parser, print_json, program, takes_trust
from ccenv.runs.replay.verdict import CHECKED, NAMED, RECOMPUTED, WORD, Checked
from ccenv.runs.store.folder import run_folders
from ccenv.runs.tables.short_table import print_text
from ccenv.runs.tables.sweep_table import Columns, markdown, read_columns

COLUMNS: Columns = {
    "run": ("left", lambda row: name_of(row)),
    "masks": ("left", lambda row: row.draw),
    "test error %": ("right .2f", lambda row: 100 * row.found["error"] if row.found else None),
    "MACs": ("right ,.0f", lambda row: row.found.get("macs")),
    "total cost": ("right .3f", lambda row: row.found.get("total_cost")),
    "mean return": ("right .3f", lambda row: row.found.get("mean_return")),
    "policy": ("left", lambda row: row.policy),
    "stands": ("left", lambda row: "✅" if row.is_valid else "❌"),
}


def name_of(row: Checked) -> str:
    """The last parts of a folder's path."""
    return "/".join(Path(row.folder).parts[-NAMED:])


def basis_lines(rows: Sequence[Checked]) -> list[str]:
    """A line for what does not stand in a row, and one for each basis of figures."""
    problems = [
        f"- {name_of(row)} {row.draw}: {problem}" for row in rows for problem in row.problems
    ]
    figures = {
        kind: dict.fromkeys(
            name for row in rows for name, basis in row.basis.items() if basis == kind
        )
        for kind in (RECOMPUTED, CHECKED, WORD)
    }
    return problems + [f"- {kind}: {', '.join(names)}" for kind, names in figures.items() if names]


def conclusion(verdicts: Sequence[Checked]) -> str:
    """The last line: what stands, and what is the author's word in spite of it."""
    from ccenv.runs.replay.claims import BELIEVED

    valid = sum(verdict.is_valid for verdict in verdicts)
    counted = f"{valid} of {len(verdicts)} rows stand"
    if not valid:
        return counted
    believed = [
        about
        for name, about in BELIEVED.items()
        if any(verdict.basis.get(name) == WORD for verdict in verdicts)
    ]
    return (
        f"{counted}: errors, MACs and costs were recomputed from the stored weights and masks. "
        f"The author's word: {'; '.join([*believed, 'times and machine'])}."
    )


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(
        prog="ccenv validate",
        description="Replays stored masks on stored weights and recomputes every figure.",
    )
    parser.add_argument("folder", type=Path, help="a run's folder, or one with runs below it")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON only")
    takes_trust(parser, "runs name")
    return parser


@program("ccenv validate")
def main(arguments: Sequence[str] | None = None) -> int:
    """Replays stored masks on stored weights and recomputes every figure; see --help."""
    options = make_parser().parse_args(arguments)
    for module in options.trust:
        print(
            f"trusted: {module} (its code is imported and run if a run names it)", file=sys.stderr
        )
    from tqdm import tqdm

    from ccenv.runs.replay.same_training import refuse_copies
    from ccenv.runs.replay.verdicts import validate

    folders = run_folders(options.folder)
    bar = tqdm(folders, unit="run", disable=None)
    rows = [one for folder in bar for one in validate(folder, options.trust)]
    verdicts = refuse_copies(rows)
    if options.json:
        print_json([verdict.plain() | {"valid": verdict.is_valid} for verdict in verdicts])
    else:
        table, lines = markdown(*read_columns(COLUMNS, verdicts)), "\n".join(basis_lines(verdicts))
        print_text(f"{table}\n\n{lines}\n\n{conclusion(verdicts)}")
    return 0 if all(verdict.is_valid for verdict in verdicts) else 1
