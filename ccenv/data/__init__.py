"""Data sets: name and split -> images and labels; nothing is downloaded unless asked.

A root folder (`CCENV_DATA`, else the user's cache) holds what torchvision reads and downloads, and
data sets of yours: files `<name>.npz` (`ccenv.data.npz`), folders of images (`ccenv.data.folder`),
files and folders of text (`ccenv.data.text`). A path that ends in `.npz` names a file elsewhere
(`./x.npz` is seen from the working folder). A data set can be an object too, in Python: a mapping
or a function of splits (`ccenv.data.user_data`). What is larger than memory is read when it is
drawn (`ccenv.data.rows`).

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
| parity | 8,000 | 1,000 | 2,000 |
| parity64, addition, sorting | 262,144 | 10,000 | 10,000 (made when they are drawn) |
| python_text | 26,520,813 | 1,767,359 | 1,498,652 (24 symbols; label: the next) |
| python_sample | as python_text | every 32nd window | every 32nd window |
| python_text where its folder is missing | about nine tenths of Python's library | 5 % | 5 % |
| python_bundled | 6,957,917 | every 8th of 458,244 windows | every 8th of 408,370 |
| enwik8, text8 | first 90 million bytes | next 5 million | last 5 million |
| other .npz | all but the last tenth of `train` | last tenth | `test` |

What images go through before anybody sees them is named too, see `ccenv.data.transforms`; their
halves and copies are no data sets of their own.

    load_split("cifar10", "train", ["copies=7", "shift=2", "mirror", "standardise"])
"""

import errno
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.base.registry import check_names, nearest, resolve
from ccenv.base.values import shortened, shown
from ccenv.data.folder import folder_split, has_folders
from ccenv.data.npz import ENDING, npz_file, npz_split
from ccenv.data.rows import Rows
from ccenv.data.split import (
    SPLITS,
    Split,
    check_alike,
    check_split,
    check_transformed,
    data_root,
    transformed,
)
from ccenv.data.text import place_of, text_split, texts_of
from ccenv.data.transforms import TRANSFORMS, Fitted, fit, fixed, transform_names
from ccenv.data.user_data import Given, Same, check_given, given_split

DATASETS: dict[str, Any] = {
    "digits": "ccenv.data.toy:digits",
    "mnist": "ccenv.data.real:mnist",
    "cifar10": "ccenv.data.real:cifar10",
    "svhn": "ccenv.data.real:svhn",
    "mixed": "ccenv.data.real:mixed",
    "synthetic": "ccenv.data.toy:synthetic",
    "probe": "ccenv.data.toy:probe",
    "parity": "ccenv.data.toy:parity",
    "parity64": "ccenv.data.toy:parity64",
    "addition": "ccenv.data.toy:addition",
    "sorting": "ccenv.data.toy:sorting",
    "python_text": "ccenv.data.text:python_text",
    "python_sample": "ccenv.data.text:python_sample",
    "python_bundled": "ccenv.data.text:python_bundled",
    "enwik8": "ccenv.data.text:enwik8",
    "text8": "ccenv.data.text:text8",
}


Dataset = str | Given
"""A name in `DATASETS`, an .npz file, a folder, `module:name`, or see `ccenv.data.user_data`."""


def load_split(dataset: Dataset, split: str, transforms: Sequence[str] | str = ()) -> Split:
    """Loads one split of a data set, by name, by `module:name` or from an object of yours.

    Args:
        dataset: see `Dataset`.
        split: "train", "validation" or "test".
        transforms: names, see `ccenv.data.transforms`; the training split comes with its moved
            copies behind the images, row i a copy of image i modulo their number.

    Raises:
        TypeError: if `dataset` is neither a name nor a mapping or function of splits' names.
        ValueError: if a name is unknown, a file is damaged or has the wrong shape, or the images
            do not fit the transforms.
        FileNotFoundError: if the data set is not there; the message says how to get it.
    """
    check_names([split], SPLITS, "split")
    names = transform_names(transforms)
    if not isinstance(dataset, str):
        check_given(dataset)
    key, root = _key(dataset), data_root()
    return _transformed(key, split, names, root) if names else _load(key, split, root)


def preprocessing(dataset: Dataset, transforms: Sequence[str] | str) -> tuple[Fitted, ...]:
    """What images of every split go through: transforms without chance, fitted to the data."""
    return fixed(_fitted(_key(dataset), transform_names(transforms), data_root()))


Key = str | Callable[[str], Any] | Same
"""A data set as caches know it: mappings have no hash."""


def _key(dataset: Dataset) -> Key:
    """The same, whatever the working folder will be: a path to a file is written from the root."""
    if isinstance(dataset, Mapping):
        return Same(dataset)
    if isinstance(dataset, str) and dataset.endswith(ENDING):
        return str(npz_file(data_root(), dataset) or dataset)
    return dataset


@functools.lru_cache(maxsize=12)
def _transformed(key: Key, split: str, names: tuple[str, ...], root: Path) -> Split:
    stored, name = _load(key, split, root), _name(key)
    if stored.images.ndim != 4:
        raise ValueError(
            f"dataset {name!r}: expected images [n, channels, height, width] for transforms "
            f"({', '.join(names)}), got inputs {list(stored.images.shape)}"
        )
    fitted = _fitted(key, names, root)
    found = transformed(stored, fitted if split == "train" else fixed(fitted))
    return check_transformed(found, name)


@functools.lru_cache(maxsize=4)
def _fitted(key: Key, names: tuple[str, ...], root: Path) -> tuple[Fitted, ...]:
    return fit(names, lambda: _load(key, "train", root).images, _name(key))


@functools.lru_cache(maxsize=12)
def _load(key: Key, split: str, root: Path) -> Split:
    # A thousand environments share one copy of the images: the loaded tensors are never changed.
    name = _name(key)
    if isinstance(key, str) and key not in DATASETS and ":" not in key:
        return check_split(_stored(key, split, root), name)
    given = resolve(key.found if isinstance(key, Same) else key, DATASETS, "dataset")
    check_given(given)
    return check_split(given_split(given, split, name), name)


def _stored(name: str, split: str, root: Path) -> Split:
    """A file or folder of the user's."""
    folder = root / name.partition("@")[0]
    try:
        folder.stat()
    except OSError as error:
        # Which pathlib's questions do not catch.
        if error.errno == errno.ENAMETOOLONG:
            raise unknown_dataset(name, root) from error
    path = npz_file(root, name)
    if path is not None:
        return npz_split(path, name, split)
    text = place_of(root, name)
    if text is not None:
        return text_split(texts_of(text, name), split)
    if folder != root and has_folders(folder):
        return folder_split(folder, name, split)
    if name.endswith(ENDING):
        raise ValueError(
            f"expected dataset {shown(name)} to be a file in {root} or, by its path, seen from the "
            f"working folder {Path.cwd()}, got none"
        )
    raise unknown_dataset(name, root)


def unknown_dataset(name: str, root: Path) -> ValueError:
    """What is said of a name that leads to no data set."""
    said = shortened(name)
    return ValueError(
        f"unknown dataset {said!r}: {nearest(name, DATASETS)} (yours: module:name, or {said}.npz, "
        f"{said}.txt or a folder of that name in {root})"
    )


def _name(key: Key) -> str:
    return dataset_name(key.found if isinstance(key, Same) else key)


def dataset_name(dataset: Dataset) -> str:
    """What messages call a data set: its name, the name of the function, or "given"."""
    if isinstance(dataset, Mapping):
        return "given"
    return dataset if isinstance(dataset, str) else getattr(dataset, "__name__", repr(dataset))


__all__ = [
    "DATASETS",
    "SPLITS",
    "TRANSFORMS",
    "Fitted",
    "Rows",
    "Split",
    "check_alike",
    "check_split",
    "data_root",
    "dataset_name",
    "load_split",
    "preprocessing",
    "transform_names",
]
