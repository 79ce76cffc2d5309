"""A record of what was measured: (its kind, rows) -> a sealed file that says where and by what."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.runs.store.json_file import write_sealed
from ccenv.runs.store.provenance import machine, versions


def record_rows(path: Path, kind: str, rows: Sequence[Mapping[str, Any]], **place: Any) -> None:
    """Writes rows with the machine and the versions that made them.

    Args:
        path: of the JSON file.
        kind: by which `python -m ccenv.runs.lab tables` knows what table it is.
        rows: names to numbers and texts.
        **place: what else is said of the machine, such as its load.
    """
    head = {"kind": kind, "rows": rows, "machine": machine() | place, "versions": versions()}
    write_sealed(path, head)
