"""What a run trained with --export left: (folder or file) -> its file, and its data set."""

from collections.abc import Sequence
from pathlib import Path

from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.stored import stored_file, stored_object
from ccenv.runs.store.trust import check_trusted

EXPORTED = "classifier.safetensors"


def exported_file(place: Path) -> Path:
    """The file of an exported classifier, of a run's folder its own.

    Raises:
        ValueError: if the run left none, or a link instead.
    """
    path = place / run_folder.CHECKPOINT / EXPORTED if place.is_dir() else place
    if not path.is_file():
        raise ValueError(f"expected {path}; train with --export, which leaves it")
    return stored_file(place, run_folder.CHECKPOINT, EXPORTED) if place.is_dir() else path


def dataset_of(path: Path, trusted: Sequence[str] = ()) -> str:
    """The data set of the run that a file lies in.

    Args:
        path: see `exported_file`.
        trusted: modules of the reader's own that the run may name, see `ccenv.base.trust`.

    Raises:
        ValueError: if it lies in none, or the run names code that is not trusted.
    """
    run = path.parent.parent
    if not (run / run_folder.CONFIG).is_file():
        raise ValueError(f"expected --dataset NAME: {path} lies in no run's folder")
    environment = stored_object(run, run_folder.CONFIG).get("environment")
    dataset = environment.get("dataset") if isinstance(environment, dict) else None
    if not isinstance(dataset, str):
        raise ValueError(
            f"expected a data set's name in {run / run_folder.CONFIG}, got {dataset!r}; name it: "
            "--dataset NAME"
        )
    check_trusted({"dataset": dataset}, trusted)
    return dataset
