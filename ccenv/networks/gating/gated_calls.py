"""How a gated child is called: (child, arguments, block mask) -> output, rows really skipped."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ccenv.networks.core.stage import LAST, is_channels_last, kept_rows
from ccenv.networks.gating.trace import Layout, along, mapped, placed, selected, taken

MOST_SHARE = 0.6
"""Share of kept channel groups above which `auto` computes all of them in one product."""


@dataclass(frozen=True)
class Shape:
    """A tensor that a child gives for one row."""

    sizes: tuple[int, ...]
    dim: int
    """where its rows are."""
    like_input: bool
    """whether it has the dtype of the child's input."""
    dtype: torch.dtype

    def skipped(self, x: Tensor, rows: int) -> Tensor:
        """Zeros for so many rows, in the order of memory of an input."""
        sizes = list(self.sizes)
        sizes[self.dim] = rows
        zeros = x.new_zeros(sizes, dtype=x.dtype if self.like_input else self.dtype)
        is_last = zeros.ndim == x.ndim and is_channels_last(x)
        return zeros.contiguous(memory_format=LAST) if is_last else zeros


@dataclass(frozen=True)
class UnitCall:
    """The whole child is one block; skipped, its output is its input, or zero."""

    skipped: str
    """"identity" or "zero"."""
    layout: Layout
    """of (args, kwargs)."""
    output: Any
    """a `Shape`, or None, or a tuple, list or dict of these."""
    dim: int
    """where the rows of its input are."""
    num_blocks: ClassVar[int] = 1

    def __call__(
        self,
        child: Callable[..., Any],
        given: tuple[tuple[Any, ...], dict[str, Any]],
        x: Tensor,
        mask: Tensor | None,
        weights: Tensor | None,
        backend: str,
    ) -> Any:
        """Calls the child for the rows that keep it.

        Args:
            child: what is gated.
            given: its (args, kwargs).
            x: that of its tensors which goes on where the child is skipped.
            mask: bool [rows, 1]; None keeps all.
            weights: float [rows, 1]; 0 is skipped, 1 is the child's output, in between a mixture.
            backend: see `ccenv.networks.core.protocol.GatedNetwork.step`.
        """
        rows = None if mask is None or backend == "reference" else kept_rows(mask)
        if rows is None:
            y = self._mixed(child(*given[0], **given[1]), x, weights)
            if mask is None or backend != "reference":
                return y
            return self._each(lambda new, old, dim: where_rows(mask, new, old, dim), y, x)
        if not rows.shape[0]:
            return self._each(lambda _, old, dim: old, self.output, x)
        args, kwargs = taken(given, self.layout, rows)
        y = child(*args, **kwargs)
        if weights is not None:
            y = self._mixed(y, selected(x, rows, self.dim), weights.index_select(0, rows))
        return self._each(lambda new, old, dim: placed(old, rows, new, dim), y, x)

    def _each(self, join: Callable[[Any, Tensor, int], Any], y: Any, x: Tensor) -> Any:
        """Joins each tensor of an output with what stands there where the child is skipped."""

        def leaf(shape: Shape | None, new: Any) -> Any:
            if shape is None:
                return new
            old = x if self.skipped == "identity" else shape.skipped(x, x.shape[self.dim])
            return join(new, old, shape.dim)

        return mapped(leaf, self.output, y)

    def _mixed(self, y: Any, x: Tensor, weights: Tensor | None) -> Any:
        if weights is None:
            return y

        def leaf(shape: Shape | None, new: Any) -> Any:
            if shape is None:
                return new
            share = along(weights.to(new.dtype), new.ndim, shape.dim)
            return (
                torch.lerp(x.to(new.dtype), new, share)
                if self.skipped == "identity"
                else new * share
            )

        return mapped(leaf, self.output, y)

    def macs(self, mask: Tensor, full: int) -> Tensor:
        """What runs under masks [rows, 1]: int64 [rows]."""
        return mask[:, 0] * full

    def norms(self, y: Any) -> Tensor:
        """Root mean square of the output: [rows, 1]."""
        found: list[tuple[Shape | None, Tensor]] = []
        mapped(lambda shape, tensor: found.append((shape, tensor)), self.output, y)
        shape, tensor = next(both for both in found if both[0] is not None)
        assert shape is not None
        rows = tensor.movedim(shape.dim, 0).flatten(1)
        return rows.square().mean(dim=1, keepdim=True).sqrt()


def where_rows(mask: Tensor, new: Tensor, old: Tensor, dim: int) -> Tensor:
    """New where a row is kept, old elsewhere."""
    return torch.where(along(mask.flatten(), new.ndim, dim), new, old)


@dataclass(frozen=True)
class ChannelsCall:
    """Neighbouring output channels of a convolution or a linear layer; zero where skipped."""

    num_blocks: int
    dim: int
    """where the rows of its input are."""
    channels_dim: int
    """where its output's channels are, behind the rows."""
    output: Shape
    skipped: ClassVar[str] = "zero"

    def __call__(
        self,
        child: Any,
        given: tuple[tuple[Any, ...], dict[str, Any]],
        x: Tensor,
        mask: Tensor | None,
        weights: Tensor | None,
        backend: str,
    ) -> Tensor:
        """Computes the channels that are kept; arguments as of `UnitCall`."""
        if mask is None:
            y: Tensor = child(x)
        elif backend == "reference":
            y = self._masked(child(x), mask)
        elif bool(mask.all()):
            y = child(x)
        elif bool((mask == mask[:1]).all()):
            y = self._same(child, x, mask[0])
        elif backend == "auto" and float(mask.float().mean()) > MOST_SHARE:
            y = self._masked(child(x), mask)
        else:
            y = self._by_block(child, x, mask)
        return y if weights is None else y * self._spread(weights.to(y.dtype), y)

    def _spread(self, values: Tensor, y: Tensor) -> Tensor:
        """Views [rows, blocks] as an output's rows and channels, 1 elsewhere."""
        wide = values.repeat_interleave(y.shape[self.channels_dim] // self.num_blocks, 1)
        sizes = [1] * y.ndim
        sizes[self.dim], sizes[self.channels_dim] = wide.shape
        return wide.reshape(sizes)

    def _masked(self, y: Tensor, mask: Tensor) -> Tensor:
        return torch.where(
            self._spread(mask, y), y, torch.zeros((), dtype=y.dtype, device=y.device)
        )

    def _same(self, child: Any, x: Tensor, mask: Tensor) -> Tensor:
        """All rows keep the same blocks: one smaller product."""
        nothing = self.output.skipped(x, x.shape[self.dim])
        wide = mask.repeat_interleave(len(child.weight) // self.num_blocks)
        units = wide.nonzero().squeeze(1)
        if not len(units):
            return nothing
        y = product(child, x, child.weight.index_select(0, units), some_bias(child, units))
        return placed(nothing, units, y, self.channels_dim)

    def _by_block(self, child: Any, x: Tensor, mask: Tensor) -> Tensor:
        """Each block for the rows that keep it."""
        size = len(child.weight) // self.num_blocks
        sizes = list(self.output.sizes)
        sizes[self.channels_dim] = size
        nothing = replace(self.output, sizes=tuple(sizes)).skipped(x, len(mask))
        outputs = [nothing] * self.num_blocks
        for block in range(self.num_blocks):
            rows = mask[:, block].nonzero().squeeze(1)
            if len(rows):
                part = slice(block * size, (block + 1) * size)
                bias = None if child.bias is None else child.bias[part]
                y = product(child, selected(x, rows, self.dim), child.weight[part], bias)
                outputs[block] = placed(nothing, rows, y, self.dim)
        return torch.cat(outputs, dim=self.channels_dim)

    def macs(self, mask: Tensor, full: int) -> Tensor:
        """What runs under masks [rows, blocks]: int64 [rows]."""
        return mask.sum(dim=1) * (full // self.num_blocks)

    def norms(self, y: Tensor) -> Tensor:
        """Root mean square of each block: [rows, blocks]."""
        blocks = y.unflatten(self.channels_dim, (self.num_blocks, -1))
        blocks = blocks.movedim((self.dim, self.channels_dim), (0, 1))
        return blocks.flatten(2).square().mean(dim=2).sqrt()


def some_bias(child: Any, units: Tensor) -> Tensor | None:
    """Biases of some output channels."""
    return None if child.bias is None else child.bias.index_select(0, units)


def product(child: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution or a linear layer with some of its output channels."""
    if isinstance(child, nn.Linear):
        return nn.functional.linear(x, weight, bias)
    found: Tensor = child._conv_forward(x, weight, bias)  # type: ignore[operator]
    return found
