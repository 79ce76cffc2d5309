"""Baselines on texts: (windows of symbols) -> predictors of the next symbol.

`pruned_bytes` is one fixed network with fewer weights, `cascade_bytes` a small one with a larger
one where it is unsure. `hashed_ngrams` adds up rows of the last n-grams. `gru` is a recurrent
layer.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ccenv.annexes.networks.baselines.pruned import OutputBias, PrunedLayers, PrunedNetwork
from ccenv.annexes.networks.text.tokens import (
    HashedRows,
    Sequences,
    check_windows,
    sequences_of,
    window_length,
)
from ccenv.base.values import Sizes, positive_ints
from ccenv.networks.core.abilities import PlaysWindows
from ccenv.networks.core.exit_state import Flow
from ccenv.networks.core.protocol import Abilities, Rule
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.core.stage import Stage
from ccenv.networks.stages.linear import (
    LinearExperts,
    Whole,
    fully_connected,
    in_major_linear,
)
from ccenv.networks.vision.early_exit import cascade_on


class LastEmbeddings(nn.Module):
    """Embeddings side by side of a window's last symbols; a look-up costs no product."""

    def __init__(self, num_symbols: int, embedding_size: int, context: int) -> None:
        """Draws embeddings of so many numbers; the last `context` symbols are read."""
        super().__init__()
        names = "num_symbols, embedding_size and context"
        positive_ints((num_symbols, embedding_size, context), names)
        self.context = context
        self.embedding = nn.Embedding(num_symbols, embedding_size)

    @property
    def out_features(self) -> int:
        """Columns of what it gives."""
        return self.context * self.embedding.embedding_dim

    def forward(self, tokens: Tensor) -> Tensor:
        """Int64 [rows, symbols] -> [rows, context * embedding_size]."""
        return self.embedding(tokens[:, -self.context :]).flatten(1)


def a_window(input_shape: tuple[int, ...], context: int, network: str) -> Tensor:
    """One window of symbols, as an example: int64 [1, symbols]; other inputs are refused."""
    num_tokens = window_length(input_shape, network, context)
    return torch.zeros(1, num_tokens, dtype=torch.int64)


def pruned_bytes(
    input_shape: tuple[int, ...] = (24,),
    num_classes: int = 128,
    embedding_size: int = 8,
    units: Sizes = (512, 256),
    context: int = 8,
    macs: int | None = None,
    begin: float = 0.1,
    end: float = 0.7,
) -> PrunedNetwork:
    """A dense network `bytes` that is pruned by magnitude while it is co-trained.

    It must be trained with `schedule_updates`, by the agent `dense`. Embeddings are not pruned.

    Args:
        input_shape: (symbols of a window,).
        num_classes: columns of the logits, and different symbols.
        embedding_size: numbers that stand for a symbol.
        units: of each hidden layer, of all weights.
        context: how many of the last symbols are read.
        macs: weights of the layers that are left in the end; None: a fifth.
        begin: share of the training at which pruning begins.
        end: share of the training at which it ends.
    """
    example = a_window(input_shape, context, "pruned_bytes")
    stem = LastEmbeddings(num_classes, embedding_size, context)
    widths = [stem.out_features, *positive_ints(units, "units", allow_none=True)]
    layers = PrunedLayers(fully_connected([*widths, num_classes], last_bias=False), num_classes)
    network = PrunedNetwork(layers, num_classes, example, macs, (begin, end), stem)
    network.symbols_read = num_classes
    return network


def cascade_bytes(
    input_shape: tuple[int, ...] = (24,),
    num_classes: int = 128,
    embedding_size: int = 8,
    first: Sizes = (48, 32),
    then: Sizes = (512, 256),
    context: int = 8,
) -> GatedSequential:
    """Two fully connected networks on shared embeddings: a small one, then a larger one.

    They share the embeddings, which both teach, and nothing else.

    Args:
        input_shape: (symbols of a window,).
        num_classes: columns of the logits, and different symbols.
        embedding_size: numbers that stand for a symbol.
        first: units of the hidden layers of the small network, which always runs.
        then: those of the network that runs where the first does not stop.
        context: how many of the last symbols are read.
    """
    example = a_window(input_shape, context, "cascade_bytes")
    stem = LastEmbeddings(num_classes, embedding_size, context)
    network = cascade_on(stem, stem.out_features, num_classes, first, then, example)
    network.symbols_read = num_classes
    return network


def output_matrices(units: int, num_blocks: int, num_classes: int) -> Stage:
    """Maps from a hidden layer to logits, of which those that are kept are added up."""
    # One matrix is a plain layer, with the weights and the kernels of a baseline.
    if num_blocks == 1:
        return Whole(nn.Sequential(in_major_linear(units, num_classes, bias=False)), num_classes)
    return LinearExperts(units, num_blocks, num_classes)


def hashed_ngrams(
    input_shape: tuple[int, ...] = (24,),
    num_classes: int = 128,
    units: int = 26,
    num_rows: int = 14_100,
    context: int = 8,
    order: int = 6,
    num_blocks: int = 1,
    num_symbols: int | None = None,
    activation: str = "relu",
    row_shares: Sizes = (),
    is_scaled: bool = False,
) -> GatedSequential:
    """Predicts the next symbol from summed rows of hashed n-grams: one hidden layer, one gate.

    With several blocks it is no baseline any more: an agent chooses among output matrices.

    Args:
        input_shape: (symbols of a window,).
        num_classes: columns of the logits, and different symbols.
        units: of the hidden layer, which are the numbers of a row.
        num_rows: rows that n-grams of 2 to `order` symbols share.
        context: how many of the last symbols have a row of their own at their place.
        order: the longest n-gram.
        num_blocks: output matrices from the hidden layer to the logits, of which those that are
            kept are added up.
        num_symbols: different symbols that policies know: None for as many as there are classes, or
            one more, for the missing symbols before a sequence, which have no rows.
        activation: of the hidden layer: "relu" or "elu".
        row_shares: how many parts of `num_rows` n-grams of each length have, from 2 symbols on;
            none for as many rows for each length.
        is_scaled: whether the last symbol scales the units, each by a number of its own.
    """
    example = a_window(input_shape, context, "hashed_ngrams")
    num_symbols = num_classes if num_symbols is None else num_symbols
    positive_ints([num_blocks], "num_blocks")
    if num_symbols not in (num_classes, num_classes + 1):
        raise ValueError(
            f"expected num_symbols of {num_classes} or, for sequences, {num_classes + 1}, got "
            f"{num_symbols}"
        )
    stem = HashedRows(
        num_classes,
        units,
        context,
        order,
        num_rows,
        activation=activation,
        row_shares=row_shares,
        is_scaled=is_scaled,
    )
    layer = output_matrices(units, num_blocks, num_classes)
    network = GatedSequential(stem, {"logits": layer}, OutputBias(num_classes), example)
    network.num_symbols, network.symbols_read = num_symbols, num_classes + 1
    return network


@dataclass(frozen=True)
class States:
    """States of a recurrent layer along the sequences of a batch."""

    sequences: Sequences
    behind: Tensor
    """[sequences, length, width]; behind each symbol."""

    def at(self, places: Tensor) -> Tensor:
        """Gathers a state for each input: its places, int64 [inputs] -> [inputs, width]."""
        flat = self.sequences.sequence * self.behind.shape[1] + places
        return self.behind.flatten(0, 1).index_select(0, flat)

    def before(self) -> Tensor:
        """The state before each input's last symbol: [inputs, width]."""
        shifted = States(self.sequences, pad(self.behind, (0, 0, 1, -1)))
        return shifted.at(self.sequences.place)


class Recurrent(nn.Module):
    """Embeddings and a GRU: positions of sequences -> the states behind their last symbols."""

    def __init__(self, num_classes: int, embedding_size: int, width: int) -> None:
        """Draws both; the number behind the last symbol is missing."""
        super().__init__()
        self.embedding = nn.Embedding(num_classes, embedding_size)
        self.gru = nn.GRU(embedding_size, width, batch_first=True)

    def train(self, mode: bool = True) -> Self:
        """As torch's, but the layer, which is the same in both modes, stays in training mode.

        In co-training an update goes back through what a rollout computed in evaluation mode, and
        cuDNN keeps what gradients need in training mode only.
        """
        super().train(mode)
        self.gru.train()
        return self

    def states(self, inputs: Tensor) -> States:
        """Runs the sequences of inputs: int64 [rows, symbols]."""
        sequences = sequences_of(inputs, self.embedding.num_embeddings)
        return States(sequences, self.gru(self.embedding(sequences.symbols))[0])

    def forward(self, inputs: Tensor) -> Tensor:
        """Int64 [rows, symbols] -> [rows, width]."""
        states = self.states(inputs)
        return states.at(states.sequences.place)

    def after(self, before: Tensor, symbols: Tensor) -> Tensor:
        """Takes one step: states [rows, width], symbols int64 [rows] -> [rows, width]."""
        states: Tensor = self.gru(self.embedding(symbols[:, None]), before.unsqueeze(0))[0]
        return states[:, 0]


class GRU(GatedSequential):
    """A recurrent layer over symbols; its gate chooses among matrices of the logits, usually one.

    An input is one position, as of the network `lm`. Each sequence of a batch runs once. Of a
    single matrix the agent `dense` has nothing to choose; of several an agent chooses for each
    position, and no state depends on what was chosen. MACs of a position are one step of the layer,
    with the state of the position before in a cache, and the logits.

    Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder for statistical
    machine translation" (arXiv 1406.1078), as `torch.nn.GRU` has it.

    >>> network = GRU((8,), 5, width=4, embedding_size=3)
    >>> network.gates[0].name, network.dense_macs
    ('logits', 104)
    """

    abilities: Abilities = (*GatedSequential.abilities, PlaysWindows)

    def __init__(
        self,
        input_shape: tuple[int, ...] = (128,),
        num_classes: int = 128,
        width: int = 192,
        embedding_size: int = 32,
        num_blocks: int = 1,
    ) -> None:
        """Builds the layer.

        Args:
            input_shape: (symbols of a window,).
            num_classes: different symbols, which are the classes too; one more is a missing one.
            width: units of the layer.
            embedding_size: numbers that stand for a symbol.
            num_blocks: output matrices from the state to the logits, of which those that are kept
                are added up.
        """
        window = window_length(input_shape, "gru")
        positive_ints(
            [window, width, embedding_size, num_blocks],
            "window, width, embedding_size and num_blocks",
        )
        logits = output_matrices(width, num_blocks, num_classes)
        # An example of one symbol, so that costs are those of one position.
        example = torch.zeros(1, 1, dtype=torch.int64)
        stem = Recurrent(num_classes, embedding_size, width)
        super().__init__(stem, {"logits": logits}, OutputBias(num_classes), example)
        self.window, self.num_symbols = window, num_classes + 1

    def recurrent(self) -> Recurrent:
        """The layer that runs."""
        stem = self.running()[0]
        assert isinstance(stem, Recurrent)
        return stem

    def start(self, inputs: Tensor) -> Flow:
        """See `GatedNetwork.start`."""
        check_windows(inputs, self.window)
        return super().start(inputs)

    def played(
        self, inputs: Tensor, rule: Rule | None = None, *, alone: bool = False
    ) -> States | Tensor:
        """Runs the sequences of inputs: int64 [rows, window]; no mask changes a state.

        Returns:
            States of all positions; with `alone` the one before the last, [1, width].

        Raises:
            ValueError: if the inputs are no windows of its symbols.
        """
        check_windows(inputs, self.window)
        states = self.recurrent().states(inputs)
        return states.before() if alone else states

    def read(self, inputs: Tensor, state: States | Tensor) -> Flow:
        """See `PlaysWindows`."""
        if isinstance(state, States):
            return Flow(state.at(state.sequences.place), len(inputs))
        return Flow(self.recurrent().after(state, inputs[:, -1]), len(inputs))
