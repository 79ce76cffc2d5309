"""What commands left behind, without what a clock says: a folder -> names and values to compare."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ccenv.base.checked_file import read_checked
from ccenv.base.files import arrays_digest
from ccenv.runs.report.over_seeds import WRITTEN
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store import json_file
from ccenv.runs.store.seal import SEAL, check_seal

CLOCKED = ("seconds", "total_seconds", "latency", "load", "date", "speedup", "commit", SEAL)
"""Entries of results and rows that depend on the moment, a commit meanwhile among them."""
EVENTS = "events.out.tfevents.*"


def left(folder: Path) -> dict[str, Any]:
    """Everything below a folder of runs: results, every tensor, every point of every curve.

    Returns:
        By the file's path in the folder and the entry's name; equal for equal runs.
    """
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.name == run_folder.RESULT:
            result = check_seal(json_file.check_json(path), str(path))
            found |= {f"{name} {key}": value for key, value in without_clock(result).items()}
        elif path.suffix == ".safetensors":
            tensors, texts, _ = read_checked(path)
            found |= {f"{name} {key}": arrays_digest({key: tensors[key]}, {}) for key in tensors}
            found |= {f"{name} texts": texts}
        elif path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
            # What a sweep's curves were made of: a hash of them, and a table with measured speeds.
            found[name] = content["curves"] if path.name == WRITTEN else content
    for place in sorted({path.parent for path in folder.rglob(EVENTS)}):
        name = place.relative_to(folder).as_posix()
        found |= {f"{name} curve {tag}": points for tag, points in curves(place)}
    return found


def without_clock(content: dict[str, Any]) -> dict[str, Any]:
    """A result or a row without times."""
    return {name: value for name, value in content.items() if name not in CLOCKED}


def curves(folder: Path) -> Iterator[tuple[str, list[Any]]]:
    """Every scalar and histogram of a run's event files: its tag, and (step, value) of each point.

    Of a histogram the value is its sum and its counts. Speeds are left out.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0})
    tags = events.Reload().Tags()
    for tag in tags["scalars"]:
        if tag.startswith("time/"):
            continue
        yield tag, [(point.step, point.value) for point in events.Scalars(tag)]
    for tag in tags["histograms"]:
        values = [(point.step, point.histogram_value) for point in events.Histograms(tag)]
        yield tag, [(step, value.sum, tuple(value.bucket)) for step, value in values]


def apart(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names whose values differ, or that only one of two has."""
    missing = object()
    names = sorted(one.keys() | other.keys())
    return [name for name in names if one.get(name, missing) != other.get(name, missing)]
