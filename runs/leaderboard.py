"""Validated runs to the leaderboard: python -m runs.leaderboard FOLDER --author NAME.

Every run below the folder is replayed (`runs.validate`); only if every row stands do its settings
enter `runs/results/leaderboard.json`, one row for all seeds of one setting, and its files
`runs/results/leaderboard/`, so that anybody can replay them. `python -m runs.tables README.md` then
makes the README's table of that file.
"""

import argparse
import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from runs import folder as run_folder
from runs.entries import keep_only, store
from runs.jobs import machine_name
from runs.page.statistics import mean_interval
from runs.report import interval, markdown
from runs.rows import MODES, dominated
from runs.validate import run_folders, table, validate

COLUMNS = {
    "data set": "left",
    "agent": "left",
    "reward": "left",
    "weights": "left",
    "masks": "left",
    "seeds": "right",
    "test error %": "right",
    "MACs": "right",
    "total cost": "right",
    "front": "left",
    "policy": "left",
    "s a run": "right",
    "machine": "left",
    "by": "left",
}
MIN_SEEDS = 3
TOLD_APART = ("env", "dataset", "agent", "settings", "masks")
"""What makes two rows the same entry: a later submission replaces an earlier one."""

Row = dict[str, Any]


def digest(folder: Path) -> str:
    """Hash of a run's files, so that whoever has them can tell which ones were replayed."""
    found = hashlib.sha256()
    names = (run_folder.AGENT, run_folder.NETWORK, run_folder.MASKS)
    checkpoint = [folder / run_folder.CHECKPOINT / name for name in names]
    for path in (folder / run_folder.CONFIG, folder / run_folder.RESULT, *checkpoint):
        found.update(path.read_bytes())
    return found.hexdigest()[:24]


def submission(root: Path, author: str) -> tuple[list[Row], str]:
    """Validates all runs below a folder.

    Returns:
        Rows of the leaderboard, and the table of what was checked.

    Raises:
        ValueError: if a row does not stand, an agent looks at labels, or seeds are too few.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    verdicts = []
    for folder in run_folders(root):
        checked = validate(folder)
        verdicts += checked
        if all(verdict.is_valid for verdict in checked):
            result = run_folder.check_json(folder / run_folder.RESULT)
            for verdict in checked:
                one = {"result": result, "digest": digest(folder), **asdict(verdict)}
                groups.setdefault((folder.parent.name, verdict.masks), []).append(one)
    checked_table = table(verdicts)
    if not all(verdict.is_valid for verdict in verdicts):
        raise ValueError(f"{checked_table}\n\nexpected every row to stand; nothing was written")
    rows = [make_row(settings, masks, found, author) for (settings, masks), found in groups.items()]
    return rows, checked_table


def make_row(settings: str, masks: str, runs: Sequence[Mapping[str, Any]], author: str) -> Row:
    """One row from the replayed figures of all seeds of a setting.

    Raises:
        ValueError: if the agent is a ceiling, or there are fewer than `MIN_SEEDS` seeds.
    """
    first = runs[0]["result"]
    seeds = sorted(run["result"]["seed"] for run in runs)
    if first["uses_labels"]:
        raise ValueError(f"expected a policy, got {first['agent']}, which looks at the true label")
    if len(set(seeds)) < MIN_SEEDS:
        raise ValueError(
            f"expected at least {MIN_SEEDS} seeds of {first['agent']} with settings {settings}, "
            f"got {seeds}; run more"
        )
    environment = first["settings"]["environment"]
    return {
        "env": first["env"],
        "dataset": environment["dataset"],
        "agent": first["agent"],
        "shaping": first["reward"],
        "weights": environment["weights"],
        "settings": settings,
        "masks": masks,
        "seeds": seeds,
        "error": asdict(mean_interval([run["found"]["error"] for run in runs])),
        "macs": asdict(mean_interval([run["found"]["macs"] for run in runs])),
        "total_cost": asdict(mean_interval([run["found"]["total_cost"] for run in runs])),
        "policy": "replayed" if all(r["policy"] == "replayed" for r in runs) else "masks only",
        "seconds": float(np.mean([run["result"]["total_seconds"] for run in runs])),
        "machine": machine_name(first["machine"]),
        "author": author,
        "digests": [run["digest"] for run in runs],
    }


def merge(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """Old rows without those that the new ones replace, sorted by data set and error."""
    rows = {tuple(row[name] for name in TOLD_APART): row for row in (*old, *new)}
    return sorted(rows.values(), key=lambda row: (row["dataset"], row["error"]["mean"]))


def leaderboard_table(rows: Sequence[Row]) -> str:
    """Rows in Markdown; the front (*) is that of each data set."""
    return markdown(COLUMNS, [cells(row, rows) for row in rows])


def cells(row: Row, rows: Sequence[Row]) -> list[str]:
    """One line of the leaderboard."""
    rivals = [point(other) for other in rows if other["dataset"] == row["dataset"]]
    return [
        row["dataset"],
        row["agent"],
        row["shaping"],
        row["weights"],
        row["masks"],
        str(len(row["seeds"])),
        f"{interval(row, 'error'):±.2%}",
        f"{row['macs']['mean']:,.0f}",
        f"{row['total_cost']['mean']:.3f}",
        "" if dominated(point(row), rivals) else "*",
        row["policy"],
        f"{row['seconds']:,.0f}",
        row["machine"],
        row["author"],
    ]


def point(row: Row) -> tuple[float, float]:
    """MACs and error."""
    return row["macs"]["mean"], row["error"]["mean"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Validates runs and enters them in the leaderboard; see --help."""
    parser = argparse.ArgumentParser(prog="python -m runs.leaderboard", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="a folder with runs of at least 3 seeds")
    parser.add_argument("--author", required=True, help="whose runs they are")
    parser.add_argument("--masks", choices=MODES, default="sampled", help="which evaluation")
    parser.add_argument("--results-dir", type=Path, default=Path("runs/results"))
    options = parser.parse_args(arguments)
    path = options.results_dir / "leaderboard.json"
    try:
        rows, checked = submission(options.folder, options.author)
        old = run_folder.check_json(path)["rows"] if path.exists() else []
    except (ValueError, OSError) as error:
        print(f"runs.leaderboard: {error}", file=sys.stderr)
        return 2
    rows = merge(old, [row for row in rows if row["masks"] == options.masks])
    place = options.results_dir / "leaderboard"
    for folder in run_folders(options.folder):
        store(folder, place)
    keep_only((row["settings"] for row in rows), place)
    run_folder.write_json(path, {"kind": "leaderboard", "name": "leaderboard", "rows": rows})
    print(f"{checked}\n\n{leaderboard_table(rows)}\n\nwritten to {path} and {place}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
