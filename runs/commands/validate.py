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
from ccenv.runs.tables.sweep_table import markdown

BASES = (RECOMPUTED, CHECKED, WORD)
COLUMNS = {"run": "left", "masks": "left", "test error %": "right", "MACs": "right"}
COLUMNS |= {"total cost": "right", "density": "left", "mean return": "right", "policy": "left"}
COLUMNS |= dict.fromkeys((*BASES, "verdict"), "left")


def row_cells(verdict: Checked) -> list[str]:
    """One line: what was found, what is taken on trust, and what does not stand."""
    found = verdict.found
    numbers = [""] * 5
    if found:
        numbers = [
            f"{100 * found['error']:.2f}",
            f"{found['macs']:,.0f}",
            f"{found['total_cost']:.3f}",
            " ".join(f"{value:.2f}" for value in found["density"]),
            f"{found['mean_return']:.3f}" if "mean_return" in found else "not recomputed",
        ]
    by_basis = [
        ", ".join(name for name, value in verdict.basis.items() if value == kind) for kind in BASES
    ]
    answer = "✅" if verdict.is_valid else f"❌ {'; '.join(verdict.problems)}"
    name = "/".join(Path(verdict.folder).parts[-NAMED:])
    return [name, verdict.draw, *numbers, verdict.policy, *by_basis, answer]


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

    from ccenv.runs.replay.verdicts import refuse_copies, validate

    folders = run_folders(options.folder)
    bar = tqdm(folders, unit="run", disable=None)
    rows = [one for folder in bar for one in validate(folder, options.trust)]
    verdicts = refuse_copies(rows)
    if options.json:
        print_json([vars(verdict) | {"valid": verdict.is_valid} for verdict in verdicts])
    else:
        table = markdown(COLUMNS, [row_cells(verdict) for verdict in verdicts])
        print_text(f"{table}\n\n{conclusion(verdicts)}")
    return 0 if all(verdict.is_valid for verdict in verdicts) else 1
