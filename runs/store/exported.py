"""What a run trained with --export left: (folder or file) -> its file, and its data set."""

import json
from pathlib import Path

from ccenv.runs.store import folder as run_folder

EXPORTED = "classifier.safetensors"


def exported_file(place: Path) -> Path:
    """The file of an exported classifier, of a run's folder its own.

    Raises:
        ValueError: if the run left none.
    """
    path = place / run_folder.CHECKPOINT / EXPORTED if place.is_dir() else place
    if not path.is_file():
        raise ValueError(f"expected {path}; train with --export, which leaves it")
    return path


def dataset_of(path: Path) -> str:
    """The data set of the run that a file lies in.

    Raises:
        ValueError: if it lies in none.
    """
    config = path.parent.parent / run_folder.CONFIG
    if not config.is_file():
        raise ValueError(f"expected --dataset NAME: {path} lies in no run's folder")
    return str(json.loads(config.read_text(encoding="utf-8"))["environment"]["dataset"])
