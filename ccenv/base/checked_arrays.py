"""Files whose content is checked, without torch: arrays and texts <-> safetensors with SHA-256.

The same files as those of `ccenv.base.checked_file`, the same checksum.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHECKSUM = "sha256"
"""under which name the checksum stands in the file's metadata."""
Arrays = dict[str, NDArray[Any]]


class DamagedFileError(ValueError):
    """A file that is not as it was written, or of another kind."""


def arrays_digest(arrays: Mapping[str, NDArray[Any]], texts: Mapping[str, str]) -> str:
    """SHA-256 of texts and arrays: of their names, types, shapes and bytes, in hexadecimal."""
    digest = hashlib.sha256(repr(sorted(texts.items())).encode())
    for name, array in sorted(arrays.items()):
        # Types are called as torch calls them, so that either reader may check either's files.
        digest.update(repr((name, f"torch.{array.dtype.name}", list(array.shape))).encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], texts: Mapping[str, str]) -> None:
    """Writes a file so that a reader sees all of it or none, even if the process is killed.

    Args:
        path: the file; its folder exists.
        arrays: by name.
        texts: by name; the name "sha256" is taken.

    Raises:
        OSError: if it cannot be written: a full disk, a folder without permission.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    metadata = {**texts, CHECKSUM: arrays_digest(plain, texts)}
    with replaced_when_whole(path) as partial:
        try:
            save_file(plain, partial, metadata=metadata)
        except SafetensorError as error:
            raise OSError(f"cannot write {partial}: {error}") from error


@contextlib.contextmanager
def replaced_when_whole(path: Path) -> Iterator[Path]:
    """Gives a file to write and renames it; leaves no half file behind."""
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        # Renamed only when on disk: a power cut must not leave a name without its content.
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def read_arrays(path: Path) -> tuple[Arrays, dict[str, str], bool]:
    """Reads a checked file, and compares it with its checksum.

    Returns:
        Arrays, texts, and whether there was a checksum.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedFileError: if it is not as it was written, or another kind of file, or holds numbers
            that numpy does not know.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            texts: dict[str, str] = file.metadata() or {}
            arrays: Arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise
    except (OSError, SafetensorError, ValueError, TypeError, AttributeError) as error:
        raise DamagedFileError(
            f"expected a safetensors file in {path}, got {type(error).__name__}: {error}"
        ) from error
    expected = texts.pop(CHECKSUM, None)
    if expected is not None:
        check_digest(path, expected, arrays_digest(arrays, texts))
    return arrays, texts, expected is not None


def check_digest(path: str | Path, expected: str, found: str) -> None:
    """Refuses a file whose content is not what it was written with.

    Raises:
        DamagedFileError: if it is not.
    """
    if found != expected:
        raise DamagedFileError(
            f"expected the content of {path} to have the SHA-256 {expected[:12]}... that it was "
            "written with, got another: it was damaged or edited"
        )
