"""Networks for tokens: windows of symbols -> embeddings, gated layers in blocks, logits.

An embedding is looked up and costs no product.

What networks of symbols read: (shape of an input, symbols to read) -> checked numbers.
"""

import itertools
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ccenv.networks.core.lowering import Affine, Blocks, Embed, Lowered, Operation
from ccenv.networks.core.mlp import (
    LayeredNetwork,
    Sizes,
    linear_at,
    linear_stack,
    linears,
    positive_ints,
)
from ccenv.networks.core.protocol import Gate, rows_each
from ccenv.networks.text.hashed_rows import HashedRows
from ccenv.sparse.expand_masks import repeat_for_masks
from ccenv.sparse.linear import block_sparse_linear


def window_length(input_shape: tuple[int, ...], network: str) -> int:
    """Symbols of a window.

    Raises:
        ValueError: if inputs are no windows of symbols; it names the network.
    """
    if len(input_shape) != 1:
        raise ValueError(
            f"expected windows of symbols (length,) for {network!r}, got inputs "
            f"{tuple(input_shape)}"
        )
    return input_shape[0]


def check_context(context: int, num_tokens: int) -> None:
    """That a window has as many symbols as are to be read.

    Raises:
        ValueError: if it has fewer.
    """
    if context > num_tokens:
        raise ValueError(
            f"expected context to be at most the window's {num_tokens} symbols, got {context}"
        )


@dataclass(frozen=True)
class Units:
    """Windows on their way through a `TokenMLP`."""

    x: Tensor
    """[rows, width] what the next layer reads."""
    before: Tensor | None = None
    """bool [rows, blocks]; which blocks of x were computed, None for all."""


class TokenMLP(LayeredNetwork):
    """Embeddings side by side, then fully connected layers in blocks; skipped blocks are zero.

    Logits are computed from kept units alone, and so is every layer behind a gated one.
    """

    num_symbols: int

    def __init__(
        self,
        num_tokens: int,
        num_symbols: int,
        num_classes: int,
        embedding_size: int = 8,
        num_blocks: Sizes = (32,),
        block_size: Sizes = 16,
        look_tokens: int = 4,
        context: int | None = None,
        stem: HashedRows | None = None,
    ) -> None:
        """Builds the layers.

        Args:
            num_tokens: symbols of a window.
            num_symbols: different symbols.
            num_classes: columns of the logits.
            embedding_size: numbers that stand for a symbol.
            num_blocks: blocks of each gated layer.
            block_size: units of a block, one for all gated layers or one for each.
            look_tokens: how many of the last symbols the first gate's look shows.
            context: how many of the last symbols the layers read; None for the whole window.
            stem: what the first layer reads and its gate looks at, instead of embeddings.

        Raises:
            ValueError: if a size is not a positive integer, the context is longer than a window, or
                the look longer than the context.
        """
        super().__init__()
        context = num_tokens if context is None else context
        numbers = [num_tokens, num_symbols, num_classes, embedding_size, look_tokens, context]
        names = "num_tokens, num_symbols, num_classes, embedding_size, look_tokens and context"
        positive_ints(numbers, names)
        check_context(context, num_tokens)
        if look_tokens > context:
            raise ValueError(
                f"expected look_tokens to be at most the {context} symbols that are read, got "
                f"{look_tokens}"
            )
        blocks = positive_ints(num_blocks, "num_blocks")
        sizes = positive_ints(block_size, "block_size")
        sizes = sizes * len(blocks) if len(sizes) == 1 else sizes
        if len(sizes) != len(blocks):
            raise ValueError(
                f"expected one block_size, or one for each of the {len(blocks)} gated layers, got "
                f"{list(sizes)}"
            )
        self.num_tokens, self.num_symbols, self.num_classes = numbers[:3]
        self.block_sizes, self.look_size = sizes, look_tokens * embedding_size
        self.look_tokens, self.context = look_tokens, context
        read = context * embedding_size
        if stem is not None:
            read = self.look_size = stem.out_features
        self.embedding = nn.Embedding(num_symbols, embedding_size) if stem is None else stem
        widths = [n * size for n, size in zip(blocks, sizes, strict=True)]
        stack = [read, *widths, num_classes]
        self.layers = linear_stack(stack)
        self.last_look_size = stack[-2]
        self.dense_macs = sum(a * b for a, b in itertools.pairwise(stack))
        looks = [self.look_size, *widths[:-1]]
        self.gates = tuple(
            Gate(f"layers.{i}", n, look)
            for i, (n, look) in enumerate(zip(blocks, looks, strict=True))
        )

    def lower(self) -> Lowered:
        """See `ccenv.networks.core.lowering`."""
        stem = Embed(self.embedding, self.context, self.num_tokens, self.num_symbols)
        *hidden, last = linears(self.layers)
        gated = [
            Blocks(
                layer.weight,
                layer.bias,
                "relu",
                num_blocks=gate.num_blocks,
                look=gate.look_size,
            )
            for layer, gate in zip(hidden, self.gates, strict=True)
        ]
        operations: list[Operation] = [stem, *gated, Affine(last.weight, last.bias)]
        return Lowered(tuple(operations), lambda x, before, _: Units(x, before))

    def start(self, inputs: Tensor) -> Units:
        """Looks the symbols up: int64 [rows, num_tokens].

        Raises:
            ValueError: if they are no windows of that length, or no whole numbers.
        """
        if inputs.dtype != torch.int64 or inputs.shape[1:] != (self.num_tokens,):
            raise ValueError(
                f"expected symbols as int64 [rows, {self.num_tokens}], got {inputs.dtype} "
                f"{list(inputs.shape)}"
            )
        return Units(self.embedded(inputs))

    def embedded(self, inputs: Tensor) -> Tensor:
        """Embeddings side by side of the symbols that are read, or what the stem makes of them."""
        return self.embedding(inputs[:, -self.context :]).flatten(1)

    def step(
        self,
        gate: int,
        hidden: Units,
        mask: Tensor | None,
        weights: Tensor | None = None,
        backend: str = "auto",
    ) -> Units:
        """See `GatedNetwork.step`; a block that several masks of a window keep is computed once."""
        x = hidden.x
        given = mask if mask is not None else weights
        group = 1 if given is None else rows_each(len(x), len(given))
        out = mask
        if group > 1 and mask is not None:
            out = mask.unflatten(0, (len(x), group)).any(dim=1)
        y = self.units(gate, hidden, out, backend)
        if group > 1:
            y = y.repeat_interleave(group, 0) if mask is None else repeat_for_masks(y, mask)
        if weights is not None:
            y = (y.unflatten(1, (weights.shape[1], -1)) * weights.unsqueeze(2)).flatten(1)
        return replace(hidden, x=y, before=mask)

    def units(self, gate: int, hidden: Units, mask: Tensor | None, backend: str) -> Tensor:
        """Activations of a gated layer's kept blocks: [rows, width], skipped ones are zero."""
        layer = linear_at(self.layers, gate)
        return block_sparse_linear(
            hidden.x,
            layer.weight,
            layer.bias,
            hidden.before,
            mask,
            activation="relu",
            backend=backend,
        )

    def logits(self, hidden: Units, backend: str = "auto") -> Tensor:
        """See `GatedNetwork.logits`."""
        head = linear_at(self.layers, len(self.gates))
        return block_sparse_linear(hidden.x, head.weight, head.bias, hidden.before, backend=backend)

    def look(self, gate: int, hidden: Units) -> Tensor:
        """The last symbols' embeddings before the first gate, then what its layer reads."""
        return hidden.x[:, -self.look_size :] if gate == 0 else hidden.x

    def macs(self, gate: int, hidden: Units, mask: Tensor) -> Tensor:
        """See `GatedNetwork.macs`: kept inputs times kept units, and the last gate's logits."""
        size = self.block_sizes[gate]
        read = torch.full_like(mask[:, 0], hidden.x.shape[1], dtype=torch.int64)
        if hidden.before is not None:
            kept = hidden.before.sum(dim=1) * self.block_sizes[gate - 1]
            read = kept.repeat_interleave(rows_each(len(kept), len(mask)))
        units = mask.sum(dim=1) * size
        return units * (read + (self.num_classes if gate == len(self.gates) - 1 else 0))

    def least_macs(self, gate: int) -> int:
        """Nothing: a gate that keeps no block leaves the biases alone."""
        return 0
