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
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ccenv.data.npz import npz_split
from ccenv.data.split import (
    SPLITS,
    Scale,
    Split,
    check_alike,
    check_split,
    data_root,
    standardised,
    user_cache,
)
from ccenv.registry import check_names, nearest, resolve

DATASETS: dict[str, Any] = {
    "digits": "ccenv.data.bundled:digits",
    "mnist": "ccenv.data.real:mnist",
    "cifar10": "ccenv.data.real:cifar10",
    "svhn": "ccenv.data.real:svhn",
    "mixed": "ccenv.data.mixed:mixed",
    "synthetic": "ccenv.data.bundled:synthetic",
    "probe": "ccenv.data.bundled:probe",
}


def load_split(dataset: str | Callable[[str], Split], split: str) -> Split:
    """Loads one split of a data set, by name, by `module:name` or from a function of yours.

    Raises:
        TypeError: if `dataset` is neither a name nor a function.
        ValueError: if a name is unknown, or a file is damaged or has the wrong shape.
        FileNotFoundError: if the data set is not there; the message says how to get it.
    """
    check_names([split], SPLITS, "split")
    if not isinstance(dataset, str) and not callable(dataset):
        raise TypeError(f"expected dataset to be a name or a function, got {dataset!r}")
    return _load(dataset, split, data_root())


@functools.lru_cache(maxsize=12)
def _load(dataset: str | Callable[[str], Split], split: str, root: Path) -> Split:
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


def dataset_name(dataset: str | Callable[[str], Split]) -> str:
    """What messages call a data set: its name, or the name of the function."""
    return dataset if isinstance(dataset, str) else getattr(dataset, "__name__", repr(dataset))


__all__ = [
    "DATASETS",
    "SPLITS",
    "Scale",
    "Split",
    "check_alike",
    "check_split",
    "data_root",
    "dataset_name",
    "load_split",
    "standardised",
    "user_cache",
]
