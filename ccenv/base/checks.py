"""Checks of values: made at once on the CPU; on a device collected, and read together.

To look at a value on a device, the host waits for all that the device has been asked to do. What
must hold is therefore kept as a tensor there, and read where numbers are read anyway: once a
rollout.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

Key = TypeVar("Key")
MOST_OPEN = 1024
"""Conditions that are kept at most; one more, and all are read."""


class Checks:
    """Conditions that are still to be looked at, with the errors of those that do not hold."""

    def __init__(self) -> None:
        """Starts with none."""
        self._open: list[tuple[Tensor, Callable[[], Exception]]] = []

    def expect(self, holds: Any, error: Callable[[], Exception]) -> None:
        """Raises an error where a condition does not hold: now, or when it is read.

        Args:
            holds: a truth value, or a tensor of one.
            error: makes the error.
        """
        if is_on_device(holds):
            self._open.append((holds, error))
            if len(self._open) > MOST_OPEN:
                self.settle()
        elif not holds:
            raise error()

    def settle(self) -> None:
        """Reads all that is open; raises the first error."""
        self.read({})

    def read(self, values: "Mapping[str, Tensor]") -> dict[str, float]:
        """Numbers of tensors of one element each, and errors, as of `on_host`."""
        return {name: value.item() for name, value in self.on_host(values).items()}

    def on_host(self, tensors: "Mapping[Key, Tensor]") -> "dict[Key, Tensor]":
        """Tensors on the CPU, and a look at all that is open: one wait for a device.

        Raises:
            Exception: the error of the first condition that did not hold; none is open afterwards.
        """
        conditions, self._open = self._open, []
        parts = [*tensors.values(), *(holds for holds, _ in conditions)]
        there = [part for part in parts if is_on_device(part)]
        copies = iter(in_one_copy(there) if there else [])
        brought = [next(copies) if is_on_device(part) else part for part in parts]
        for held, (_, error) in zip(brought[len(tensors) :], conditions, strict=True):
            if not held:
                raise error()
        return dict(zip(tensors, brought, strict=False))


class AtOnce(Checks):
    """Waits for each condition, on a device too: where no later call reads it."""

    def expect(self, holds: Any, error: Callable[[], Exception]) -> None:
        """See `Checks.expect`."""
        if not holds:
            raise error()


AT_ONCE = AtOnce()


def is_on_device(values: Any) -> bool:
    """Whether values are a tensor on a GPU; arrays and numbers are not."""
    return bool(getattr(values, "is_cuda", False))


def all_finite(values: Any) -> Any:
    """Whether a tensor or an array holds no NaN and no infinity: a tensor there on a device."""
    if is_on_device(values):
        return values.isfinite().all()
    # A sum is the fastest look at all of them; only where it is odd they are looked at one by one.
    return math.isfinite(values.sum()) or math.isfinite(abs(values).max())


def in_one_copy(tensors: "list[Tensor]") -> "list[Tensor]":
    """Tensors of any dtypes and shapes from a device, as bytes one behind the other."""
    import torch

    # Numbers of many bytes first: each then begins where one may.
    order = sorted(range(len(tensors)), key=lambda place: -tensors[place].itemsize)
    parts = [tensors[place].detach().reshape(-1).contiguous().view(torch.uint8) for place in order]
    bytes_of = torch.cat(parts).cpu().split([len(part) for part in parts])
    brought = dict(zip(order, bytes_of, strict=True))
    return [
        brought[place].view(tensor.dtype).view(tensor.shape) for place, tensor in enumerate(tensors)
    ]
