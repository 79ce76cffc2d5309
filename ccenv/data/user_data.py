"""Data sets given as objects: (what a user has, the name of a split) -> that split.

    {"train": CIFAR100(root, transform=ToTensor()), "test": CIFAR100(root, train=False, ...)}
    {"train": (x_train, y_train), "validation": (x_val, y_val), "test": (x_test, y_test)}
    lambda split: numpy_arrays_or_a_Dataset_or_a_Split_of(split)

Inputs are used as they are: [n, channels, height, width] or any other [n, ...], bytes in 0..255,
floats, or symbols as wider whole numbers. A validation split that a mapping lacks is a tenth of the
training one, drawn the same way every time. Arrays on disk (`numpy.memmap`) and anything with a
length and pairs (input, label) in brackets (data sets of torch and torchvision, a class of yours)
are read when rows are drawn. So are folders of images:

    flowers/train/rose/1.jpg, flowers/train/tulip/2.png, flowers/test/rose/3.jpg ...   or
    flowers/rose/1.jpg, flowers/tulip/2.png ...

The innermost folders are the classes, in alphabetical order. Without a folder `validation` a tenth
of the training images validates; without `train` and `test` eight tenths of all train, one
validates and one tests, drawn the same way every time. Images are RGB bytes and must be of one
size: `flowers@64` makes them 64 x 64 pixels, by their shorter side and then their middle.
"""

import functools
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

from ccenv.base.registry import check_names
from ccenv.base.seeding import stream
from ccenv.base.values import lacking, shown
from ccenv.data.npz import count_classes, label_tensor
from ccenv.data.registry import SPLITS
from ccenv.data.rows import ArrayRows, Rows, check_finite_rows, some_rows, stored_dtype
from ccenv.data.split import Split, data_root


@dataclass(frozen=True)
class DatasetRows(Rows):
    """Inputs of a map-style data set."""

    dataset: Any
    """with a length, and pairs (input, label) in brackets."""
    name: str
    """for messages."""

    def read(self, rows: np.ndarray) -> Tensor:
        """See `Rows`; ValueError if an input is not finite or not of the first one's form."""
        inputs = [input_at(self.dataset, int(row), self.name) for row in rows]
        for row, one in zip(rows, inputs, strict=True):
            if tuple(one.shape) != self.shape[1:] or one.dtype != self.dtype:
                raise ValueError(
                    f"dataset {self.name!r}: expected every input to be {self.dtype} "
                    f"{list(self.shape[1:])} like the first, got {one.dtype} {list(one.shape)} at "
                    f"{int(row)}; resize or crop it in the data set's transform"
                )
        empty = torch.empty(0, *self.shape[1:], dtype=self.dtype)
        return check_finite_rows(torch.stack(inputs) if inputs else empty, self.name)


def pair_of(dataset: Any, row: int, name: str) -> tuple[Any, Any]:
    """One item of a data set; ValueError if it is no pair."""
    item = dataset[row]
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise ValueError(
            f"dataset {name!r}: expected item {row} to be a pair (input, label), got "
            f"{type(item).__name__}"
        )
    return item[0], item[1]


def input_at(dataset: Any, row: int, name: str) -> Tensor:
    """One input: an image of PIL as bytes [channels, height, width]; ValueError of no array."""
    array, _ = pair_of(dataset, row, name)
    if hasattr(array, "getbands"):
        pixels = np.array(array)
        array = np.moveaxis(pixels[..., None] if pixels.ndim == 2 else pixels, -1, 0)
    try:
        one = torch.as_tensor(array).detach()
        return one.to(stored_dtype(one.dtype, name)).contiguous()
    except (TypeError, RuntimeError) as error:
        raise ValueError(
            f"dataset {name!r}: expected inputs as images of PIL, arrays or tensors, got "
            f"{type(array).__name__} at {row}; give the data set a transform such as "
            "torchvision.transforms.ToTensor()"
        ) from error


def labels_of_pairs(dataset: Any, name: str) -> np.ndarray:
    """Labels of a data set [n], from a list where it has one, else by one pass over its pairs."""
    listed = listed_labels(dataset)
    if listed is None:
        listed = [pair_of(dataset, row, name)[1] for row in range(len(dataset))]
    try:
        return np.asarray(listed)
    except ValueError as error:
        raise ValueError(
            f"dataset {name!r}: expected a whole number as the label of each input, got {error}"
        ) from error


def listed_labels(dataset: Any) -> Any:
    """Labels without the inputs, where a data set tells them: else None."""
    if isinstance(dataset, Subset):
        whole = listed_labels(dataset.dataset)
        return None if whole is None else np.asarray(whole)[np.asarray(dataset.indices)]
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        return dataset.tensors[1]
    for field in ("targets", "labels"):
        labels = attribute(dataset, field)
        if isinstance(labels, Sized) and len(labels) == len(dataset):
            return labels
    return None


def attribute(dataset: Any, name: str) -> Any:
    """What a data set lists by a name, None where a function of the labels may change it."""
    listed, changed = (getattr(dataset, one, None) for one in (name, "target_transform"))
    return listed if changed is None else None


def listed_classes(dataset: Any) -> int:
    """Number of classes, where a data set lists their names, else `NOT_LISTED`."""
    if isinstance(dataset, Subset):
        return listed_classes(dataset.dataset)
    classes = attribute(dataset, "classes")
    return len(classes) if isinstance(classes, list | tuple) and classes else NOT_LISTED


NOT_LISTED: Any = object()
"""A number of classes that labels must tell: no number that a user could give."""
Given = Mapping[str, Any] | Callable[[str], Any]
"""Split names -> data, or a function of a split's name."""


class SameObject:
    """An object as a key: equal to itself alone, whatever it is, and kept alive."""

    def __init__(self, value: Any, root: Path | None = None) -> None:
        self.value, self.root = value, root

    def __eq__(self, other: object) -> bool:
        """Whether it is the same object."""
        return (
            isinstance(other, SameObject) and self.value is other.value and self.root == other.root
        )

    def __hash__(self) -> int:
        """Its address."""
        return id(self.value)


def check_given(dataset: Any) -> None:
    """Refuses what is no mapping of splits and no function of names (TypeError, ValueError)."""
    if isinstance(dataset, Mapping):
        check_names(dataset, SPLITS, "split")
        if missing := sorted({"train", "test"} - set(dataset)):
            raise ValueError(
                f"expected a mapping with 'train' and 'test' ('validation' may be left out), got "
                f"none for {', '.join(missing)}"
            )
    elif not callable(dataset):
        raise TypeError(
            "expected dataset to be a name or a function (split's name -> data), or a mapping "
            "{'train': ..., 'test': ...} of arrays (x, y) or map-style data sets (of a DataLoader "
            f"its dataset), got {type(dataset).__name__}"
        )


def given_split(dataset: Given, split: str, name: str) -> Split:
    """One split of what a user gives; TypeError or ValueError if it cannot be used.

    Data are a `Split`, a map-style data set of torch, a pair (inputs, labels) or a mapping
    {"x": inputs, "y": labels}.
    """
    key = SameObject(dataset, data_root())
    parts = cut_parts(key, split, name)
    if parts.num_classes is not NOT_LISTED:
        return parts
    labels = [cut_parts(key, other, name).labels for other in SPLITS]
    return replace(parts, num_classes=count_classes(torch.cat(labels), name))


def is_cut(dataset: Given, split: str) -> bool:
    """Whether a split is a part of the training data that are given."""
    return isinstance(dataset, Mapping) and split != "test" and "validation" not in dataset


@functools.lru_cache(maxsize=12)
def cut_parts(dataset: SameObject, split: str, name: str) -> Split:
    """Inputs and labels of a split, of which a tenth of the training data may be one."""
    if not is_cut(dataset.value, split):
        return whole_parts(dataset, split, name)
    whole = whole_parts(dataset, "train", name)
    order = torch.randperm(len(whole.labels), generator=stream(0, "validation part"))
    num_held = max(1, len(order) // 10)
    chosen = order[:num_held] if split == "validation" else order[num_held:]
    rows = chosen.sort().values
    inputs = some_rows(whole.images, rows.numpy())
    return Split(inputs, whole.labels.index_select(0, rows), whole.num_classes)


@functools.lru_cache(maxsize=12)
def whole_parts(dataset: SameObject, split: str, name: str) -> Split:
    """Inputs and labels as they are given; read once: labels may take a pass over the data."""
    source = dataset.value
    content = source[split] if isinstance(source, Mapping) else called(source, split, name)
    if not lacking(content, "images", "labels", "num_classes"):
        return content
    if isinstance(content, TensorDataset) and len(content.tensors) == 2:
        content = content.tensors
    if isinstance(content, Mapping) and set(content) == {"x", "y"}:
        content = (content["x"], content["y"])
    if isinstance(content, tuple | list) and len(content) == 2:
        inputs = array_inputs(content[0], name)
        return Split(inputs, checked_labels(content[1], len(inputs), name), NOT_LISTED)
    is_one = isinstance(content, str | tuple | list | dict | np.ndarray | Tensor)
    if is_one or lacking(content, "__getitem__", "__len__"):
        raise TypeError(
            f"dataset {name!r}: expected a ccenv.data.Split, a map-style data set of torch, "
            f"or arrays (x, y), got {type(content).__name__}; return Split(images, labels, "
            "num_classes)"
        )
    if not len(content):
        raise ValueError(f"dataset {name!r}: expected at least one pair (input, label), got none")
    first, device = input_at(content, 0, name), torch.device("cpu")
    rows = DatasetRows((len(content), *first.shape), first.dtype, device, content, name)
    labels = checked_labels(labels_of_pairs(content, name), len(rows), name)
    return Split(rows, labels, listed_classes(content))


def called(function: Callable[[str], Any], split: str, name: str) -> Any:
    """What a function answers to a split's name; ValueError if it does not take one."""
    try:
        return function(split)
    except (TypeError, ValueError) as error:
        # An error inside of the function is the user's, with its own traceback.
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            raise
        raise ValueError(
            f"dataset {name!r}: expected a function of a split's name, got one that refuses "
            f"{split!r}: {error}"
        ) from error


def array_inputs(array: Any, name: str) -> Tensor | Rows:
    """An array as a tensor that shares its memory, or rows read when drawn (or an error)."""
    if lacking(array, "shape", "dtype", "__getitem__") or not array.shape:
        raise TypeError(
            f"dataset {name!r}: expected x as an array or tensor [n, ...], got "
            f"{shown(array)}; use numpy.asarray(x)"
        )
    if isinstance(array, Tensor):
        return array.detach().to(stored_dtype(array.dtype, name)).cpu()
    shape = tuple(int(size) for size in array.shape)
    if len(shape) == 4 and shape[3] in (1, 3, 4) and shape[1] > 4:
        raise ValueError(
            f"dataset {name!r}: expected images as [n, channels, height, width], got "
            f"{list(shape)}, which has its channels last; use numpy.moveaxis(x, -1, 1)"
        )
    try:
        dtype = stored_dtype(torch.from_numpy(np.empty(0, array.dtype)).dtype, name)
    except TypeError as error:
        raise ValueError(
            f"dataset {name!r}: expected x as uint8, float or whole numbers, got {array.dtype}; "
            "convert it"
        ) from error
    if type(array) is np.ndarray and array.flags.writeable:
        # A float64 too large for float32 becomes infinite, which is refused with NaN later.
        return torch.from_numpy(array).to(dtype)
    if not shape[0]:
        return torch.empty(shape, dtype=dtype)
    return ArrayRows(shape, dtype, torch.device("cpu"), array, name)


def checked_labels(labels: Any, count: int, name: str) -> Tensor:
    """Labels int64 [n], whole numbers, one for each input (else ValueError)."""
    tensor = label_tensor(np.asarray(labels), name)
    if len(tensor) != count:
        raise ValueError(
            f"dataset {name!r}: expected as many labels as inputs, got {len(tensor)} and {count}"
        )
    return tensor


@functools.lru_cache(maxsize=8)
def folder_splits(path: Path, name: str) -> dict[str, Any]:
    """A folder of images as data sets of torchvision by their split; ValueError if it is none."""
    folders = {split: path / split for split in SPLITS if (path / split).is_dir()}
    if folders:
        if missing := sorted({"train", "test"} - set(folders)):
            raise ValueError(
                f"dataset {name!r}: expected folders train and test in {path}, got none named "
                f"{', '.join(missing)}"
            )
        splits = {split: images_in(folder, name) for split, folder in folders.items()}
        for split, images in splits.items():
            if images.classes != splits["train"].classes:
                raise ValueError(
                    f"dataset {name!r}: expected the classes {splits['train'].classes} of train "
                    f"in {split}, got {images.classes}"
                )
        return splits
    images = images_in(path, name)
    order = torch.randperm(len(images), generator=stream(0, "folder of images"))
    tenth = max(1, len(order) // 10)
    parts = order.split([tenth, tenth, len(order) - 2 * tenth]) if len(order) > 2 else (order,) * 3
    named = zip(("validation", "test", "train"), parts, strict=True)
    return {split: Subset(images, part.sort().values.tolist()) for split, part in named}


def images_in(folder: Path, name: str) -> Any:
    """The images in folders of classes, of the size in a data set's name (ValueError if none)."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import CenterCrop, Compose, Resize

    _, has_side, side = name.partition("@")
    if has_side and not (side.isdecimal() and int(side)):
        raise ValueError(f"expected a folder of images as name or name@pixels, got {name!r}")
    resize = Compose([Resize(int(side)), CenterCrop(int(side))]) if has_side else None
    try:
        return ImageFolder(folder, transform=resize)
    except OSError as error:
        raise ValueError(
            f"dataset {name!r}: expected images in folders of classes in {folder} ({error})"
        ) from error
