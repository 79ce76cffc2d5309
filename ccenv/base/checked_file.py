"""Files whose content is checked: tensors and texts <-> a safetensors file with its SHA-256."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ccenv.base.checked_arrays import CHECKSUM, DamagedFileError, check_digest, replaced_when_whole


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
    with replaced_when_whole(path) as partial:
        try:
            save_file(plain, partial, metadata=metadata)
        except SafetensorError as error:
            raise OSError(f"cannot write {partial}: {error}") from error


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
    if expected is not None:
        check_digest(path, expected, content_digest(tensors, texts))
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
