"""Where a result comes from: versions of libraries, machine, git commit, checksums of data."""

import functools
import hashlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ccenv.base.machine import cpu_model
from ccenv.data.registry import SPLITS

LIBRARIES = ("ccenv", "torch", "gymnasium", "stable-baselines3", "numpy", "numba")


@functools.cache
def versions() -> dict[str, str]:
    """Version of Python and of each library that is installed, read once."""
    installed = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, floats of the kernels' vectors, torch's threads.

    A processor's name need not tell how wide its vectors are.
    """
    import torch

    from ccenv.sparse.cpu.codegen.compiled import LANES

    return {
        "cpu": cpu_model(),
        "cores": num_cores(),
        "lanes": LANES,
        "threads": torch.get_num_threads(),
    }


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def most_threads() -> int:
    """Most threads that a setting may ask for: torch crashes when the system has no more.

    At least 64, so that settings of a larger machine's results can be read on a small one.
    """
    return max(64, 8 * (os.cpu_count() or 1))


def load_average() -> float | None:
    """Processes that wanted to run over the last minute; None where the system does not say."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


CHANGED = "+changes"
"""Said behind a commit where tracked files differ from it."""
MOST_SECONDS = 5.0
"""Git is not waited for longer: a result without its commit is a result."""


@functools.cache
def code_commit() -> str | None:
    """Commit of this package's checkout, with `+changes` where tracked files differ from it.

    Returns:
        40 hexadecimal digits and perhaps `CHANGED`; None where the package lies in no checkout of
        its own (installed from a wheel, perhaps below another user's), or git is not there.
    """
    here = Path(__file__).resolve()
    try:
        # Only of a checkout that holds this file: others lie around an environment's folder.
        git(here.parent, "ls-files", "--error-unmatch", here.name)
        commit = git(here.parent, "rev-parse", "HEAD")
        changed = git(here.parent, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + (CHANGED if changed else "")


def git(folder: Path, *words: str) -> str:
    """What git answers; it writes nothing into the checkout."""
    command = ["git", "--no-optional-locks", "-C", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=MOST_SECONDS)
    return done.stdout.strip()


@functools.lru_cache(maxsize=16)
def data_checksum(dataset: str) -> str | None:
    """SHA-256 of all inputs and labels (its start); None where the data set is not here."""
    from ccenv.data import load_split

    digest = hashlib.sha256()
    try:
        for name in SPLITS:
            split = load_split(dataset, name)
            for tensor in split.tensors():
                digest.update(f"{tensor.dtype} {list(tensor.shape)}".encode())
                digest.update(tensor.contiguous().numpy().data)
    except (OSError, ValueError):
        return None
    return digest.hexdigest()[:24]


def data_of(dataset: str) -> dict[str, str]:
    """Name and checksum of a data set, as a result holds them; nothing of one that is not here."""
    checksum = data_checksum(dataset)
    return {} if checksum is None else {dataset: checksum}
