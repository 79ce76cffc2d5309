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
| mixed | equal shares of the same part of mnist, cifar10 and svhn; 30 classes | | |
| synthetic | 2,000 | 500 | 500 |
| probe | 1,024 | 256 | 256 |
| other .npz | all but the last tenth of `train` | last tenth | `test` |

What images go through before anybody sees them is named too, see `ccenv.data.transforms`; their
halves and copies are no data sets of their own.

    load_split("cifar10", "train", ["copies=7", "shift=2", "mirror", "standardise"])
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ccenv.base.registry import check_names, nearest, resolve
from ccenv.data.fitted import Fitted, fit, fixed
from ccenv.data.npz import npz_split
from ccenv.data.split import (
    SPLITS,
    Split,
    check_alike,
    check_split,
    check_transformed,
    data_root,
    transformed,
    user_cache,
)
from ccenv.data.transforms import TRANSFORMS, transform_names

DATASETS: dict[str, Any] = {
    "digits": "ccenv.data.bundled:digits",
    "mnist": "ccenv.data.real:mnist",
    "cifar10": "ccenv.data.real:cifar10",
    "svhn": "ccenv.data.real:svhn",
    "mixed": "ccenv.data.mixed:mixed",
    "synthetic": "ccenv.data.bundled:synthetic",
    "probe": "ccenv.data.bundled:probe",
}


Dataset = str | Callable[[str], Split]
"""A name in `DATASETS`, an .npz file's name, `module:name`, or a function of a split's name."""


def load_split(dataset: Dataset, split: str, transforms: Sequence[str] | str = ()) -> Split:
    """Loads one split of a data set, by name, by `module:name` or from a function of yours.

    Args:
        dataset: see `Dataset`.
        split: "train", "validation" or "test".
        transforms: names, see `ccenv.data.transforms`; the training split comes with its moved
            copies behind the images, row i a copy of image i modulo their number.

    Raises:
        TypeError: if `dataset` is neither a name nor a function.
        ValueError: if a name is unknown, a file is damaged or has the wrong shape, or the images
            do not fit the transforms.
        FileNotFoundError: if the data set is not there; the message says how to get it.
    """
    check_names([split], SPLITS, "split")
    names = transform_names(transforms)
    if not isinstance(dataset, str) and not callable(dataset):
        raise TypeError(f"expected dataset to be a name or a function, got {dataset!r}")
    root = data_root()
    return _transformed(dataset, split, names, root) if names else _load(dataset, split, root)


def preprocessing(dataset: Dataset, transforms: Sequence[str] | str) -> tuple[Fitted, ...]:
    """What images of every split go through: transforms without chance, fitted to a data set.

    Raises:
        As `load_split` does.
    """
    return fixed(_fitted(dataset, transform_names(transforms), data_root()))


@functools.lru_cache(maxsize=12)
def _transformed(dataset: Dataset, split: str, names: tuple[str, ...], root: Path) -> Split:
    fitted = _fitted(dataset, names, root)
    found = transformed(_load(dataset, split, root), fitted if split == "train" else fixed(fitted))
    return check_transformed(found, dataset_name(dataset))


@functools.lru_cache(maxsize=4)
def _fitted(dataset: Dataset, names: tuple[str, ...], root: Path) -> tuple[Fitted, ...]:
    return fit(names, lambda: _load(dataset, "train", root).images, dataset_name(dataset))


@functools.lru_cache(maxsize=12)
def _load(dataset: Dataset, split: str, root: Path) -> Split:
    # A thousand environments share one copy of the images: the loaded tensors are never changed.
    if not isinstance(dataset, str):
        return check_split(dataset(split), dataset_name(dataset))
    if dataset in DATASETS or ":" in dataset:
        loader: Callable[[str], Split] = resolve(dataset, DATASETS, "dataset")
        return check_split(loader(split), dataset)
    path = root / f"{dataset}.npz"
    if not path.exists():
        raise ValueError(
            f"unknown dataset {dataset!r}: {nearest(dataset, DATASETS)} "
            f"(yours: module:name, or {dataset}.npz in {root})"
        )
    return check_split(npz_split(path, dataset, split), dataset)


def dataset_name(dataset: Dataset) -> str:
    """What messages call a data set: its name, or the name of the function."""
    return dataset if isinstance(dataset, str) else getattr(dataset, "__name__", repr(dataset))


__all__ = [
    "DATASETS",
    "SPLITS",
    "TRANSFORMS",
    "Fitted",
    "Split",
    "check_alike",
    "check_split",
    "data_root",
    "dataset_name",
    "load_split",
    "preprocessing",
    "transform_names",
    "user_cache",
]
