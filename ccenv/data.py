"""Data sets: name and split -> images and labels; nothing is downloaded unless asked.

A root folder (`CCENV_DATA`, else the user's cache) holds what torchvision reads and downloads,
or `<name>.npz` with plain arrays `x_train, y_train, x_test, y_test`: x is [n, height, width],
[n, height, width, channels] or [n, features], uint8 in 0..255 or float; y is an integer in
0..num_classes-1. An own data set is such a file, its name the file's; a checksum file
`<name>.npz.sha256` beside it is checked where it exists.

| name | train | validation | test |
|---|---|---|---|
| digits | 1,097 | 200 | 500 (scikit-learn's 8 x 8 digits in a fixed shuffled order) |
| mnist | first 50,000 | last 10,000 | 10,000 |
| cifar10 | first 40,000 | last 10,000 | 10,000 |
| svhn | all but the last tenth of `train` | last tenth | `test` |
| svhn with torchvision's `extra` | first 580,000 of train + extra, shuffled | 24,388 | 26,032 |
| synthetic | 2,000 | 500 | 500 |
| probe | 1,024 | 256 | 256 |
| other .npz | first nine tenths of `train` | last tenth | `test` |
"""

import argparse
import functools
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ccenv.probe import NUM_LABELS, probe_images
from ccenv.registry import check_names, resolve
from ccenv.seeding import stream

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Images and labels of one part of a data set, kept as stored and converted when drawn."""

    images: Tensor
    """[n, channels, height, width], uint8 in 0..255 or float32."""
    labels: Tensor
    """[n] int64 in 0..num_classes-1."""
    num_classes: int
    """number of classes of the whole data set."""

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Draws images as float32 [batch, channels, height, width] and labels int64 [batch]."""
        images = self.images[indices]
        if images.dtype == torch.uint8:
            images = images.float() / 255
        return images, self.labels[indices]

    def to(self, device: str | torch.device) -> "Split":
        """Copies images and labels to a device."""
        return Split(self.images.to(device), self.labels.to(device), self.num_classes)


def data_root() -> Path:
    """Folder of the data sets: `CCENV_DATA`, else `ccenv` in the user's cache folder."""
    return Path(os.environ.get("CCENV_DATA") or user_cache() / "data").expanduser()


def user_cache() -> Path:
    """Folder for what can be made again: `CCENV_CACHE`, else `ccenv` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("CCENV_CACHE") or Path(base) / "ccenv").expanduser()


def load_split(dataset: str | Callable[[str], Split], split: str) -> Split:
    """Loads one split of a data set, by name, by `module:name` or from a function of yours.

    Raises:
        ValueError: if a name is unknown, or a file is damaged or has the wrong shape.
        FileNotFoundError: if the data set is not there; the message says how to get it.
    """
    check_names([split], SPLITS, "split")
    if isinstance(dataset, str):
        return _load_named(dataset, split, str(data_root()))
    return check_split(dataset(split), getattr(dataset, "__name__", "dataset"))


@functools.lru_cache(maxsize=12)
def _load_named(name: str, split: str, root: str) -> Split:
    # A thousand environments share one copy of the images: the loaded tensors are never changed.
    if name not in DATASETS and ":" not in name and (Path(root) / f"{name}.npz").exists():
        return check_split(npz_split(Path(root), name, split), name)
    loader: Callable[[str], Split] = resolve(name, DATASETS, "dataset")
    return check_split(loader(split), name)


def check_split(split: Split, name: str) -> Split:
    """Refuses images that are not finite, labels out of range, and shapes that do not match.

    Raises:
        ValueError: if the split cannot be used; the message names the data set.
    """
    images, labels = split.images, split.labels
    if images.ndim != 4 or labels.ndim != 1 or len(images) != len(labels) or not len(labels):
        raise ValueError(
            f"dataset {name!r}: expected images [n, channels, height, width] and labels [n], n > 0,"
            f" got {list(images.shape)} and {list(labels.shape)}"
        )
    if images.dtype not in (torch.uint8, torch.float32) or labels.dtype != torch.int64:
        raise ValueError(
            f"dataset {name!r}: expected images uint8 or float32 and labels int64, "
            f"got {images.dtype} and {labels.dtype}"
        )
    if images.is_floating_point() and not bool(images.isfinite().all()):
        raise ValueError(
            f"dataset {name!r}: expected finite pixels, got NaN or infinity; clean the images"
        )
    if int(labels.min()) < 0 or int(labels.max()) >= split.num_classes:
        raise ValueError(
            f"dataset {name!r}: expected labels in 0..{split.num_classes - 1}, "
            f"got {int(labels.min())}..{int(labels.max())}"
        )
    return split


def part(split: str, images: Tensor, labels: Tensor, num_classes: int, train: int) -> Split:
    """Cuts a training set in its first `train` images and the rest, which validates."""
    piece = slice(None, train) if split == "train" else slice(train, None)
    return Split(images[piece], labels[piece], num_classes)


def digits(split: str) -> Split:
    """scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, bundled with the library."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = torch.randperm(len(bunch.target), generator=stream(0, "digits")).numpy()
    images = torch.from_numpy(bunch.images[order]).float().unsqueeze(1) / 16
    labels = torch.from_numpy(bunch.target[order]).long()
    start, stop = {"train": (0, 1097), "validation": (1097, 1297), "test": (1297, 1797)}[split]
    return Split(images[start:stop], labels[start:stop], 10)


def synthetic(split: str) -> Split:
    """Ten noisy prototypes of 16 x 16 pixels: learnable, free of files, the same everywhere."""
    generator = stream(0, "synthetic prototypes")
    prototypes = torch.rand(10, 1, 16, 16, generator=generator)
    size, generator = {"train": 2000}.get(split, 500), stream(SPLITS.index(split), "synthetic")
    labels = torch.randint(10, (size,), generator=generator)
    noise = torch.randn(size, 1, 16, 16, generator=generator)
    return Split((prototypes[labels] + 0.5 * noise).clamp(0, 1), labels, 10)


def probe(split: str) -> Split:
    """The task of `ccenv.probe`, whose optimal masks are known."""
    size = {"train": 1024}.get(split, 256)
    return Split(*probe_images(size, seed=SPLITS.index(split)), num_classes=NUM_LABELS + 1)


def mnist(split: str) -> Split:
    """MNIST as torchvision stores it, or `mnist.npz`."""
    return real_dataset("mnist", split, train=50_000)


def cifar10(split: str) -> Split:
    """CIFAR-10 as torchvision stores it, or `cifar10.npz`."""
    return real_dataset("cifar10", split, train=40_000)


def svhn(split: str) -> Split:
    """SVHN as torchvision stores it, or `svhn.npz`; with `extra` the paper's protocol."""
    return real_dataset("svhn", split, train=None)


def real_dataset(name: str, split: str, train: int | None) -> Split:
    """Reads torchvision's files where they are, else `<name>.npz`, else says how to get them."""
    root = data_root()
    if (root / f"{name}.npz").exists():
        return npz_split(root, name, split, train)
    parts = {"mnist": _mnist_parts, "cifar10": _cifar10_parts, "svhn": _svhn_parts}[name]
    try:
        images, labels, train = parts(root, split == "test", train, download=False)
    except RuntimeError as error:
        # torchvision checks the MD5 of what it reads and says the same of a damaged file and of none.
        raise FileNotFoundError(
            f"dataset {name!r} is not in {root}, or its files are damaged; "
            f"run: python -m ccenv.data {name} --download "
            "(or set CCENV_DATA to the folder that holds it)"
        ) from error
    if split == "test":
        return Split(images, labels, 10)
    return part(split, images, labels, 10, train or len(labels) - len(labels) // 10)


Parts = tuple[Tensor, Tensor, int | None]


def _mnist_parts(root: Path, test: bool, train: int | None, download: bool) -> Parts:
    from torchvision.datasets import MNIST

    found = MNIST(root, train=not test, download=download)
    expected = 10_000 if test else 60_000
    # Unlike its other classes, torchvision's MNIST reads short files without complaint.
    if found.data.shape != (expected, 28, 28) or len(found.targets) != expected:
        raise ValueError(
            f"dataset 'mnist': expected {expected} images of 28 x 28 in {root}, "
            f"got {list(found.data.shape)}; delete the folder MNIST and download it again"
        )
    return found.data.unsqueeze(1), found.targets.long(), train


def _cifar10_parts(root: Path, test: bool, train: int | None, download: bool) -> Parts:
    from torchvision.datasets import CIFAR10

    found = CIFAR10(root, train=not test, download=download)
    images = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor(found.targets), train


def _svhn_parts(root: Path, test: bool, train: int | None, download: bool) -> Parts:
    from torchvision.datasets import SVHN

    def read(piece: str) -> tuple[Tensor, Tensor]:
        found = SVHN(root, split=piece, download=download)
        return torch.from_numpy(found.data), torch.from_numpy(found.labels).long()

    if test:
        return *read("test"), None
    images, labels = read("train")
    if not (root / "extra_32x32.mat").exists() and not download:
        return images, labels, train
    # The authors merge and shuffle `train` and `extra` and validate on the last 24,388.
    more_images, more_labels = read("extra")
    order = torch.randperm(len(labels) + len(more_labels), generator=stream(0, "svhn"))
    images, labels = torch.cat([images, more_images]), torch.cat([labels, more_labels])
    return images[order], labels[order], 580_000


def npz_split(root: Path, name: str, split: str, train: int | None = None) -> Split:
    """Reads one split of `<root>/<name>.npz` (see the module's docstring for its arrays).

    Raises:
        ValueError: if the file is damaged, an array is missing, or its shape is not an image's.
    """
    path = root / f"{name}.npz"
    check_checksum(path)
    kind = "test" if split == "test" else "train"
    try:
        with np.load(path) as arrays:
            images, labels = arrays[f"x_{kind}"], arrays[f"y_{kind}"]
            num_classes = int(max(arrays["y_train"].max(), arrays["y_test"].max())) + 1
    except KeyError as error:
        raise ValueError(
            f"dataset {name!r}: expected arrays x_train, y_train, x_test, y_test in {path}, {error}"
        ) from error
    except Exception as error:
        raise ValueError(
            f"dataset {name!r}: {path} cannot be read ({error}); replace the damaged file"
        ) from error
    pixels, classes = image_tensor(images, name), label_tensor(labels, name)
    if split == "test":
        return Split(pixels, classes, num_classes)
    return part(split, pixels, classes, num_classes, train or len(classes) - len(classes) // 10)


def check_checksum(path: Path) -> None:
    """Compares a file with the SHA-256 in `<file>.sha256` beside it, where that exists.

    Raises:
        ValueError: if the checksum differs.
    """
    note = path.with_name(path.name + ".sha256")
    if not note.exists():
        return
    expected = note.read_text().split()[0]
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != expected:
        raise ValueError(
            f"{path}: expected SHA-256 {expected}, got {got}; the file is damaged: replace it"
        )


def image_tensor(images: np.ndarray, name: str) -> Tensor:
    """Brings images to [n, channels, height, width]: rows of features become 1 x features."""
    if images.ndim == 2:
        images = images[:, None, None, :]
    elif images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4:
        images = np.moveaxis(images, -1, 1)
    else:
        raise ValueError(
            f"dataset {name!r}: expected x of 2 to 4 dimensions, got shape {images.shape}"
        )
    if images.dtype != np.uint8:
        images = images.astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(images))


def label_tensor(labels: np.ndarray, name: str) -> Tensor:
    """Brings labels to int64 [n]."""
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"dataset {name!r}: expected integer labels, got {labels.dtype}")
    return torch.from_numpy(labels.astype(np.int64))


def download(name: str) -> None:
    """Downloads a data set through torchvision into the root folder."""
    check_names([name], DOWNLOADS, "dataset to download")
    for test in (False, True):
        DOWNLOADS[name](data_root(), test, None, download=True)


DOWNLOADS: dict[str, Callable[..., Parts]] = {
    "mnist": _mnist_parts,
    "cifar10": _cifar10_parts,
    "svhn": _svhn_parts,
}

DATASETS: dict[str, Any] = {
    "digits": digits,
    "mnist": mnist,
    "cifar10": cifar10,
    "svhn": svhn,
    "synthetic": synthetic,
    "probe": probe,
}


def main() -> None:
    """Describes a data set, and downloads it first where asked: python -m ccenv.data NAME."""
    parser = argparse.ArgumentParser(prog="python -m ccenv.data", description=main.__doc__)
    parser.add_argument("name", help=f"one of {', '.join(DATASETS)}, or the name of an .npz file")
    parser.add_argument("--download", action="store_true", help="fetch it through torchvision")
    arguments = parser.parse_args()
    try:
        if arguments.download:
            download(arguments.name)
        for split in SPLITS:
            loaded = load_split(arguments.name, split)
            print(f"{split:10} {len(loaded):7,} images {loaded.image_shape}")
    except (ValueError, FileNotFoundError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
