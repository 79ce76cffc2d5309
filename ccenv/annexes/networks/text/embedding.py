"""The network `bytes`: windows of symbols -> the next one, by gated layers and look-up tables.

Of what was tried, the task where choosing blocks pays most. Tables next to the layers:

| table | from | to | numbers, of 128 symbols and 512 units |
|---|---|---|---|
| hidden | the last symbol | biases of every gated layer | 65,536 |
| logits | the last symbol | what is added to the logits | 16,384 |
| pairs | the last two symbols | what is added to the logits | 2,097,152 |

They cost memory and no products: an n-gram that learns along. Networks without choice gain by them
too, so both stand side by side wherever one does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from ccenv.annexes.networks.text.tokens import HashedRows, check_windows, window_length
from ccenv.base.annotations import with_fields_of
from ccenv.base.machine import check_fits
from ccenv.base.masks import spread_to_units
from ccenv.base.registry import check_names
from ccenv.base.values import Sizes, positive_ints
from ccenv.networks.core.lowering import Affine, Embed, Lowered, RowTable
from ccenv.networks.core.mlp import LayeredNetwork, MLPHidden, linear_at, linear_stack
from ccenv.networks.core.protocol import Unread, repeat_rows, rows_each
from ccenv.sparse.linear import block_sparse_linear
from ccenv.sparse.reference import zero_where_skipped

TABLES = ("hidden", "logits", "pairs")
STEMS = ("embeddings", "hashed")


def table_names(tables: Sequence[str] | str) -> tuple[str, ...]:
    """Names of tables, each once and in their order, from a list or from a text with commas."""
    listed = [name.strip() for name in tables.split(",")] if isinstance(tables, str) else tables
    wanted = [name for name in listed if name]
    check_names(wanted, TABLES, "table")
    return tuple(name for name in TABLES if name in wanted)


@dataclass(frozen=True)
class EndedHidden(MLPHidden):
    """Windows on their way, with what they end with."""

    last: Tensor
    """int64 [rows]; the last symbol."""
    pair: Tensor | None
    """int64 [rows]; the last two symbols as one number."""


@dataclass(frozen=True, kw_only=True)
class TokenSettings:
    """Settings of `TokenMLP`."""

    num_symbols: int | None = None
    """different symbols; None for as many as there are classes."""
    embedding_size: int = 8
    """numbers that stand for a symbol."""
    num_blocks: Sizes = (32,)
    """blocks of each gated layer."""
    block_size: Sizes = 16
    """units of a block, one for all gated layers or one for each."""
    look_tokens: int = 4
    """how many of the last symbols the first gate's look shows."""
    tables: Sequence[str] | str = ()
    """what is looked up as well, see the module: "hidden", "logits" and "pairs"."""
    context: int | None = None
    """how many of the last symbols the layers read; None for the whole window."""
    stem: str = "embeddings"
    """what the layers read: "embeddings" side by side, or "hashed": rows of `embedding_size`
    numbers of the last n-grams, added up, see `HashedRows`."""
    num_rows: int = 14_100
    """rows that n-grams share, of a hashed stem."""
    order: int = 6
    """the longest n-gram, of a hashed stem."""

    def read(self, input_shape: tuple[int, ...], num_classes: int) -> tuple[int, int, int]:
        """Symbols of a window, different ones, and how many of a window are read.

        Sizes that do not fit are refused (ValueError).
        """
        check_names([self.stem], STEMS, "stem")
        num_tokens = window_length(input_shape, "bytes")
        context = num_tokens if self.context is None else self.context
        num_symbols = num_classes if self.num_symbols is None else self.num_symbols
        numbers = [num_tokens, num_symbols, num_classes]
        numbers += [self.embedding_size, self.look_tokens, context]
        names = "num_tokens, num_symbols, num_classes, embedding_size, look_tokens and context"
        positive_ints(numbers, names)
        window_length(input_shape, "bytes", context)
        if self.look_tokens > context:
            raise ValueError(
                f"expected look_tokens to be at most the {context} symbols that are read, got "
                f"{self.look_tokens}"
            )
        return num_tokens, num_symbols, context


class TokenMLP(LayeredNetwork):
    """Predicts the next symbol of a text: embeddings, gated hidden layers, logits."""

    activation = "relu"
    num_symbols: int

    @with_fields_of(TokenSettings)
    def __init__(
        self, input_shape: tuple[int, ...] = (24,), num_classes: int = 128, **settings: Any
    ) -> None:
        """Builds the layers; see `TokenSettings`.

        Args:
            input_shape: (symbols of a window,).
            num_classes: columns of the logits.
            settings: fields of `TokenSettings`.
        """
        super().__init__()
        self.settings = sizes = TokenSettings(**settings)
        num_tokens, num_symbols, context = sizes.read(input_shape, num_classes)
        self.num_tokens, self.num_symbols = num_tokens, num_symbols
        self.look_tokens, self.context = sizes.look_tokens, context
        size, is_hashed = sizes.embedding_size, sizes.stem == "hashed"
        self.symbols_read = num_symbols + is_hashed
        self.set_sizes(
            size if is_hashed else context * size,
            size if is_hashed else sizes.look_tokens * size,
            sizes.num_blocks,
            sizes.block_size,
            num_classes,
        )
        self.embedding: nn.Module = (
            HashedRows(num_symbols, size, context, sizes.order, sizes.num_rows)
            if is_hashed
            else nn.Embedding(num_symbols, size)
        )
        self.layers = linear_stack(self.widths)
        self.table_names = table_names(sizes.tables)
        self.add_tables(num_symbols, num_classes)

    def add_tables(self, symbols: int, classes: int) -> None:
        """Adds the tables of `table_names`."""
        if "pairs" in self.table_names and self.num_tokens < 2:
            raise ValueError("expected windows of 2 symbols or more for pairs, got 1")
        gated = self.widths[1:-1]
        sizes = {"hidden": symbols * sum(gated), "logits": symbols * classes}
        sizes["pairs"] = symbols**2 * classes
        # The optimiser keeps two more numbers for each, and a gradient.
        num_floats = 4 * sum(sizes[name] for name in self.table_names)
        check_fits(
            num_floats, "look-up tables in training", "leave pairs out, or take fewer symbols"
        )
        if "hidden" in self.table_names:
            self.hidden_tables = nn.ModuleList([zeros(symbols, width) for width in gated])
        if "logits" in self.table_names:
            self.logit_table = zeros(symbols, classes)
        if "pairs" in self.table_names:
            self.pair_table = zeros(symbols**2, classes)

    def biases(self, gate: int) -> nn.Embedding:
        """The table from the last symbol to biases of a gate's units."""
        table = self.hidden_tables[gate]
        assert isinstance(table, nn.Embedding)
        return table

    def gate_parameters(self, gate: int) -> list[nn.Parameter]:
        """See `GatedNetwork`: a block's biases of each symbol are its own too."""
        more = self.biases(gate).parameters() if "hidden" in self.table_names else []
        return [*super().gate_parameters(gate), *more]

    def unread_entries(self, off: Sequence[Tensor]) -> Unread:
        """See `GatedNetwork`: a block's biases of each symbol are its own too."""
        pairs = super().unread_entries(off)
        if "hidden" in self.table_names:
            tables = [self.biases(gate).weight for gate in range(len(off))]
            pairs += [
                (table, spread_to_units(units, table, 1))
                for table, units in zip(tables, off, strict=True)
            ]
        return pairs

    def dense_layers(self) -> list[nn.Linear]:
        """See `LayeredNetwork`."""
        return [linear_at(self.layers, len(self.gates))]

    def start(self, inputs: Tensor) -> MLPHidden:
        """Looks the symbols up: int64 [rows, num_tokens]."""
        check_windows(inputs, self.num_tokens)
        x = self.embedding(inputs[:, -self.context :]).flatten(1)
        if not self.table_names:
            return MLPHidden(x, None)
        last = inputs[:, -1]
        pair = inputs[:, -2] * self.num_symbols + last if "pairs" in self.table_names else None
        return EndedHidden(x, None, last, pair)

    def step(
        self,
        gate: int,
        hidden: MLPHidden,
        mask: Tensor | None,
        weights: Tensor | None = None,
        backend: str = "auto",
    ) -> MLPHidden:
        """See `GatedNetwork.step`."""
        after = super().step(gate, hidden, mask, weights, backend)
        if not isinstance(hidden, EndedHidden):
            return after
        ended = repeat_rows(hidden, rows_each(len(hidden.last), len(after.x)))
        return replace(ended, x=after.x, mask=after.mask)

    def units(self, gate: int, hidden: MLPHidden, mask: Tensor | None, backend: str) -> Tensor:
        """See `LayeredNetwork`: what the last symbol says is added before the activation."""
        if "hidden" not in self.table_names:
            return super().units(gate, hidden, mask, backend)
        assert isinstance(hidden, EndedHidden)
        layer = linear_at(self.layers, gate)
        y = block_sparse_linear(
            hidden.x, layer.weight, layer.bias, hidden.mask, mask, backend=backend
        )
        return zero_where_skipped((y + self.biases(gate)(hidden.last)).relu(), mask)

    def logits(self, hidden: MLPHidden, backend: str = "auto") -> Tensor:
        """See `GatedNetwork.logits`."""
        logits = super().logits(hidden, backend)
        if isinstance(hidden, EndedHidden):
            if "logits" in self.table_names:
                logits = logits + self.logit_table(hidden.last)
            if "pairs" in self.table_names:
                logits = logits + self.pair_table(hidden.pair)
        return logits

    def look(self, gate: int, hidden: MLPHidden) -> Tensor:
        """The last symbols' embeddings before the first gate, then what its layer reads."""
        return hidden.x[:, -self.gates[0].look_size :] if gate == 0 else hidden.x

    def lower(self) -> Lowered:
        """See `ccenv.networks.core.lowering`."""
        plain, symbols = super().lower(), self.num_symbols
        tables: list[list[RowTable]] = [[] for _ in plain.operations]
        if "hidden" in self.table_names:
            for gate in range(len(self.gates)):
                tables[gate].append(RowTable(self.biases(gate).weight, 1, symbols))
        if "logits" in self.table_names:
            tables[-1].append(RowTable(self.logit_table.weight, 1, symbols))
        if "pairs" in self.table_names:
            tables[-1].append(RowTable(self.pair_table.weight, 2, symbols))
        layers = [
            replace(cast(Affine, layer), tables=tuple(added))
            for layer, added in zip(plain.operations, tables, strict=True)
        ]
        stem = Embed(self.embedding, self.context, self.num_tokens, symbols)
        return Lowered((stem, *layers), plain.hidden)


def zeros(rows: int, width: int) -> nn.Embedding:
    """A table of zeros: nothing is drawn for it, so that other weights are as without it."""
    return nn.Embedding.from_pretrained(torch.zeros(rows, width), freeze=False)
