"""A run's folder: claimed by one process, cleaned, filled, and finished by `result.json` alone.

A folder without a readable `result.json` holds no result, whatever else is in it: that file is
written last, under another name first.
"""

import hashlib
import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from ccenv.base.checked_file import read_checked, write_checked
from ccenv.base.user_cache import user_cache
from ccenv.runs.store.seal import check_seal, sealed

CONFIG, RESULT, CHECKPOINT = "config.json", "result.json", "checkpoint"
COMMAND = "command.txt"
"""What one types to make the run again."""
AGENT, NETWORK, MASKS = "agent.safetensors", "network.safetensors", "masks.safetensors"


def check_writable(folder: Path) -> None:
    """Refuses a folder that cannot be made or written in, without making it.

    Raises:
        OSError: if its nearest existing parent is no folder or is read-only.
    """
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


def lock_path(folder: Path) -> Path:
    """Where the lock of a run's folder lies: in the cache, for the folder holds only the run.

    Raises:
        OSError: if the cache cannot be written in.
    """
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
def claim(folder: Path, wait: bool) -> Iterator[None]:
    """Locks a run's folder against other processes of this user; freed when the process dies.

    Args:
        folder: the run's.
        wait: wait until it is free, or raise an error.

    Raises:
        BlockingIOError: if another process holds it and `wait` is False.
    """
    try:
        with FileLock(lock_path(folder), timeout=-1 if wait else 0):
            yield
    except Timeout as error:
        raise BlockingIOError(f"expected {folder} to be free; another process runs it") from error


def start(folder: Path, config: Mapping[str, Any]) -> None:
    """Makes the folder, or removes what an earlier attempt left there; writes the settings."""
    folder.mkdir(parents=True, exist_ok=True)
    # The result goes first: a process that dies in between must not leave it on other curves.
    for old in (folder / RESULT, *folder.glob("*.partial"), *folder.glob("events.out.tfevents.*")):
        old.unlink(missing_ok=True)
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    write_json(folder / CONFIG, config)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON so that a reader sees all of it or none."""
    write_text(path, json.dumps(finite(content), indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text so that a reader sees all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def finite(content: Any) -> Any:
    """Copies nested dicts and lists with null for numbers that are not finite, as JSON wants it."""
    if isinstance(content, Mapping):
        return {str(key): finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON with the checksum that `check_seal` asks for."""
    write_json(path, sealed(finite(content)))


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Writes the result of a finished run, with its checksum."""
    write_sealed(folder / RESULT, result)


def read_result(folder: Path) -> dict[str, Any] | None:
    """The result of a finished run, None of any other.

    Raises:
        ValueError: if it is not as it was written.
    """
    path = folder / RESULT
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    check_seal(result, str(path))
    return result


def check_json(path: Path) -> Any:
    """Reads a file that only this package writes.

    Raises:
        ValueError: if it is no JSON any more.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"expected JSON in {path}, got {error}; it was edited or damaged: put the file back as "
            "it was, or delete it"
        ) from error


def save_checkpoint(folder: Path, agent: Any, network: Any) -> None:
    """Writes the agent's parameters and the network's weights, each with its checksum."""
    (folder / CHECKPOINT).mkdir(exist_ok=True)
    for name, tensors in ((AGENT, agent.parameters()), (NETWORK, network.state_dict())):
        plain = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
        write_checked(folder / CHECKPOINT / name, plain, {})


def save_masks(
    folder: Path,
    masks: Mapping[str, Sequence[Tensor]],
    gate_values: Mapping[str, Sequence[Tensor]] | None = None,
) -> None:
    """Writes the masks of all test images, eight blocks a byte, so that they can be replayed.

    Args:
        folder: the run's.
        masks: "sampled" or "mode" -> for each gated layer bool [num_images, num_blocks].
        gate_values: the same for what kept blocks were multiplied with, float32, as they are; of
            agents that give masks empty.
    """
    packed = {
        f"{draw}/{layer}": torch.from_numpy(np.packbits(mask.cpu().numpy(), axis=1))
        for draw, layers in masks.items()
        for layer, mask in enumerate(layers)
    }
    values = {
        f"{draw}/values/{layer}": value.detach().float().cpu().contiguous()
        for draw, layers in (gate_values or {}).items()
        for layer, value in enumerate(layers)
    }
    write_checked(folder / CHECKPOINT / MASKS, packed | values, {})


def load_gate_values(
    folder: Path, draw: str, num_blocks: Sequence[int], num_images: int
) -> list[Tensor] | None:
    """Gate values beside the masks that `save_masks` wrote; None where the run has none.

    Args:
        folder: the run's.
        draw: "sampled" or "mode".
        num_blocks: of each gated layer.
        num_images: how many there must be.

    Returns:
        For each gated layer float32 [num_images, num_blocks] in [0, 1].

    Raises:
        ValueError: if the file is missing, damaged or of another network, or a value impossible.
    """
    path = folder / CHECKPOINT / MASKS
    try:
        stored, _, _ = read_checked(path)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"expected gate values in {path}, got none ({error!r})") from error
    if not any(name.startswith(f"{draw}/values/") for name in stored):
        return None
    found = [stored.get(f"{draw}/values/{layer}") for layer in range(len(num_blocks))]
    for value, blocks in zip(found, num_blocks, strict=True):
        is_right = value is not None and value.shape == (num_images, blocks)
        if value is None or not is_right or value.dtype != torch.float32:
            got = "none" if value is None else (value.dtype, list(value.shape))
            raise ValueError(
                f"expected gate values float32 {[num_images, blocks]} in {path}, got {got}"
            )
        if not bool(((value >= 0) & (value <= 1)).all()):
            raise ValueError(f"expected gate values in [0, 1] in {path}, got others")
    return [value for value in found if value is not None]


def load_masks(
    folder: Path, draw: str, num_blocks: Sequence[int], num_images: int | None = None
) -> list[Tensor]:
    """Reads what `save_masks` wrote: for each gated layer bool [num_images, num_blocks].

    Args:
        folder: the run's.
        draw: "sampled" or "mode".
        num_blocks: of each gated layer.
        num_images: how many there must be; None takes as many as there are.

    Raises:
        ValueError: if the file is missing, damaged, or of another network or data set.
    """
    path = folder / CHECKPOINT / MASKS
    try:
        packed, _, _ = read_checked(path)
        layers = [packed[f"{draw}/{layer}"].numpy() for layer in range(len(num_blocks))]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ValueError(f"expected the {draw} masks in {path}, got none ({error!r})") from error
    rows = len(layers[0]) if num_images is None and layers[0].ndim else num_images
    expected = [("uint8", (rows, -(-n // 8))) for n in num_blocks]
    # Looked at before they are unpacked, which takes eight times the memory.
    if expected != (got := [(str(m.dtype), m.shape) for m in layers]):
        raise ValueError(
            f"expected masks of {list(num_blocks)} blocks as {expected} in {path}, got {got}"
        )
    bits = [np.unpackbits(m, axis=1, count=n) for m, n in zip(layers, num_blocks, strict=True)]
    return [torch.from_numpy(b.astype(bool)) for b in bits]
