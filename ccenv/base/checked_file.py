"""Trees and weights on disk without pickle: dicts, lists, numbers, tensors <-> a safetensors file.

Tensors are stored as such, everything else as JSON in the file's metadata, with a checksum that
is compared when the file is read. Floats, tuples, keys that are no strings and the order of a
tensor in memory come back as they were.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from ccenv.base.checks import AT_ONCE, Checks
from ccenv.base.files import read_parts, write_parts
from ccenv.base.values import shown


def write_checked(path: Path, tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> None:
    """Writes tensors and texts by name, see `write_parts`."""
    plain: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, tensor in tensors.items():
        one = tensor.detach().cpu().contiguous()
        # The format has no two names for one place in memory: the weights of a block that repeats.
        place = one.untyped_storage().data_ptr()
        plain[name] = one.clone() if place in places else one
        places.add(place)
    write_parts(path, plain, texts, save_file)


def read_checked(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and texts, see `read_parts`."""
    return read_parts(path, "pt")


def check_finite(tensors: Mapping[str, Tensor], what: str, checks: Checks = AT_ONCE) -> None:
    """Refuses tensors with values that are not finite (ValueError); `what` says whose they are."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            error = functools.partial(infinite_weights, name, tensor, what)
            checks.expect(tensor.isfinite().all(), error)


def infinite_weights(name: str, tensor: Tensor, what: str) -> ValueError:
    """The error of weights that are no numbers."""
    count = int((~tensor.isfinite()).sum())
    return ValueError(
        f"expected finite weights of {what}, got {count} that are not in {name!r}; "
        "train it again or use other weights"
    )


TREE = "tree"
"""under which name a tree's text stands in the file's metadata."""
PLAIN = (bool, int, float, str)
DTYPES = (
    "bool",
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
)
"""Of arrays. Another one could ask for any memory, as "S500000000" does."""
NO_TREE = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError)
"""What nodes of other kinds raise; a deeply nested one exceeds Python's recursion."""


def save_tree(path: Path, tree: Any) -> None:
    """Writes a tree so that a reader sees all of it or none, even if the process is killed.

    It holds dicts, lists, tuples, None, bool, int, float, str, tensors and numpy arrays (else
    TypeError); OSError if the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(encode(tree, tensors))
    write_checked(path, tensors, {TREE: text})


def load_tree(path: Path) -> Any:
    """Reads what `save_tree` wrote; FileNotFoundError, or ValueError if it is damaged."""
    tensors, texts = read_checked(path)
    try:
        return decode(json.loads(texts[TREE]), tensors)
    except NO_TREE as error:
        raise ValueError(
            f"expected a file written by save_tree in {path}, got {type(error).__name__}: {error}"
        ) from error


def encode(tree: Any, tensors: dict[str, Tensor]) -> Any:
    """JSON of a tree; its tensors go to `tensors`."""
    if tree is None or type(tree) in PLAIN:
        return tree
    if isinstance(tree, np.generic):
        return encode(tree.item(), tensors)
    if isinstance(tree, Tensor):
        return encode_tensor(tree, tensors)
    if isinstance(tree, np.ndarray):
        plain = tree.astype(np.int64) if tree.dtype.kind == "u" else tree
        inner = encode_tensor(torch.from_numpy(np.ascontiguousarray(plain)), tensors)
        return {"array": inner, "dtype": str(tree.dtype)}
    if isinstance(tree, Mapping):
        return {"dict": [[encode(k, tensors), encode(v, tensors)] for k, v in tree.items()]}
    if isinstance(tree, list | tuple):
        items = [encode(item, tensors) for item in tree]
        return items if isinstance(tree, list) else {"tuple": items}
    raise TypeError(f"expected dicts, lists, numbers, strings and tensors, got {type(tree)}")


def encode_tensor(tensor: Tensor, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Stores a tensor under a number, together with its memory layout."""
    # An optimiser's moments lie as their weights do, which the kernels want transposed: a run that
    # goes on must not walk through memory in another order than the one that stopped.
    name = str(len(tensors))
    tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    return {"tensor": name, "stride": list(tensor.stride())}


def decode(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The tree of `encode`'s JSON."""
    if isinstance(node, list):
        return [decode(item, tensors) for item in node]
    if not isinstance(node, dict):
        return node
    if "tensor" in node:
        return in_memory_order(tensors[node["tensor"]], node["stride"])
    if "array" in node:
        if node["dtype"] not in DTYPES:
            raise ValueError(f"expected a dtype of {', '.join(DTYPES)}, got {shown(node['dtype'])}")
        array: np.ndarray = decode(node["array"], tensors).numpy()
        return array.astype(node["dtype"])
    if "tuple" in node:
        return tuple(decode(item, tensors) for item in node["tuple"])
    return {decode(key, tensors): decode(value, tensors) for key, value in node["dict"]}


def in_memory_order(tensor: Tensor, stride: list[int]) -> Tensor:
    """The same numbers, laid out with other strides where those leave no gaps."""
    dense = sorted(zip(stride, tensor.shape, strict=True))
    expected = 1
    for step, size in dense:
        if size > 1 and step != expected:
            return tensor
        expected *= size
    return torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype).copy_(tensor)
