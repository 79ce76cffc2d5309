"""A run's folder: claimed by one process, cleaned, filled, and finished by `result.json` alone.

A folder without a readable `result.json` holds no result, whatever else is in it: that file is
written last, under another name first.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ccenv.base.files import check_seal, write_json, write_whole
from ccenv.base.given_files import read_json, read_text
from ccenv.base.machine import user_cache

CONFIG, RESULT, CHECKPOINT = "config.json", "result.json", "checkpoint"
COMMAND = "command.txt"
"""What one types to make the run again."""
EVENTS = "events.out.tfevents.*"
"""Files of curves, for TensorBoard."""
OF_RUN = "run.txt"
"""In the folder of a run's curves: where its own is, from there."""
AGENT, NETWORK, MASKS = "agent.safetensors", "network.safetensors", "masks.safetensors"


def check_writable(folder: Path) -> None:
    """Refuses a folder that cannot be made or written in, without making it."""
    parent = folder.absolute()
    while not parent.exists():
        parent = parent.parent
    try:
        # Permissions do not tell everything (a super-user, a special file system): trying does.
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        state = "cannot be written in" if parent.is_dir() else "is not a folder"
        raise OSError(
            f"expected a writable log folder, got {folder}: {parent} {state}; give another log_dir"
        ) from error


def check_unlinked(folder: Path) -> None:
    """Refuses a folder that is a link or holds one: what is written in it would land elsewhere."""
    refuse_links((folder, *folder.rglob("*")))


def refuse_links(paths: Iterable[Path]) -> None:
    """Refuses paths that are links."""
    link = next((path for path in paths if path.is_symlink()), None)
    if link is not None:
        raise ValueError(
            f"expected no link in a folder that is written in, got {link}; delete the link"
        )


def lock_path(folder: Path) -> Path:
    """Where the lock of a run's folder lies: in the cache, for the folder holds only the run."""
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:24]
    path = user_cache() / "locks" / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise OSError(
            f"expected a cache folder that can be written in, got {user_cache()}: {error}; "
            "give another as CCENV_CACHE"
        ) from error
    return path


@contextmanager
def locked(folder: Path, wait: bool) -> Iterator[None]:
    """Locks a run's folder against other processes of this user; freed when the process dies."""
    try:
        with FileLock(lock_path(folder), timeout=-1 if wait else 0):
            yield
    except Timeout as error:
        raise BlockingIOError(f"expected {folder} to be free; another process runs it") from error


def run_folders(root: Path) -> list[Path]:
    """Folders of finished runs at or below a folder, by path."""
    folders = sorted({path.parent for path in root.rglob(RESULT)})
    if not folders:
        raise ValueError(
            f"expected {root} to hold finished runs ({RESULT}), got none; "
            "name a folder that ccenv train or ccenv compare wrote into"
        )
    return folders


def begin(folder: Path, curves: Path, config: Mapping[str, Any]) -> None:
    """Makes the folder, or removes what an earlier attempt left; writes the settings.

    Args:
        folder: the run's.
        curves: folder of its event files; earlier versions wrote them into the run's.
        config: its settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    events = [path for place in (folder, curves) for path in place.glob(EVENTS)]
    # The result goes first: a process that dies in between must not leave it on other curves.
    for old in (folder / RESULT, *folder.glob("*.partial"), *events):
        old.unlink(missing_ok=True)
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    write_json(folder / CONFIG, config)
    curves.mkdir(parents=True, exist_ok=True)
    write_whole(curves / OF_RUN, f"{os.path.relpath(folder, curves)}\n")


def drop_orphans(board: Path) -> list[str]:
    """Removes curves of runs whose folders are gone; returns the names that these had.

    Args:
        board: the folder of all curves.
    """
    dropped = []
    for told in sorted(board.glob(f"*/{OF_RUN}")):
        curves, place = told.parent, read_text(told).strip()
        if not curves.is_symlink() and not os.path.isdir(curves / place):
            shutil.rmtree(curves, ignore_errors=True)
            dropped.append(curves.name)
    return dropped


def read_result(folder: Path) -> dict[str, Any] | None:
    """The result of a finished run, None of any other."""
    path = folder / RESULT
    try:
        result: dict[str, Any] = read_json(path)
    except (OSError, ValueError):
        return None
    check_seal(result, str(path))
    return result


def save_checkpoint(folder: Path, agent: Any, network: Any) -> None:
    """Writes the agent's parameters and the network's weights, each with its checksum."""
    from ccenv.base.checked_file import write_checked

    (folder / CHECKPOINT).mkdir(exist_ok=True)
    for name, tensors in ((AGENT, agent.parameters()), (NETWORK, network.state_dict())):
        plain = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
        write_checked(folder / CHECKPOINT / name, plain, {})
