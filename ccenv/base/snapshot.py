"""States of objects: (an object that learns or draws) <-> a tree of numbers and tensors.

Modules, optimisers, schedules, generators, tensors, numbers, and lists, dicts and dataclasses of
them have a state; `restore_state` puts it back into an object built with the same settings, in
place, so that an optimiser still holds the tensors it updates.
"""

import dataclasses
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ccenv.base.checked_file import PLAIN

STATEFUL = (nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)


class CannotStoreError(TypeError):
    """An object whose state is not known; says which."""


def state_of(value: Any, name: str = "value") -> Any:
    """A tree for `ccenv.base.checked_file.save_tree`; else CannotStoreError, by `name`."""
    if value is None or type(value) in PLAIN or isinstance(value, Tensor | np.ndarray):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, STATEFUL):
        return {"object": type(value).__name__, "state": value.state_dict()}
    if isinstance(value, torch.Generator):
        return {"object": "Generator", "state": value.get_state()}
    if isinstance(value, np.random.Generator):
        return {"object": "Generator", "state": value.bit_generator.state}
    if isinstance(value, list | tuple | deque):
        return {"items": [state_of(item, f"{name}[{i}]") for i, item in enumerate(value)]}
    if isinstance(value, Mapping):
        return {"entries": {k: state_of(item, f"{name}[{k!r}]") for k, item in value.items()}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {"object": type(value).__name__, "state": state_of(fields, name)}
    raise CannotStoreError(
        f"expected {name} to be numbers, tensors, modules, optimisers, generators, or lists and "
        f"dicts of them, got {type(value).__name__}"
    )


def restore_state(value: Any, tree: Any, name: str = "value") -> Any:
    """Puts a state back and returns the object: the same one, unless it cannot change in place.

    The object was built like the one that `state_of` saw, or is None; ValueError, by `name`, if it
    does not fit.
    """
    if isinstance(tree, Tensor):
        return restore_tensor(value, tree)
    if not isinstance(tree, dict):
        return tree
    if "items" in tree:
        return restore_items(value, tree["items"], name)
    if "entries" in tree:
        return restore_entries(value, tree["entries"], name)
    if "Generator" != tree["object"] != type(value).__name__:
        raise ValueError(f"expected {name} to be a {tree['object']}, got {type(value).__name__}")
    return restore_object(value, tree["state"], name)


def restore_object(value: Any, state: Any, name: str) -> Any:
    """Restores an object that has its own kind of state, such as a generator or an optimiser."""
    if isinstance(value, STATEFUL):
        value.load_state_dict(state)
    elif isinstance(value, torch.Generator):
        value.set_state(state)
    elif isinstance(value, np.random.Generator):
        value.bit_generator.state = state
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        restored = restore_state(fields, state, name)
        arguments = {f.name: restored[f.name] for f in dataclasses.fields(value) if f.init}
        return dataclasses.replace(value, **arguments)
    else:
        raise ValueError(f"expected {name} to be a generator, got {type(value).__name__}")
    return value


def restore_tensor(value: Any, stored: Tensor) -> Tensor:
    """Copies into the tensor that is there, which optimisers may hold, or gives a new one."""
    if isinstance(value, Tensor) and value.shape == stored.shape and value.dtype == stored.dtype:
        with torch.no_grad():
            value.copy_(stored)
        return value
    device = value.device if isinstance(value, Tensor) else "cpu"
    return stored.to(device)


def restore_items(value: Any, trees: list[Any], name: str) -> Any:
    """Restores a list, tuple or deque; what was not there yet is made of numbers and tensors."""
    old = list(value) if isinstance(value, list | tuple | deque) else []
    old += [None] * (len(trees) - len(old))
    items = [
        restore_state(item, tree, f"{name}[{i}]")
        for i, (item, tree) in enumerate(zip(old, trees, strict=False))
    ]
    if isinstance(value, list):
        value[:] = items
        return value
    if isinstance(value, deque):
        value.clear()
        value.extend(items)
        return value
    return tuple(items) if isinstance(value, tuple) else items


def restore_entries(value: Any, trees: Mapping[Any, Any], name: str) -> dict[Any, Any]:
    """Restores a dict; what was not there yet is made of numbers and tensors."""
    old = value if isinstance(value, dict) else {}
    new = {
        key: restore_state(old.get(key), tree, f"{name}[{key!r}]") for key, tree in trees.items()
    }
    if not isinstance(value, dict):
        return new
    value.clear()
    value.update(new)
    return value
