"""MNIST, CIFAR-10, SVHN and their mixture: torchvision's files or <name>.npz -> images and labels.

The mixture is the case that conditional computation is for: a small dense network has to share its
units between three domains.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ccenv.base.seeding import stream
from ccenv.data.npz import file_sha256, npz_split
from ccenv.data.split import Split, data_root, training_part

Parts = tuple[Tensor, Tensor, int | None]
"""Images, labels, and how many of them train where that differs from the table's number."""

NUM_CLASSES = 10
NUM_TRAIN = {"mnist": 50_000, "cifar10": 40_000, "svhn": None}
SIZES = {"mnist": (60_000, 10_000), "cifar10": (50_000, 10_000), "svhn": None}
STORED_AS = {"mnist": "MNIST", "cifar10": "cifar-10-batches-py", "svhn": "train_32x32.mat"}

# Torchvision compares MD5s of CIFAR-10 and SVHN whenever it reads them, of MNIST only when it
# downloads; it then reads whatever lies in the folder.
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def mnist(split: str) -> Split:
    """MNIST as torchvision stores it, or `mnist.npz`."""
    return real_dataset("mnist", split)


def cifar10(split: str) -> Split:
    """CIFAR-10 as torchvision stores it, or `cifar10.npz`."""
    return real_dataset("cifar10", split)


def svhn(split: str) -> Split:
    """SVHN as torchvision stores it, or `svhn.npz`; with `extra` the paper's protocol."""
    return real_dataset("svhn", split)


def real_dataset(name: str, split: str) -> Split:
    """Reads `<name>.npz` where it is, else torchvision's files; says how to get them."""
    root, num_train = data_root(), NUM_TRAIN[name]
    npz = root / f"{name}.npz"
    if npz.exists():
        return npz_split(npz, name, split, num_train=num_train, sizes=SIZES[name])
    stored, command = root / STORED_AS[name], f"ccenv data {name} --download"
    if not stored.exists():
        raise FileNotFoundError(
            f"dataset {name!r} is not in {root}; run: {command} "
            "(or set CCENV_DATA to the folder that holds it)"
        )
    try:
        images, labels, own_num_train = PARTS[name](root, split == "test", False)
    except (RuntimeError, ValueError, OSError, AssertionError) as error:
        raise ValueError(
            f"dataset {name!r}: the files in {stored} are damaged or incomplete ({error}); "
            f"delete them and run: {command}"
        ) from error
    if split == "test":
        return Split(images, labels, NUM_CLASSES)
    num_train = own_num_train or num_train or len(labels) - len(labels) // 10
    return training_part(split, images, labels, NUM_CLASSES, num_train)


def _mnist_parts(root: Path, test: bool, download: bool) -> Parts:
    from torchvision.datasets import MNIST

    if download:
        MNIST(root, train=not test, download=True)
    kind = "t10k" if test else "train"
    for name, expected in MNIST_SHA256.items():
        if name.startswith(kind) and file_sha256(root / "MNIST" / "raw" / name) != expected:
            raise ValueError(f"expected SHA-256 {expected} of {name}, got another")
    dataset = MNIST(root, train=not test)
    return dataset.data.unsqueeze(1), dataset.targets.long(), None


def _cifar10_parts(root: Path, test: bool, download: bool) -> Parts:
    from torchvision.datasets import CIFAR10

    dataset = CIFAR10(root, train=not test, download=download)
    images = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor(dataset.targets), None


def _svhn_parts(root: Path, test: bool, download: bool) -> Parts:
    from torchvision.datasets import SVHN

    def read(piece: str) -> tuple[Tensor, Tensor]:
        dataset = SVHN(root, split=piece, download=download)
        return torch.from_numpy(dataset.data), torch.from_numpy(dataset.labels).long()

    if test:
        return *read("test"), None
    images, labels = read("train")
    if not (root / "extra_32x32.mat").exists() and not download:
        return images, labels, None
    # The authors merge and shuffle `train` and `extra` and validate on the last 24,388.
    more_images, more_labels = read("extra")
    order = torch.randperm(len(labels) + len(more_labels), generator=stream(0, "svhn"))
    images, labels = torch.cat([images, more_images]), torch.cat([labels, more_labels])
    return images[order], labels[order], 580_000


def download_images(name: str) -> None:
    """Downloads through torchvision to the root folder (SVHN with `extra`: 1.6 GB)."""
    for test in (False, True):
        PARTS[name](data_root(), test, True)


PARTS: dict[str, Callable[[Path, bool, bool], Parts]] = {
    "mnist": _mnist_parts,
    "cifar10": _cifar10_parts,
    "svhn": _svhn_parts,
}


SIDE, CHANNELS = 32, 3
SOURCES: dict[str, Callable[[str], Split]] = {"mnist": mnist, "cifar10": cifar10, "svhn": svhn}
"""Domains in the order of their labels: 0 to 9, 10 to 19, 20 to 29."""


def mixed(split: str) -> Split:
    """Equal shares of the three data sets, as many images of each as the smallest has.

    Which images, and their order, depend on the split's name alone; no image is in two splits.

    Raises:
        FileNotFoundError, ValueError: if one of the three is not there, damaged or no 8-bit image.
    """
    try:
        parts = {name: load(split) for name, load in SOURCES.items()}
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"dataset 'mixed' needs {', '.join(SOURCES)}; of these {error}"
        ) from error
    share = min(len(part) for part in parts.values())
    images, labels = [], []
    for domain, (name, part) in enumerate(parts.items()):
        generator = stream(0, f"mixed {name} {split}")
        chosen = torch.randperm(len(part), generator=generator)[:share]
        images.append(as_colour(part.images.index_select(0, chosen), name))
        labels.append(part.labels[chosen] + domain * NUM_CLASSES)
    order = torch.randperm(share * len(parts), generator=stream(0, f"mixed order {split}"))
    num_classes = NUM_CLASSES * len(parts)
    return Split(torch.cat(images)[order], torch.cat(labels)[order], num_classes)


def as_colour(images: Tensor, name: str) -> Tensor:
    """uint8 [n, 1 or 3, height, width] -> [n, 3, 32, 32], bordered with black (else ValueError)."""
    channels, height, width = images.shape[1:]
    if images.dtype != torch.uint8 or channels not in (1, CHANNELS) or max(height, width) > SIDE:
        raise ValueError(
            f"dataset 'mixed': expected uint8 images of 1 or {CHANNELS} channels and at most "
            f"{SIDE} x {SIDE} pixels in {name!r}, got {images.dtype} {list(images.shape[1:])}"
        )
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    padding = (left, SIDE - width - left, top, SIDE - height - top)
    return torch.nn.functional.pad(images, padding).expand(-1, CHANNELS, -1, -1)
