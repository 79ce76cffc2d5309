"""Data sets in plain arrays: <root>/<name>.npz -> the images and labels of a split.

The file holds `x_train, y_train, x_test, y_test`: x is [n, height, width], [n, height, width,
channels] or [n, features], uint8 in 0..255 or float (used as it is); y is an integer in
0..num_classes-1. The SHA-256 in a file `<name>.npz.sha256` next to it is checked where it exists.
Arrays that unpack to more than 32 GiB (or `CCENV_MAX_UNPACKED_GIB`), or than the machine's memory,
are refused before any memory is taken.
"""

import hashlib
import io
import math
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ccenv.base.given_files import read_text
from ccenv.base.machine import machine_memory
from ccenv.data.split import Split, training_part

GIB = 2**30
MAX_HEADER = 2**16
"""Bytes looked at of an array; numpy refuses headers of more than 10,000."""
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def unpacked_size(path: Path, wanted: Iterable[str]) -> int:
    """Bytes of some arrays once unpacked, by directory and headers; raises where they are odd."""
    total = 0
    with zipfile.ZipFile(path) as archive:
        for member in {f"{array}.npy" for array in wanted} & set(archive.namelist()):
            stored = archive.getinfo(member).file_size
            with archive.open(member) as file:
                head = io.BytesIO(file.read(MAX_HEADER))
            version = np.lib.format.read_magic(head)
            if version not in HEADERS:
                raise ValueError(f"expected a header of version 1.0 or 2.0, got {version}")
            shape, _, dtype = HEADERS[version](head)
            promised = head.tell() + math.prod(shape) * dtype.itemsize
            # Numpy takes the memory that a header asks for; a reader stops at the directory's size.
            if promised > stored:
                raise ValueError(f"{member} promises {promised} bytes and holds {stored}")
            total += stored
    return total


ENDING = ".npz"
ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def npz_file(root: Path, name: str) -> Path | None:
    """The file of a name in `root`, or of a path seen from there or from here, or None."""
    places = [root / f"{name}{ENDING}"]
    if name.endswith(ENDING):
        here = Path.cwd() / name
        places = [here] if name.startswith(".") else [root / name, here]
    try:
        return next((place for place in places if place.is_file()), None)
    except OSError:
        # Such as a name that is longer than a file's may be.
        return None


def npz_split(
    path: Path,
    name: str,
    split: str,
    *,
    num_train: int | None = None,
    sizes: tuple[int, int] | None = None,
) -> Split:
    """Reads one split of a file; ValueError if it is damaged or short, or values do not fit.

    `num_train` of the training images train, nine tenths by default; the rest validates. `sizes`
    are the numbers of training and test images where they are known.
    """
    check_checksum(path)
    kind = "test" if split == "test" else "train"
    arrays = arrays_of_file(path, name, [f"x_{kind}", "y_train", "y_test"])
    labels = {part: label_tensor(arrays[f"y_{part}"], name) for part in ("train", "test")}
    images, chosen = image_tensor(arrays[f"x_{kind}"], name), labels[kind]
    expected = None if sizes is None else sizes[kind == "test"]
    if len(images) != len(chosen) or (expected or len(images)) != len(images):
        raise ValueError(
            f"dataset {name!r}: expected {'as many' if expected is None else expected} images and "
            f"labels in x_{kind} and y_{kind} of {path}, got {len(images)} and {len(chosen)}"
        )
    num_classes = count_classes(torch.cat(list(labels.values())), name)
    if split == "test":
        return Split(images, chosen, num_classes)
    num_train = num_train or len(chosen) - max(1, len(chosen) // 10)
    return training_part(split, images, chosen, num_classes, num_train)


def arrays_of_file(path: Path, name: str, wanted: list[str]) -> dict[str, np.ndarray]:
    """Reads some arrays of a file; ValueError if it cannot be read, lacks one, or is too large."""
    text = os.environ.get("CCENV_MAX_UNPACKED_GIB") or "32"
    try:
        most = float(text)
    except ValueError:
        most = math.nan
    if not 0 < most < math.inf:
        raise ValueError(f"expected CCENV_MAX_UNPACKED_GIB to be a positive number, got {text!r}")
    memory = machine_memory()
    limit = min(int(most * GIB), memory)
    missing: list[str] = []
    arrays: dict[str, np.ndarray] = {}
    try:
        size = unpacked_size(path, wanted)
        if size <= limit:
            with np.load(path) as file:
                missing = [array for array in ARRAYS if array not in file]
                arrays = {array: file[array] for array in wanted if array in file}
    except Exception as error:
        raise ValueError(
            f"dataset {name!r}: {path} cannot be read ({error}); replace the damaged file"
        ) from error
    if size > limit:
        raise ValueError(
            f"dataset {name!r}: expected arrays of at most {limit / GIB:g} GiB in {path}, got "
            f"{size / GIB:.3g} GiB once they are unpacked; "
            + (
                "this machine has no more memory"
                if limit == memory
                else "if that is meant, set CCENV_MAX_UNPACKED_GIB"
            )
        )
    if missing:
        raise ValueError(
            f"dataset {name!r}: expected arrays {', '.join(ARRAYS)} in {path}, "
            f"got none named {', '.join(missing)}"
        )
    return arrays


def check_checksum(path: Path) -> None:
    """Compares a file with the SHA-256 in `<file>.sha256`, if any; ValueError if it differs."""
    note = path.with_name(path.name + ".sha256")
    if not note.exists():
        return
    expected = (read_text(note).split() or ["(nothing)"])[0].lower()
    got = file_sha256(path)
    if got != expected:
        raise ValueError(
            f"{path}: expected SHA-256 {expected}, got {got}; the file is damaged: replace it"
        )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def image_tensor(images: np.ndarray, name: str) -> Tensor:
    """Images as [n, channels, height, width], rows of features as 1 x features, or ValueError."""
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise ValueError(
            f"dataset {name!r}: expected pixels as uint8 in 0..255 or as float, "
            f"got {images.dtype}; convert them"
        )
    if not 2 <= images.ndim <= 4:
        raise ValueError(
            f"dataset {name!r}: expected x of 2 to 4 dimensions, got shape {images.shape}"
        )
    if images.ndim == 4 and images.shape[1] <= 4 < images.shape[3]:
        raise ValueError(
            f"dataset {name!r}: expected x as [n, height, width, channels], got {images.shape}, "
            "which has its channels first; use numpy.moveaxis(x, 1, -1)"
        )
    if images.ndim == 4:
        images = np.moveaxis(images, -1, 1)
    else:
        images = images.reshape(len(images), 1, -1, images.shape[-1])
    if images.dtype != np.uint8:
        # A float64 too large for float32 becomes infinite, which is refused with NaN later.
        with np.errstate(over="ignore"):
            images = images.astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(images))


def label_tensor(labels: np.ndarray, name: str) -> Tensor:
    """Labels as int64 [n]; ValueError if they are not whole numbers in one row."""
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1 or not len(labels):
        raise ValueError(
            f"dataset {name!r}: expected labels as whole numbers [n], n > 0, "
            f"got {labels.dtype} {list(labels.shape)}"
        )
    return torch.from_numpy(labels.astype(np.int64))


def count_classes(labels: Tensor, name: str) -> int:
    """Number of classes of labels int64 [n]; ValueError unless they start at 0: each one occurs."""
    low, high = int(labels.min()), int(labels.max())
    if low != 0:
        raise ValueError(
            f"dataset {name!r}: expected labels that start at 0, got {low}..{high}; "
            "renumber them, for instance with numpy.unique(y, return_inverse=True)"
        )
    return high + 1
