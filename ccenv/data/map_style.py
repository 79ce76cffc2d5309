"""Data sets of torch: (a `torch.utils.data.Dataset`) -> inputs read when drawn, and labels.

Anything with a length and pairs (input, label) in brackets will do: torchvision's data sets,
`TensorDataset`, `Subset`, an `ImageFolder`, a class of your own.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ccenv.data.rows import Rows, check_finite, stored_dtype


@dataclass(frozen=True)
class DatasetRows(Rows):
    """Inputs of a map-style data set."""

    dataset: Any
    """with a length, and pairs (input, label) in brackets."""
    name: str
    """for messages."""

    def read(self, rows: np.ndarray) -> Tensor:
        """See `Rows`.

        Raises:
            ValueError: if an input has another shape or type than the first, or is not finite.
        """
        found = [input_of(self.dataset, int(row), self.name) for row in rows]
        for row, one in zip(rows, found, strict=True):
            if tuple(one.shape) != self.shape[1:] or one.dtype != self.dtype:
                raise ValueError(
                    f"dataset {self.name!r}: expected every input to be {self.dtype} "
                    f"{list(self.shape[1:])} like the first, got {one.dtype} {list(one.shape)} at "
                    f"{int(row)}; resize or crop it in the data set's transform"
                )
        empty = torch.empty(0, *self.shape[1:], dtype=self.dtype)
        return check_finite(torch.stack(found) if found else empty, self.name)


def is_map_style(found: Any) -> bool:
    """Whether something is read item by item."""
    many = hasattr(found, "__getitem__") and hasattr(found, "__len__")
    return many and not isinstance(found, str | tuple | list | dict | np.ndarray | Tensor)


def dataset_rows(dataset: Any, name: str) -> DatasetRows:
    """Inputs of a data set, by its length and its first one.

    Raises:
        ValueError: if it is empty, or its first item is no pair (input, label).
    """
    if not len(dataset):
        raise ValueError(f"dataset {name!r}: expected at least one pair (input, label), got none")
    first = input_of(dataset, 0, name)
    shape = (len(dataset), *first.shape)
    return DatasetRows(shape, first.dtype, torch.device("cpu"), dataset, name)


def pair_of(dataset: Any, row: int, name: str) -> tuple[Any, Any]:
    """One item of a data set.

    Raises:
        ValueError: if it is no pair.
    """
    item = dataset[row]
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise ValueError(
            f"dataset {name!r}: expected item {row} to be a pair (input, label), got "
            f"{type(item).__name__}"
        )
    return item[0], item[1]


def input_of(dataset: Any, row: int, name: str) -> Tensor:
    """One input as a tensor: an image of PIL as bytes [channels, height, width], others as are.

    Raises:
        ValueError: if it is nothing of this kind.
    """
    found, _ = pair_of(dataset, row, name)
    if hasattr(found, "getbands"):
        pixels = np.array(found)
        found = np.moveaxis(pixels[..., None] if pixels.ndim == 2 else pixels, -1, 0)
    try:
        one = torch.as_tensor(found).detach()
        return one.to(stored_dtype(one.dtype, name)).contiguous()
    except (TypeError, RuntimeError) as error:
        raise ValueError(
            f"dataset {name!r}: expected inputs as images of PIL, arrays or tensors, got "
            f"{type(found).__name__} at {row}; give the data set a transform such as "
            "torchvision.transforms.ToTensor()"
        ) from error


def labels_of(dataset: Any, name: str) -> np.ndarray:
    """Labels of a data set, whole numbers [n]; read once, from a list of them where it has one.

    Raises:
        ValueError: if a label is no whole number.
    """
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
    from torch.utils.data import Subset, TensorDataset

    if isinstance(dataset, Subset):
        whole = listed_labels(dataset.dataset)
        return None if whole is None else np.asarray(whole)[np.asarray(dataset.indices)]
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        return dataset.tensors[1]
    # A function of the labels may change what is listed.
    if getattr(dataset, "target_transform", None) is not None:
        return None
    for field in ("targets", "labels"):
        found = getattr(dataset, field, None)
        if found is not None and hasattr(found, "__len__") and len(found) == len(dataset):
            return found
    return None


def listed_classes(dataset: Any) -> int | None:
    """Number of classes, where a data set lists their names."""
    from torch.utils.data import Subset

    if isinstance(dataset, Subset):
        return listed_classes(dataset.dataset)
    has_others = getattr(dataset, "target_transform", None) is not None
    found = None if has_others else getattr(dataset, "classes", None)
    return len(found) if isinstance(found, list | tuple) and found else None
