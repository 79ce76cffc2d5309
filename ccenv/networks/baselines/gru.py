"""The network `gru`: a recurrent layer that predicts the next symbol of a sequence, a baseline.

An input is one position, as of the network `lm`. Each sequence of a batch runs once. The one gate
is the matrix of the logits: of a single one the agent `dense` has nothing to choose; of several an
agent chooses for each position, and no state depends on what was chosen. MACs of a position are one
step of the layer, with the state of the position before in a cache, and the logits.

Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder for statistical machine
translation" (arXiv 1406.1078), as `torch.nn.GRU` has it.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ccenv.base.values import positive_ints
from ccenv.networks.baselines.pruned import Shift
from ccenv.networks.baselines.text import output_matrices
from ccenv.networks.core.abilities import Caches
from ccenv.networks.core.exit_state import Flow
from ccenv.networks.core.protocol import Abilities, Earlier
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.text.sequences import Sequences, sequences_of
from ccenv.networks.text.tokens import check_windows, window_length


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

    def after(self, states: States, symbols: Tensor) -> Tensor:
        """Takes one step at each position: its symbols, int64 [rows] -> [rows, width]."""
        before = States(states.sequences, pad(states.behind, (0, 0, 1, -1)))
        first = before.at(states.sequences.place).unsqueeze(0)
        found: Tensor = self.gru(self.embedding(symbols[:, None]), first)[0]
        return found[:, 0]


class GRU(GatedSequential):
    """A recurrent layer over symbols; its gate chooses among matrices of the logits, usually one.

    >>> network = GRU((8,), 5, width=4, embedding_size=3)
    >>> network.gates[0].name, network.dense_macs
    ('logits', 104)
    """

    abilities: Abilities = (*GatedSequential.abilities, Caches)

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
        super().__init__(stem, {"logits": logits}, Shift(num_classes), example)
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

    def cache(self, inputs: Tensor, earlier: Earlier | None = None) -> States:
        """Runs the sequences of inputs: int64 [rows, window]; no mask changes a state.

        Raises:
            ValueError: if the inputs are no windows of its symbols.
        """
        check_windows(inputs, self.window)
        return self.recurrent().states(inputs)

    def start_cached(self, inputs: Tensor, cache: States) -> Flow:
        """See `Caches`."""
        return Flow(self.recurrent().after(cache, inputs[:, -1]), len(inputs))


gru = GRU
