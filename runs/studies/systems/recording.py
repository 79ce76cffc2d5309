"""Records of what is measured beside the sweep: (rows as they come, settings) -> a sealed file."""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ccenv.runs.store import folder as run_folder
from ccenv.runs.store import json_file
from ccenv.runs.store.machine import machine, versions


def record(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    name: str,
    rows: Iterable[Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> int:
    """Writes NAME.json into the folder that the command names; rows are told as they come.

    Args:
        parser: of the command, to which the folder is added.
        arguments: of the command.
        name: kind and name of the result.
        rows: made one by one, on one thread.
        settings: what they were made with.

    Returns:
        0.
    """
    parser.add_argument("--results-dir", type=Path, default=Path("runs/results"))
    options = parser.parse_args(arguments)
    run_folder.check_writable(options.results_dir)
    torch.set_num_threads(1)
    found = []
    for row in rows:
        found.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    head = {"kind": name, "name": name, "settings": settings}
    content = {**head, "versions": versions(), "machine": machine(), "rows": found}
    path = options.results_dir / f"{name}.json"
    json_file.write_sealed(path, content)
    print(path)
    return 0
