"""Files of a stored run, read as untrusted input: no links, and see `ccenv.base.given_files`.

A folder from another person is data. Of the names in it only those of the project's own tables are
followed, and the reader's own modules if the reader allows it (`--trust my_module`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccenv.base.files import check_seal, edited
from ccenv.base.given_files import MOST_BYTES, check_plain_file, read_json
from ccenv.base.trust import check_named
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.result_form import check_result

if TYPE_CHECKING:
    from torch import Tensor

OF_ENVIRONMENT = {
    "dataset": "dataset",
    "network": "network",
    "reward": "reward",
    "activation": "activation",
    "observation": "observation",
    "transforms": "transform",
    "device": "device",
}
PLACES = {
    "agent": "agent",
    "env": "environment",
    "log_dir": "path",
    **OF_ENVIRONMENT,
    **{f"environment.{name}": kind for name, kind in OF_ENVIRONMENT.items()},
}
"""Settings that are names, alone or in their group -> their kind, see `ccenv.base.trust`."""


def check_trusted(settings: Any, trusted: Sequence[str] = ()) -> None:
    """Refuses settings that name code which is neither the project's nor trusted by the reader."""
    check_named(settings, PLACES, trusted)


MOST_STORED = 2**30
"""Bytes of a file in a run's folder; one that is larger is not read."""


def stored_file(folder: Path, *names: str) -> Path:
    """A file of a run's folder."""
    path = folder
    for name in names:
        path = path / name
        if path.is_symlink():
            raise ValueError(f"expected {path} to lie in the run's folder, got a link")
    check_plain_file(path, path.suffix, min(MOST_STORED, MOST_BYTES[path.suffix]))
    return path


def stored_object(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file of a run."""
    content = read_json(stored_file(folder, name))
    if not isinstance(content, dict):
        raise ValueError(f"expected an object in {folder / name}, got {type(content).__name__}")
    return content


def stored_result(folder: Path) -> dict[str, Any]:
    """The result of a finished run, as it was sealed."""
    where = str(folder / run_folder.RESULT)
    return check_result(check_seal(stored_object(folder, run_folder.RESULT), where), where)


def stored_config(folder: Path) -> dict[str, Any]:
    """Settings of a finished run, `config.json`, compared with those in its sealed result."""
    where = str(folder / run_folder.RESULT)
    result = check_seal(stored_object(folder, run_folder.RESULT), where)
    config = stored_object(folder, run_folder.CONFIG)
    if result.get("settings") != config:
        raise edited(str(folder / run_folder.CONFIG), f"the settings in {where}", "others")
    return config


def stored_tensors(folder: Path, name: str) -> dict[str, "Tensor"]:
    """Tensors of a checkpoint."""
    from ccenv.base.checked_file import read_checked

    path = stored_file(folder, run_folder.CHECKPOINT, name)
    try:
        tensors, _ = read_checked(path)
    except OSError as error:
        raise ValueError(f"expected tensors in {path}, got none ({error})") from error
    bad = [n for n, t in tensors.items() if t.is_floating_point() and not bool(t.isfinite().all())]
    if bad:
        raise ValueError(f"expected finite numbers in {path}, got NaN or infinity in {bad}")
    return tensors


EXPORTED = "classifier.safetensors"


def exported_file(place: Path) -> Path:
    """The file of an exported classifier, of a run's folder its own."""
    path = place / run_folder.CHECKPOINT / EXPORTED if place.is_dir() else place
    if not path.is_file():
        raise ValueError(f"expected {path}; train with --export, which leaves it")
    return stored_file(place, run_folder.CHECKPOINT, EXPORTED) if place.is_dir() else path


def dataset_of_run(path: Path, trusted: Sequence[str] = ()) -> str:
    """The data set of the run that a file lies in."""
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
