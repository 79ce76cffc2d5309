"""Checks of values: made at once on the CPU; on a device collected, and read together.

To look at a value on a device, the host waits for all that the device has been asked to do. What
must hold is therefore kept as a tensor there, and read where numbers are read anyway: once a
rollout.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

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
        """Reads numbers, tensors of one element each, and all that is open: one wait for a device.

        Raises:
            Exception: the error of the first condition that did not hold; none is open afterwards.
        """
        conditions, self._open = self._open, []
        numbers = numbers_of([*values.values(), *(holds for holds, _ in conditions)])
        for held, (_, error) in zip(numbers[len(values) :], conditions, strict=True):
            if not held:
                raise error()
        return dict(zip(values, numbers, strict=False))


class AtOnce(Checks):
    """Waits for each condition, on a device too: where nobody reads later."""

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


def numbers_of(values: "list[Tensor]") -> list[float]:
    """Numbers of tensors of one element; those on a device come in one copy."""
    if not any(map(is_on_device, values)):
        return [value.item() for value in values]
    import torch

    numbers: list[float] = torch.stack([value.detach().double() for value in values]).tolist()
    return numbers
