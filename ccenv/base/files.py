"""Files that a reader sees whole or not at all, and content with a checksum: arrays, and JSON.

Arrays or tensors, and texts <-> safetensors with SHA-256; torch is imported for tensors only.

JSON carries a seal, so that an altered number is noticed. It tells damage and careless edits, and
is no signature: who forges a result can make another; `ccenv validate` recomputes what it says.
"""

import contextlib
import hashlib
import json
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccenv.base.given_files import TENSORS, check_plain_file

CHECKSUM = "sha256"
"""under which name the checksum stands in the file's metadata."""


class DamagedFileError(ValueError):
    """A file that is not as it was written, or of another kind."""


@contextlib.contextmanager
def replaced_when_whole(path: Path, *, survives_power_cuts: bool = True) -> Iterator[Path]:
    """Gives a new, empty file to write and renames it; leaves no half file behind.

    Links are not followed: one at `path` is replaced. A file that survives power cuts is on disk
    before it is renamed, which takes milliseconds.
    """
    # In a folder from somebody else a link may lie under any name that can be guessed.
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")
    try:
        partial.touch(exist_ok=False)
        yield partial
        if survives_power_cuts:
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a text in UTF-8, or bytes; makes the folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_when_whole(path, survives_power_cuts=False) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def arrays_digest(parts: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    """SHA-256 of texts and parts: of their names, types, shapes and bytes, in hexadecimal."""
    digest = hashlib.sha256(repr(sorted(texts.items())).encode())
    for name, part in sorted(parts.items()):
        if isinstance(part, np.ndarray):
            # Types are called as torch calls them, so that either reader may check either's files.
            kind, content = f"torch.{part.dtype.name}", np.ascontiguousarray(part).reshape(-1)
            seen = content.view(np.uint8)
        else:
            import torch

            kind, seen = str(part.dtype), part.contiguous().reshape(-1).view(torch.uint8).numpy()
        digest.update(repr((name, kind, list(part.shape))).encode())
        digest.update(seen.data)
    return digest.hexdigest()


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], texts: Mapping[str, str]) -> None:
    """Writes arrays and texts by name, see `write_parts`."""
    from safetensors.numpy import save_file

    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_parts(path, plain, texts, save_file)


def write_parts(
    path: Path, parts: Mapping[str, Any], texts: Mapping[str, str], save: Callable[..., None]
) -> None:
    """Writes a file so that a reader sees all of it or none, even if the process is killed.

    Parts are contiguous arrays or tensors by name, `save` is safetensors' for their kind; of texts
    the name "sha256" is taken. OSError if the file cannot be written.
    """
    from safetensors import SafetensorError

    metadata = {**texts, CHECKSUM: arrays_digest(parts, texts)}
    with replaced_when_whole(path) as partial:
        try:
            save(parts, partial, metadata=metadata)
        except SafetensorError as error:
            raise OSError(f"cannot write {partial}: {error}") from error


def read_parts(path: Path, framework: str = "np") -> tuple[dict[str, Any], dict[str, str]]:
    """Arrays ("np") or tensors ("pt") of a checked file, and its texts.

    FileNotFoundError if there is no such file; DamagedFileError if it
    is not as it was written, has no checksum, is of another kind, or not for numpy.
    """
    from safetensors import SafetensorError, safe_open

    check_plain_file(path, TENSORS)
    try:
        with safe_open(path, framework=framework) as file:
            texts: dict[str, str] = file.metadata() or {}
            parts = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, TypeError, AttributeError) as error:
        raise DamagedFileError(
            f"expected a safetensors file in {path}, got {type(error).__name__}: {error}"
        ) from error
    expected = texts.pop(CHECKSUM, None)
    if expected is None:
        raise DamagedFileError(
            f"expected a checksum in {path}, got none: it was damaged or edited, or written by "
            "another program or an early version; make it again"
        )
    check_sha256(path, expected, arrays_digest(parts, texts))
    return parts, texts


def check_sha256(path: str | Path, expected: str, actual: str) -> None:
    """Refuses a file whose content is not what it was written with (DamagedFileError)."""
    if actual != expected:
        raise DamagedFileError(
            f"expected the content of {path} to have the SHA-256 {expected[:12]}... that it was "
            "written with, got another: it was damaged or edited"
        )


SEAL = "sha256"
"""Under which name a seal stands in JSON."""
LENGTH = 24
"""Hexadecimal digits of a seal."""


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with its seal."""
    plain = without(content, SEAL)
    return {**plain, SEAL: seal_of(plain)}


def seal_of(content: Mapping[str, Any]) -> str:
    """SHA-256 of content as JSON, whatever the order of its names (its start)."""
    text = json.dumps(content, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def without(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Content with one name left out."""
    return {other: value for other, value in content.items() if other != name}


def check_seal(content: Any, where: str) -> Any:
    """Refuses content that is not as it was sealed; what has no seal is older than seals are.

    Unless another name holds the checksum of all the rest: then the seal's own name was damaged.

    >>> check_seal(sealed({"error": 0.5}), "a.json")["error"]
    0.5
    """
    if isinstance(content, Mapping) and SEAL in content:
        plain = without(content, SEAL)
        if seal_of(plain) != content[SEAL]:
            raise edited(where, f"content with the checksum {seal_of(plain)}", content[SEAL])
    elif isinstance(content, Mapping):
        for name, value in content.items():
            has_form = isinstance(value, str) and len(value) == LENGTH
            if has_form and seal_of(without(content, name)) == value:
                raise edited(where, f"the checksum under the name {SEAL!r}", name)
    return content


def edited(where: str, expected: str, got: Any) -> ValueError:
    """The error for a result that was edited or damaged."""
    return ValueError(
        f"{where}: expected {expected}, got {got!r}; the file was edited or damaged: put it back "
        "as it was, or delete it and run again"
    )


def write_json(path: Path, content: Any) -> None:
    """Writes JSON so that a reader sees all of it or none."""
    write_whole(path, json.dumps(finite(content), indent=2, allow_nan=False) + "\n")


def finite(content: Any) -> Any:
    """Copies nested dicts and lists with null for numbers that are not finite, as JSON wants it."""
    if isinstance(content, Mapping):
        return {str(key): finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON with its seal."""
    write_json(path, sealed(finite(content)))
