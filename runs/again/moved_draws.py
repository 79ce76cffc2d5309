"""Moves draws with their rows: (a generator, where each row stood) -> the numbers it drew there."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class MovedDraws(TorchFunctionMode):
    """Gives each row of a batch what a generator drew for the row where it stood before.

    An input then draws the same numbers in another place, whatever function of torch draws them
    with this generator: shapes whose first size is the batch are read as rows.

    >>> generator = torch.Generator().manual_seed(0)
    >>> first = torch.rand(2, 3, generator=generator)
    >>> generator = torch.Generator().manual_seed(0)
    >>> with MovedDraws(generator, torch.tensor([1, 0])):
    ...     moved = torch.rand(2, 3, generator=generator)
    >>> torch.equal(moved, first.flip(0))
    True
    """

    def __init__(self, generator: torch.Generator, places: Tensor) -> None:
        """Prepares for a batch.

        Args:
            generator: whose draws move; others pass unchanged.
            places: int64 [batch], where each row stood.
        """
        super().__init__()
        self.generator, self.places = generator, places

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls the function on rows where they stood, and moves what it gives."""
        kwargs = dict(kwargs or {})
        if kwargs.get("generator") is not self.generator:
            return func(*args, **kwargs)
        found = func(*map(self.back, args), **{k: self.back(v) for k, v in kwargs.items()})
        if not self.has_rows(found):
            return found
        moved = found[self.places.to(found.device)]
        # In place: `values.exponential_(generator=...)` fills what it was called on.
        return args[0].copy_(moved) if func.__name__.endswith("_") else moved

    def back(self, value: Any) -> Any:
        """A tensor of rows as they stood; rows that are not there now hold another one's."""
        if not self.has_rows(value):
            return value
        stood = value[:1].expand_as(value).clone()
        stood[self.places.to(value.device)] = value
        return stood

    def has_rows(self, value: Any) -> bool:
        """Whether a value is a tensor with a row for each input."""
        return isinstance(value, Tensor) and value.ndim > 0 and len(value) == len(self.places)
