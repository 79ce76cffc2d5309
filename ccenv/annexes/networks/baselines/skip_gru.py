"""The network `skip_gru`: a recurrent layer with a gate at each position, "update or keep".

Skip RNN: Campos et al. 2018, "Skip RNN: learning to skip state updates in recurrent neural
networks" (arXiv 1708.06834). A position whose gate is kept takes one step of the layer; one that
skips copies its state. Answers are made of the state and, free of products, of a row of numbers for
the current symbol, so that a position that skips still knows what it reads.

Ours: who chooses is a policy of the environment, in place of a gate within the layer; the row of
the current symbol; the surprise of the symbol just read, which the look shows first.

In an episode of one input the positions before it update the state where the policy's greedy masks
say so, and always without a policy. In an episode over a sequence (`episode="sequence"`) the state
goes on as the episode's own masks made it.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.annexes.networks.baselines.text import Recurrent, States
from ccenv.annexes.networks.text.tokens import (
    check_windows,
    sequences_of,
    window_length,
    windows_of,
)
from ccenv.base.values import positive_ints
from ccenv.networks.core.abilities import Bounds, Continues, Doubts, PlaysWindows
from ccenv.networks.core.protocol import (
    Abilities,
    Gate,
    GatedNetwork,
    Rule,
    group_of,
    repeat_rows,
)
from ccenv.networks.core.unrolled import along, by_rule
from ccenv.sparse.routes import hides_skipped


@dataclass(frozen=True)
class StateAndAnswer:
    """What the position before an input leaves, a row for each input."""

    state: Tensor
    """[rows, width]; zero before a sequence."""
    answer: Tensor
    """[rows, num_classes]; logits that it gave, zero before a sequence."""


@dataclass(frozen=True)
class RecurrentState:
    """Hidden state of positions, before or after their one gate."""

    state: Tensor
    """[rows, width]; that of the position before, until the gate updates it."""
    symbol: Tensor
    """int64 [rows]; just read."""
    surprise: Tensor
    """[rows]; nats of that symbol under the answer before it."""
    answer: Tensor
    """[rows, num_classes]; logits of the position before, until the gate is decided."""


class SkipGRU(GatedNetwork):
    """A GRU over symbols whose one gate says whether a position updates the state.

    >>> network = SkipGRU((8,), 5, width=4, embedding_size=3)
    >>> network.gates[0].name, network.dense_macs
    ('update', 104)
    """

    abilities: Abilities = (Continues, PlaysWindows, Doubts, Bounds)
    num_symbols: int

    def __init__(
        self,
        input_shape: tuple[int, ...] = (128,),
        num_classes: int = 128,
        width: int = 96,
        embedding_size: int = 32,
        look_tokens: int = 2,
    ) -> None:
        """Builds the layer.

        Args:
            input_shape: (symbols of a window,).
            num_classes: different symbols, which are the classes too; one more is a missing one.
            width: units of the layer.
            embedding_size: numbers that stand for a symbol.
            look_tokens: last symbols that `observation="symbols"` shows.
        """
        super().__init__()
        self.window = window_length(input_shape, "skip_gru")
        sizes = [self.window, width, embedding_size, look_tokens]
        positive_ints(sizes, "window, width, embedding_size and look_tokens")
        self.num_classes, self.num_symbols, self.width = num_classes, num_classes + 1, width
        self.look_tokens = look_tokens
        self.stem = Recurrent(num_classes, embedding_size, width)
        self.head = nn.Linear(width, num_classes)
        self.of_symbols = nn.Embedding(num_classes, num_classes)
        nn.init.zeros_(self.of_symbols.weight)
        self.update_macs = 3 * width * (width + embedding_size)
        self.dense_macs = self.update_macs + width * num_classes
        self.gates = (Gate("update", 1, 1 + width + embedding_size, "identity"),)

    def played(
        self, inputs: Tensor, rule: Rule | None = None, *, alone: bool = False
    ) -> StateAndAnswer:
        """See `PlaysWindows`: int64 [rows, window]; a sequence without a rule runs at once.

        Raises:
            ValueError: if the inputs are no windows of its symbols.
        """
        check_windows(inputs, self.window)
        sequences = sequences_of(inputs, self.num_classes)
        if rule is None:
            behind = self.stem.gru(self.stem.embedding(sequences.symbols))[0]
        else:
            windows = windows_of(sequences.symbols, self.window, self.num_classes)
            places = ((seen,) for seen in windows.unbind(1))
            walked = along(self, places, by_rule(self, rule))
            behind = torch.stack([hidden.state for hidden in walked], dim=1)
        before = States(sequences, behind).before()
        symbol = inputs[:, -2] if self.window > 1 else inputs[:, -1]
        is_first = (sequences.place == 0)[:, None]
        answer = self.answer(before, symbol.clamp(max=self.num_classes - 1))
        return StateAndAnswer(before, answer.masked_fill(is_first, 0.0))

    def empty_state(self, inputs: Tensor) -> StateAndAnswer:
        """See `Continues`."""
        check_windows(inputs, self.window)
        like = self.head.weight
        return StateAndAnswer(
            like.new_zeros(len(inputs), self.width), like.new_zeros(len(inputs), self.num_classes)
        )

    def advance(self, hidden: RecurrentState) -> StateAndAnswer:
        """See `Continues`; there is always room."""
        return StateAndAnswer(hidden.state, hidden.answer)

    def start(self, inputs: Tensor) -> RecurrentState:
        """See `GatedNetwork.start`."""
        return self.read(inputs, self.played(inputs))

    def read(self, inputs: Tensor, state: StateAndAnswer) -> RecurrentState:
        """See `Continues`."""
        symbol = inputs[:, -1]
        likely = state.answer.gather(1, symbol[:, None])[:, 0]
        surprise = state.answer.logsumexp(dim=1) - likely
        return RecurrentState(state.state, symbol, surprise, state.answer)

    def step(
        self,
        gate: int,
        hidden: RecurrentState,
        mask: Tensor | None,
        weights: Tensor | None = None,
        backend: str = "auto",
    ) -> RecurrentState:
        """See `GatedNetwork.step`; gate values blend the new state with the old one."""
        hidden = repeat_rows(hidden, group_of(hidden.symbol.shape[0], mask, weights))
        before, symbol = hidden.state, hidden.symbol
        if mask is None or backend == "reference" or self._hides(before, backend):
            new = self._updated(before, symbol, weights)
            state = new if mask is None else torch.where(mask, new, before)
        elif len(rows := mask[:, 0].nonzero().squeeze(1)):
            read = before, symbol, weights
            parts = (None if x is None else x.index_select(0, rows) for x in read)
            state = before.index_copy(0, rows, self._updated(*parts))
        else:
            state = before
        return replace(hidden, state=state, answer=self.answer(state, symbol))

    def _hides(self, rows: Tensor, backend: str) -> bool:
        return hides_skipped(rows, self.update_macs, backend)

    def _updated(self, before: Any, symbol: Any, weights: Tensor | None) -> Tensor:
        updated: Tensor = self.stem.gru(self.stem.embedding(symbol[:, None]), before[None])[0][:, 0]
        # Under autocast a GPU's layer gives another dtype than the state has.
        updated = updated.to(before.dtype)
        # Exact at gate values of 0 and of 1.
        return updated if weights is None else weights * updated + (1 - weights) * before

    def answer(self, state: Tensor, symbol: Tensor) -> Tensor:
        """Logits of states [rows, width] behind symbols int64 [rows]."""
        logits: Tensor = self.head(state) + self.of_symbols(symbol)
        return logits

    def logits(self, hidden: RecurrentState, backend: str = "auto") -> Tensor:
        """See `GatedNetwork.logits`; the next position's surprise is made of the same."""
        return hidden.answer

    def look(self, gate: int, hidden: RecurrentState) -> Tensor:
        """The surprise of the symbol just read, the state before it, and its embedding."""
        embedded = self.stem.embedding(hidden.symbol)
        return torch.cat([hidden.surprise[:, None], hidden.state, embedded], dim=1)

    def macs(self, gate: int, hidden: RecurrentState, mask: Tensor) -> Tensor:
        """See `GatedNetwork.macs`."""
        return torch.where(mask[:, 0], self.dense_macs, self.least_macs(gate))

    def least_macs(self, gate: int) -> int:
        """See `Bounds`."""
        return self.width * self.num_classes
