"""Loads data sets: (name or object, split) -> images and labels, transformed and cached."""

import errno
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.base.registry import check_names, nearest, resolve
from ccenv.base.values import shortened, shown
from ccenv.data.npz import ENDING, npz_file, npz_split
from ccenv.data.registry import DATASETS, READERS, SPLITS
from ccenv.data.split import (
    Split,
    check_split,
    check_transformed,
    data_root,
    transformed,
)
from ccenv.data.transforms import Fitted, fit_transforms, fixed, transform_names
from ccenv.data.user_data import Given, SameObject, check_given, folder_splits, given_split

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


FROM_HERE = ("./", "../", "~/")
"""What a path begins with that is not seen from the folder of the data sets."""
Key = str | Callable[[str], Any] | SameObject
"""A data set as caches know it: mappings have no hash."""


def _key(dataset: Dataset) -> Key:
    """The same, whatever the working folder will be: a path to a file is written from the root."""
    if isinstance(dataset, Mapping):
        return SameObject(dataset)
    if isinstance(dataset, str) and dataset.endswith(ENDING):
        return str(npz_file(data_root(), dataset) or dataset)
    if isinstance(dataset, str) and dataset.startswith(FROM_HERE):
        return os.path.abspath(os.path.expanduser(dataset))
    return dataset


@functools.lru_cache(maxsize=12)
def _transformed(key: Key, split: str, names: tuple[str, ...], root: Path) -> Split:
    stored, name = _load(key, split, root), dataset_name(key)
    if stored.images.ndim != 4:
        raise ValueError(
            f"dataset {name!r}: expected images [n, channels, height, width] for transforms "
            f"({', '.join(names)}), got inputs {list(stored.images.shape)}"
        )
    fitted = _fitted(key, names, root)
    transformed_split = transformed(stored, fitted if split == "train" else fixed(fitted))
    return check_transformed(transformed_split, name)


@functools.lru_cache(maxsize=4)
def _fitted(key: Key, names: tuple[str, ...], root: Path) -> tuple[Fitted, ...]:
    return fit_transforms(names, lambda: _load(key, "train", root).images, dataset_name(key))


@functools.lru_cache(maxsize=12)
def _load(key: Key, split: str, root: Path) -> Split:
    # A thousand environments share one copy of the images: the loaded tensors are never changed.
    name = dataset_name(key)
    if isinstance(key, str) and key not in DATASETS and ":" not in key:
        return check_split(_stored(key, split, root), name)
    dataset = resolve(key.value if isinstance(key, SameObject) else key, DATASETS, "dataset")
    check_given(dataset)
    return check_split(given_split(dataset, split, name), name)


def _stored(name: str, split: str, root: Path) -> Split:
    """A file or folder of the user's."""
    folder = root / name.partition("@")[0]
    try:
        folder.stat()
    except (OSError, ValueError) as error:
        # Which pathlib's questions do not catch: a name that is too long, or holds a zero byte.
        if getattr(error, "errno", errno.ENAMETOOLONG) == errno.ENAMETOOLONG:
            raise unknown_dataset(name, root) from error
    path = npz_file(root, name)
    if path is not None:
        return npz_split(path, name, split)
    text: Split | None = READERS["text"](name, split)
    if text is not None:
        return text
    if folder != root and folder.is_dir() and any(inner.is_dir() for inner in folder.iterdir()):
        return given_split(folder_splits(folder, name), split, name)
    if name.endswith(ENDING):
        raise ValueError(
            f"expected dataset {shown(name)} to be a file in {root} or, by its path, seen from the "
            f"working folder {Path.cwd()}, got none"
        )
    raise unknown_dataset(name, root)


def unknown_dataset(name: str, root: Path) -> ValueError:
    """What is said of a name that leads to no data set."""
    short_name = shortened(name)
    return ValueError(
        f"unknown dataset {short_name!r}: {nearest(name, DATASETS)} (yours: module:name, or "
        f"{short_name}.npz, {short_name}.txt or a folder of that name in {root})"
    )


def dataset_name(dataset: Dataset | SameObject) -> str:
    """What messages call a data set: its name, the name of the function, or "given"."""
    if isinstance(dataset, SameObject):
        dataset = dataset.value
    if isinstance(dataset, Mapping):
        return "given"
    return dataset if isinstance(dataset, str) else getattr(dataset, "__name__", repr(dataset))
