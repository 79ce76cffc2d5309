"""Times that were measured in turns, as they were recorded: (folder of results, sweep) -> times."""

import statistics
from pathlib import Path

from ccenv.runs.stats.points import Times
from ccenv.runs.stats.results import MODES
from ccenv.runs.store import json_file


def times_path(results_dir: Path, sweep: str) -> Path:
    """Where a sweep's times are recorded."""
    return results_dir / f"{sweep}-times.json"


def recorded_times(path: Path, draw: str) -> dict[str, dict[int, dict[int, float]]] | None:
    """Label -> images of a pass -> median milliseconds by seed; None where nothing is recorded.

    Rows that were timed with fresh weights have seed 0. Rounds are shared by all rows: what else
    the machine did then slowed all of them.

    Args:
        path: see `times_path`.
        draw: "sampled" or "mode".

    Raises:
        ValueError: if the file was edited by hand.
    """
    if not path.exists():
        return None
    found: dict[str, dict[int, dict[int, float]]] = {}
    for row in json_file.check_json(path)["rows"]:
        if row["masks"] == draw:
            middle = statistics.median(row["milliseconds"])
            by_seed = found.setdefault(row["label"], {}).setdefault(int(row["batch_size"]), {})
            by_seed[int(row.get("seed", 0))] = middle
    return found


def times_in(results_dir: Path, sweep: str) -> dict[str, Times | None]:
    """Masks -> times of a sweep's rows, None where there are none."""
    path = times_path(results_dir, sweep)
    return {draw: recorded_times(path, draw) for draw in MODES}
