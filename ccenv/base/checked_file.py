"""Files whose content is checked: tensors and texts <-> a safetensors file with its SHA-256."""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

CHECKSUM = "sha256"
"""under which name the checksum stands in the file's metadata."""


class DamagedFileError(ValueError):
    """A file that is not as it was written, or of another kind."""


def content_digest(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> str:
    """SHA-256 of texts and tensors: of their names, types, shapes and bytes, in hexadecimal."""
    digest = hashlib.sha256(repr(sorted(texts.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(repr((name, str(tensor.dtype), list(tensor.shape))).encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_checked(path: Path, tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> None:
    """Writes a file so that a reader sees all of it or none, even if the process is killed.

    Args:
        path: the file; its folder exists.
        tensors: by name.
        texts: by name; the name "sha256" is taken.

    Raises:
        OSError: if it cannot be written: a full disk, a folder without permission.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {**texts, CHECKSUM: content_digest(plain, texts)}
    partial = path.with_name(path.name + ".partial")
    with removed_on_error(partial):
        try:
            save_file(plain, partial, metadata=metadata)
        except SafetensorError as error:
            raise OSError(f"cannot write {partial}: {error}") from error
        # Renamed only when on disk: a power cut must not leave a name without its content.
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)


@contextlib.contextmanager
def removed_on_error(partial: Path) -> Iterator[None]:
    """Leaves no half file behind."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def read_checked(path: Path) -> tuple[dict[str, Tensor], dict[str, str], bool]:
    """Reads what `write_checked` wrote, and compares it with its checksum.

    Returns:
        Tensors, texts, and whether there was a checksum: files that were written before there were
        checksums have none.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedFileError: if it is not as it was written, or another kind of file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            texts: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise DamagedFileError(
            f"expected a safetensors file in {path}, got {type(error).__name__}: {error}"
        ) from error
    expected = texts.pop(CHECKSUM, None)
    if expected is not None and content_digest(tensors, texts) != expected:
        raise DamagedFileError(
            f"expected the content of {path} to have the SHA-256 {expected[:12]}... that it was "
            "written with, got another: it was damaged or edited"
        )
    return tensors, texts, expected is not None


def check_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Refuses weights that are not numbers.

    Args:
        tensors: by name.
        what: whose they are, for the message.

    Raises:
        ValueError: naming the first tensor with a value that is infinite or not a number.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            count = int((~tensor.isfinite()).sum())
            raise ValueError(
                f"expected finite weights of {what}, got {count} that are not in {name!r}; "
                "train it anew or use other weights"
            )
