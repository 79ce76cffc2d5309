"""The network `bytes`, a predictor of the next symbol, with look-up tables beside it.

The network `bytes`: (length of a window, number of symbols) -> a predictor of the next symbol.

Of what was tried, the task where choosing blocks pays most.

Look-up tables beside a network of tokens: (last symbols) -> biases of hidden units, and logits.

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
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.base.memory import check_fits
from ccenv.base.registry import check_names
from ccenv.networks.core.lowering import Affine, Lowered, Operation, Table
from ccenv.networks.core.mlp import Sizes, linear_at
from ccenv.networks.core.protocol import rows_each
from ccenv.networks.text.hashed_rows import HashedRows
from ccenv.networks.text.tokens import TokenMLP, Units, check_context, window_length
from ccenv.sparse.linear import block_sparse_linear
from ccenv.sparse.reference import zero_where_skipped

TABLES = ("hidden", "logits", "pairs")


def table_names(tables: Sequence[str] | str) -> tuple[str, ...]:
    """Names of tables, each once and in their order, from a list or from a text with commas.

    Raises:
        ValueError: if a name is unknown.

    >>> table_names("pairs,hidden")
    ('hidden', 'pairs')
    """
    given = [name.strip() for name in tables.split(",")] if isinstance(tables, str) else tables
    found = [name for name in given if name]
    check_names(found, TABLES, "table")
    return tuple(name for name in TABLES if name in found)


@dataclass(frozen=True)
class EndedUnits(Units):
    """Windows on their way, with what they end with."""

    last: Tensor | None = None
    """int64 [rows]; the last symbol."""
    pair: Tensor | None = None
    """int64 [rows]; the last two symbols as one number."""


class TabledMLP(TokenMLP):
    """A `TokenMLP` with tables, which are zero at first: then it is the network without them."""

    def __init__(self, *sizes: Any, tables: Sequence[str] = TABLES) -> None:
        """Builds the layers and the tables.

        Args:
            *sizes: of the `TokenMLP`.
            tables: names in `TABLES`.

        Raises:
            ValueError: if a size or a name is impossible, a table does not fit in memory, or pairs
                are wanted of windows of one symbol.
        """
        super().__init__(*sizes)
        self.table_names = table_names(tables)
        symbols = self.num_symbols
        widths = [linear_at(self.layers, gate).out_features for gate in range(len(self.gates))]
        if "pairs" in self.table_names and self.num_tokens < 2:
            raise ValueError(f"expected windows of 2 symbols or more for pairs, got {sizes[0]}")
        wanted = {"hidden": symbols * sum(widths), "logits": symbols * self.num_classes}
        wanted["pairs"] = symbols**2 * self.num_classes
        # The optimiser keeps two more numbers for each, and a gradient.
        num_floats = 4 * sum(wanted[name] for name in self.table_names)
        check_fits(
            num_floats, "look-up tables in training", "leave pairs out, or take fewer symbols"
        )
        if "hidden" in self.table_names:
            self.hidden_tables = nn.ModuleList([zeros(symbols, width) for width in widths])
        if "logits" in self.table_names:
            self.logit_table = zeros(symbols, self.num_classes)
        if "pairs" in self.table_names:
            self.pair_table = zeros(symbols**2, self.num_classes)

    def gate_parameters(self, gate: int) -> list[nn.Parameter]:
        """See `TokenMLP`: a block's biases of each symbol are its own too."""
        own = super().gate_parameters(gate)
        more = self.biases(gate).parameters() if "hidden" in self.table_names else []
        return [*own, *more]

    def biases(self, gate: int) -> nn.Embedding:
        """The table from the last symbol to biases of a gate's units."""
        table = self.hidden_tables[gate]
        assert isinstance(table, nn.Embedding)
        return table

    def lower(self) -> Lowered:
        """See `ccenv.networks.core.lowering`."""
        plain, symbols = super().lower(), self.num_symbols
        stem, *layers = plain.operations
        tables: list[list[Table]] = [[] for _ in layers]
        if "hidden" in self.table_names:
            for gate in range(len(self.gates)):
                tables[gate].append(Table(self.biases(gate).weight, 1, symbols))
        if "logits" in self.table_names:
            tables[-1].append(Table(self.logit_table.weight, 1, symbols))
        if "pairs" in self.table_names:
            tables[-1].append(Table(self.pair_table.weight, 2, symbols))
        found: list[Operation] = [stem]
        for layer, own in zip(layers, tables, strict=True):
            assert isinstance(layer, Affine)
            found.append(replace(layer, tables=tuple(own)))
        return replace(plain, operations=tuple(found))

    def start(self, inputs: Tensor) -> EndedUnits:
        """See `TokenMLP.start`; remembers what windows end with."""
        x, last = super().start(inputs).x, inputs[:, -1]
        pair = inputs[:, -2] * self.num_symbols + last if "pairs" in self.table_names else None
        return EndedUnits(x, None, last, pair)

    def step(
        self,
        gate: int,
        hidden: Units,
        mask: Tensor | None,
        weights: Tensor | None = None,
        backend: str = "auto",
    ) -> Units:
        """See `TokenMLP.step`."""
        found = super().step(gate, hidden, mask, weights, backend)
        assert isinstance(found, EndedUnits)
        assert found.last is not None
        group = rows_each(len(found.last), len(found.x))
        if group == 1:
            return found
        pair = None if found.pair is None else found.pair.repeat_interleave(group)
        return replace(found, last=found.last.repeat_interleave(group), pair=pair)

    def units(self, gate: int, hidden: Units, mask: Tensor | None, backend: str) -> Tensor:
        """See `TokenMLP.units`: what the last symbol says is added before the activation."""
        assert isinstance(hidden, EndedUnits)
        if "hidden" not in self.table_names:
            return super().units(gate, hidden, mask, backend)
        layer = linear_at(self.layers, gate)
        y = block_sparse_linear(
            hidden.x, layer.weight, layer.bias, hidden.before, mask, backend=backend
        )
        return zero_where_skipped((y + self.biases(gate)(hidden.last)).relu(), mask)

    def logits(self, hidden: Units, backend: str = "auto") -> Tensor:
        """See `GatedNetwork.logits`."""
        assert isinstance(hidden, EndedUnits)
        found = super().logits(hidden, backend)
        if "logits" in self.table_names:
            found = found + self.logit_table(hidden.last)
        if "pairs" in self.table_names:
            found = found + self.pair_table(hidden.pair)
        return found


def zeros(rows: int, width: int) -> nn.Embedding:
    """A table of zeros: nothing is drawn for it, so that other weights are as without it."""
    return nn.Embedding.from_pretrained(torch.zeros(rows, width), freeze=False)


STEMS = ("embeddings", "hashed")


def next_byte(
    input_shape: tuple[int, ...] = (24,),
    num_classes: int = 128,
    num_symbols: int | None = None,
    embedding_size: int = 8,
    num_blocks: Sizes = (32,),
    block_size: Sizes = 16,
    look_tokens: int = 4,
    tables: Sequence[str] | str = (),
    context: int | None = None,
    stem: str = "embeddings",
    num_rows: int = 14_100,
    order: int = 6,
) -> TokenMLP:
    """Predicts the next symbol of a text: embeddings, gated hidden layers, logits.

    Args:
        input_shape: (symbols of a window,).
        num_classes: columns of the logits.
        num_symbols: different symbols; None for as many as there are classes.
        embedding_size: numbers that stand for a symbol.
        num_blocks: blocks of each gated layer.
        block_size: units of a block, one for all gated layers or one for each.
        look_tokens: how many of the last symbols the first gate's look shows.
        tables: what is looked up beside, see `ccenv.networks.text.embedding`: "hidden",
            "logits" and "pairs"; none by default.
        context: how many of the last symbols the layers read; None for the whole window.
        stem: what the layers read: "embeddings" side by side, or "hashed": rows of `embedding_size`
            numbers of the last n-grams, added up, see `ccenv.networks.text.hashed_rows`.
        num_rows: rows that n-grams share, of a hashed stem.
        order: the longest n-gram, of a hashed stem.

    Raises:
        ValueError: if inputs are no windows of symbols, or a size is impossible.
    """
    num_tokens = window_length(input_shape, "bytes")
    symbols = num_classes if num_symbols is None else num_symbols
    check_names([stem], STEMS, "stem")
    hashed = None
    if stem == "hashed":
        read = num_tokens if context is None else context
        check_context(read, num_tokens)
        hashed = HashedRows(symbols, embedding_size, read, order, num_rows)
    sizes = (
        num_tokens,
        symbols,
        num_classes,
        embedding_size,
        num_blocks,
        block_size,
        look_tokens,
        context,
        hashed,
    )
    names = table_names(tables)
    return TabledMLP(*sizes, tables=names) if names else TokenMLP(*sizes)
