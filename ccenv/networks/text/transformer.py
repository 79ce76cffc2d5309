"""The network `lm`: a causal transformer with experts that predicts the next symbol of a sequence.

An input is one position: the symbols up to it, after as many `missing` ones (the number behind the
last symbol) as the window is longer. A mask chooses the experts of this position. Keys and values
of earlier positions are computed under *committed* masks: the greedy masks of a policy (`commit`),
as in generation, or a hash of each position's symbol. Rows do not depend on their neighbours, and
several masks of a position differ by its own experts only.

Neighbouring inputs that continue each other are one sequence (`sequences_of`). Each sequence runs
once under committed masks. A row that follows them costs no extra time; a row that differs is
computed alone from that gate on. MACs of a position are those that it needs with a cache of the
earlier positions.

Vaswani et al. 2017, "Attention is all you need" (arXiv 1706.03762), with norms before what they
normalise; experts in the place of the feed-forward layer: Fedus, Zoph, Shazeer 2022, "Switch
transformers" (arXiv 2101.03961); routes by a hash: Roller et al. 2021 (arXiv 2106.04426).
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad, scaled_dot_product_attention

from ccenv.base.masks import as_mask, gate_values_of
from ccenv.networks.core.mlp import positive_ints
from ccenv.networks.core.protocol import Gate, GatedNetwork, rows_each
from ccenv.networks.stages.linear import Experts
from ccenv.networks.text.tokens import check_windows, window_length

INITIAL_STD = 0.1
"""Of embeddings of symbols and of places."""


@dataclass(frozen=True)
class Sequences:
    """Sequences that a batch of inputs consists of."""

    symbols: Tensor
    """int64 [sequences, length]; behind the end of a shorter one its last symbol again."""
    is_there: Tensor
    """bool [sequences, length]; False behind the end of a shorter one."""
    sequence: Tensor
    """int64 [inputs], rising; the sequence of each input."""
    place: Tensor
    """int64 [inputs]; its place there."""


def sequences_of(inputs: Tensor, missing: int) -> Sequences:
    """Finds the sequences of inputs: an input continues or repeats the one before, or starts one.

    Args:
        inputs: int64 [rows, window].
        missing: stands before the first symbol, where there are fewer than the window holds.

    Raises:
        ValueError: if a number is above `missing`, or `missing` is behind a symbol.

    >>> sequences_of(torch.tensor([[9, 1], [1, 2], [9, 3]]), missing=9).symbols.tolist()
    [[1, 2], [3, 3]]
    """
    rows, window = inputs.shape
    is_symbol = inputs != missing
    lengths = is_symbol.sum(dim=1)
    if not rows:
        none = inputs.new_zeros(0, 1)
        return Sequences(none, none.bool(), lengths, lengths)
    if int(inputs.max()) > missing or int(inputs.min()) < 0:
        raise ValueError(
            f"expected symbols in 0..{missing - 1}, and {missing} for missing ones before them, "
            f"got {int(inputs.min())}..{int(inputs.max())}"
        )
    if not bool((is_symbol[:, -1].all()) & (is_symbol[:, 1:] >= is_symbol[:, :-1]).all()):
        raise ValueError(
            f"expected missing symbols ({missing}) before all others, got one behind a symbol"
        )
    repeats = (inputs[1:] == inputs[:-1]).all(dim=1)
    goes_on = (inputs[1:, :-1] == inputs[:-1, 1:]).all(dim=1) & (lengths[1:] == lengths[:-1] + 1)
    begins = pad(~(repeats | goes_on), (1, 0), value=True)
    ends = pad(begins[1:], (0, 1), value=True).nonzero().squeeze(1)
    of_ends = lengths.index_select(0, ends)[:, None]
    columns = torch.arange(int(of_ends.max()), device=inputs.device)
    places = (window - of_ends + columns).clamp(max=window - 1)
    symbols = inputs.index_select(0, ends).gather(1, places)
    return Sequences(symbols, columns < of_ends, begins.cumsum(0) - 1, lengths - 1)


@dataclass(frozen=True)
class Cache:
    """Keys, values and features of sequences under committed masks."""

    sequences: Sequences
    keys: tuple[Tensor, ...] = ()
    """of each layer: [sequences, heads, length, head_size]."""
    values: tuple[Tensor, ...] = ()
    """as the keys."""
    streams: tuple[Tensor, ...] = ()
    """before each gate and behind the last one: [sequences, length, width]."""
    masks: tuple[Tensor, ...] = ()
    """of each gate: bool [sequences, length, num_experts]."""
    weights: tuple[Tensor | None, ...] = ()
    """of each gate: gate values, as the masks; None where actions are masks."""


@dataclass(frozen=True)
class Position:
    """Hidden state of positions, before a gate or after the last one."""

    cache: Cache
    sequence: Tensor
    """int64 [rows], rising; which sequence of the cache a row belongs to."""
    place: Tensor
    """int64 [rows]; its place there."""
    own: Tensor
    """int64 [left], rising; rows that have left the committed masks."""
    x: Tensor
    """[left, width]; features of these rows. Those of the others are in the cache."""
    gate: int = 0
    """the next one."""

    def repeated(self, group: int) -> "Position":
        """Each row for so many neighbours."""
        if group == 1:
            return self
        neighbours = torch.arange(group, device=self.own.device)
        return dataclasses.replace(
            self,
            sequence=self.sequence.repeat_interleave(group),
            place=self.place.repeat_interleave(group),
            own=(self.own[:, None] * group + neighbours).flatten(),
            x=self.x.repeat_interleave(group, 0),
        )

    def committed(self, values: Tensor) -> Tensor:
        """Gathers each row's part of the cache: [sequences, length, n] -> [rows, n]."""
        flat = self.sequence * values.shape[1] + self.place
        return values.flatten(0, 1).index_select(0, flat)

    def features(self) -> Tensor:
        """Returns the features of all rows: [rows, width]."""
        if len(self.own) == len(self.sequence):
            return self.x
        return self.committed(self.cache.streams[self.gate]).index_copy(0, self.own, self.x)


class CausalAttention(nn.Module):
    """x + attention(norm(x)) to positions up to one's own, of whole sequences or of single rows."""

    def __init__(self, width: int, num_heads: int) -> None:
        """Heads divide the width."""
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values: [..., width] -> [..., heads, head_size] each."""
        found = self.query_key_value(self.norm(x)).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = found.unbind(-3)
        return query, key, value

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sequences [n, length, width] -> the same, and keys and values for `at`."""
        query, key, value = (part.transpose(1, 2) for part in self.parts(x))
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
        return x + self.output(mixed.transpose(1, 2).flatten(2)), key, value

    def at(
        self, x: Tensor, keys: Tensor, values: Tensor, sequence: Tensor, place: Tensor
    ) -> Tensor:
        """Computes single positions from keys and values of earlier ones.

        Args:
            x: [rows, width].
            keys: [sequences, heads, length, head_size].
            values: as the keys.
            sequence: int64 [rows], rising; which sequence a row reads.
            place: int64 [rows]; how many of its positions.
        """
        if not len(x):
            return x
        # Rows of a sequence side by side, so that its keys are read once for all of them.
        counts = sequence.bincount(minlength=len(keys))
        slot = torch.arange(len(x), device=x.device) - (counts.cumsum(0) - counts)[sequence]
        shape = len(keys), int(counts.max())
        parts = torch.stack(self.parts(x), dim=1)
        grid = parts.new_zeros(*shape, *parts.shape[1:]).index_put((sequence, slot), parts)
        query, key, value = grid.permute(2, 0, 3, 1, 4).unbind(0)
        length = int(place.max())
        num_read = place.new_zeros(shape).index_put((sequence, slot), place)
        is_read = torch.arange(length, device=x.device) < num_read[:, None, :, None]
        scores = query @ keys[:, :, :length].transpose(2, 3)
        scores = scores.masked_fill(~is_read, -torch.inf)
        # As products of matrices, so that they are counted.
        own = (query.unsqueeze(-2) @ key.unsqueeze(-1)).squeeze(-1)
        shares = (torch.cat([scores, own], dim=-1) * query.shape[-1] ** -0.5).softmax(dim=-1)
        mixed = shares[..., :length] @ values[:, :, :length]
        mixed = mixed + (shares[..., length:].unsqueeze(-1) @ value.unsqueeze(-2)).squeeze(-2)
        return x + self.output(mixed.transpose(1, 2)[sequence, slot].flatten(1))


class Layer(nn.Module):
    """Attention, and experts that a mask chooses."""

    def __init__(self, width: int, num_heads: int, num_experts: int, size: int, act: Any) -> None:
        """Builds both; `size` hidden units in each expert."""
        super().__init__()
        self.attention = CausalAttention(width, num_heads)
        self.norm = nn.LayerNorm(width)
        self.experts = Experts(width, num_experts, size, width, act)
        self.bias = nn.Parameter(torch.zeros(width))

    def feed(self, x: Tensor, mask: Tensor | None, weights: Tensor | None, backend: str) -> Tensor:
        """Adds the kept experts' outputs for norm(x): [rows, width] -> [rows, width]."""
        found: Tensor = self.experts(self.norm(x), mask, None, weights, backend)
        return x + found + self.bias


Rule = Callable[[int, Position, Tensor], Tensor]
"""Committed masks: (gate, hidden state of positions, their inputs [rows, window]) -> an action, see
`ccenv.simulator.policy.Policy.act`."""


class LanguageModel(GatedNetwork):
    """A causal transformer over symbols; a gate for the experts of each layer."""

    num_symbols: int
    rule: Rule | None = None

    def __init__(
        self,
        input_shape: tuple[int, ...] = (128,),
        num_classes: int = 128,
        depth: int = 2,
        width: int = 96,
        num_heads: int = 4,
        ffn_width: int = 96,
        num_experts: int = 16,
        num_kept: int = 1,
        context: int | None = None,
        tied: bool = False,
        look_tokens: int = 2,
        activation: Any = "relu",
    ) -> None:
        """Builds the layers.

        Args:
            input_shape: (symbols of a window,).
            num_classes: different symbols, which are the classes too; one more is `missing`.
            depth: layers, each with a gate.
            width: features of a position.
            num_heads: of the attention; they divide the width.
            ffn_width: hidden units of an expert.
            num_experts: blocks of each gate; 1 for a dense network.
            num_kept: experts that a position commits to where no policy says which.
            context: places that have an embedding; None for as many as the window has symbols.
            tied: whether the answers are made by the embedding's own matrix.
            look_tokens: last symbols that `observation="symbols"` shows.
            activation: of the experts: "relu", "tanh", or a function that maps 0 to 0.
        """
        super().__init__()
        window = window_length(input_shape, "lm")
        context = window if context is None else context
        sizes = [depth, width, num_heads, ffn_width, num_experts, num_kept, context, look_tokens]
        names = "depth, width, num_heads, ffn_width, num_experts, num_kept, context, look_tokens"
        positive_ints(sizes, names)
        if width % num_heads:
            raise ValueError(f"expected num_heads to divide the width {width}, got {num_heads}")
        if num_kept > num_experts:
            raise ValueError(
                f"expected num_kept of at most the {num_experts} experts, got {num_kept}"
            )
        if window > context or look_tokens > window:
            raise ValueError(
                f"expected windows of at most context={context} symbols and look_tokens of at most "
                f"a window, got windows of {window} and look_tokens={look_tokens}"
            )
        self.window, self.num_classes, self.width = window, num_classes, width
        self.missing, self.num_symbols = num_classes, num_classes + 1
        self.num_kept, self.look_tokens = num_kept, look_tokens
        self.embedding = nn.Embedding(num_classes, width)
        self.places = nn.Embedding(context, width)
        for table in (self.embedding, self.places):
            nn.init.normal_(table.weight, std=INITIAL_STD)
        self.layers = nn.ModuleList(
            Layer(width, num_heads, num_experts, ffn_width, activation) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.head = None if tied else nn.Linear(width, num_classes, bias=False)
        self.bias = nn.Parameter(torch.zeros(num_classes))
        self.expert_macs, self.head_macs = 2 * width * ffn_width, width * num_classes
        self.gates = tuple(Gate(f"layers.{i}.experts", num_experts, width) for i in range(depth))
        self.dense_macs = self.least_macs(0) + depth * num_experts * self.expert_macs

    def layer(self, gate: int) -> Layer:
        """The layer of a gate."""
        found = self.layers[gate]
        assert isinstance(found, Layer)
        return found

    def commit(self, rule: Rule | None) -> Rule | None:
        """See `GatedNetwork.commit`."""
        before, self.rule = self.rule, rule
        return before

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the rule out: a copy belongs to no policy."""
        return {name: value for name, value in vars(self).items() if name != "rule"}

    def committed_action(self, gate: int, cache: Cache, inputs: Tensor) -> Tensor:
        """Returns the committed action of every position at a gate: [positions, ...]."""
        sequences = cache.sequences
        if self.rule is None:
            first = sequences.symbols.flatten()[:, None] * self.num_kept
            chosen = first + torch.arange(self.num_kept, device=first.device)
            return chosen % self.gates[gate].num_blocks
        count, length = sequences.symbols.shape
        numbers = torch.arange(count * length, device=inputs.device)
        none = numbers[:0], self._none(cache)
        positions = Position(cache, numbers // length, numbers % length, *none, gate)
        with torch.no_grad():
            return self.rule(gate, positions, inputs)

    def cache(self, inputs: Tensor) -> Cache:
        """Runs the sequences of inputs under committed masks: int64 [rows, window].

        Raises:
            ValueError: if the inputs are no windows of its symbols.
        """
        check_windows(inputs, self.window)
        cache = Cache(sequences_of(inputs, self.missing))
        symbols, is_there = cache.sequences.symbols, cache.sequences.is_there
        rows = inputs
        if self.rule is not None:
            padded = pad(symbols, (self.window - 1, 0), value=self.missing)
            rows = padded.unfold(1, self.window, 1).flatten(0, 1)
        x = self.embedding(symbols) + self.places.weight[: symbols.shape[1]]
        for gate in range(len(self.gates)):
            x, key, value = self.layer(gate).attention(x)
            cache = dataclasses.replace(
                cache,
                keys=(*cache.keys, key),
                values=(*cache.values, value),
                streams=(*cache.streams, x),
            )
            action = self.committed_action(gate, cache, rows)
            # Padding keeps no expert: a NaN of an unused expert must not reach the attention.
            mask = as_mask(action, self.gates[gate].num_blocks) & is_there.flatten()[:, None]
            weights = gate_values_of(action)
            x = self.layer(gate).feed(x.flatten(0, 1), mask, weights, "auto").view(x.shape)
            shape = tuple(symbols.shape)
            cache = dataclasses.replace(
                cache,
                masks=(*cache.masks, mask.unflatten(0, shape)),
                weights=(*cache.weights, None if weights is None else weights.unflatten(0, shape)),
            )
        return dataclasses.replace(cache, streams=(*cache.streams, x))

    def start(self, inputs: Tensor) -> Position:
        """See `GatedNetwork.start`."""
        cache = self.cache(inputs)
        sequence, place = cache.sequences.sequence, cache.sequences.place
        return Position(cache, sequence, place, sequence[:0], self._none(cache))

    def start_cached(self, inputs: Tensor, cache: Cache) -> Position:
        """See `GatedNetwork.start_cached`."""
        sequence, place = cache.sequences.sequence, cache.sequences.place
        x = self.embedding(inputs[:, -1]) + self.places(place)
        own = torch.arange(len(inputs), device=inputs.device)
        return self._attended(Position(cache, sequence, place, own, x))

    def _none(self, cache: Cache) -> Tensor:
        return cache.streams[0].new_zeros(0, self.width)

    def _attended(self, hidden: Position) -> Position:
        """Runs the attention before the next gate for rows that differ."""
        if hidden.gate == len(self.gates) or not len(hidden.own):
            return hidden
        cache, gate = hidden.cache, hidden.gate
        rows = (part.index_select(0, hidden.own) for part in (hidden.sequence, hidden.place))
        x = self.layer(gate).attention.at(hidden.x, cache.keys[gate], cache.values[gate], *rows)
        return dataclasses.replace(hidden, x=x)

    def step(
        self,
        gate: int,
        hidden: Position,
        mask: Tensor | None,
        weights: Tensor | None = None,
        backend: str = "auto",
    ) -> Position:
        """See `GatedNetwork.step`; rows that follow committed masks need no computation."""
        given = mask if mask is not None else weights
        if given is not None:
            hidden = hidden.repeated(rows_each(len(hidden.sequence), len(given)))
        own = self._leaving(gate, hidden, mask, weights)
        x = hidden.features().index_select(0, own)
        mask, weights = (None if m is None else m.index_select(0, own) for m in (mask, weights))
        x = self.layer(gate).feed(x, mask, weights, backend)
        return self._attended(dataclasses.replace(hidden, own=own, x=x, gate=gate + 1))

    def _leaving(
        self, gate: int, hidden: Position, mask: Tensor | None, weights: Tensor | None
    ) -> Tensor:
        """Returns the rows that differ from the committed masks so far: int64 [left], rising.

        Gate values that have a gradient differ: those of the cache have none.
        """
        rows, values = len(hidden.sequence), hidden.cache.weights[gate]
        if weights is None and values is None:
            committed = hidden.committed(hidden.cache.masks[gate])
            differs = ~committed if mask is None else committed != mask
        elif weights is None or values is None or weights.requires_grad:
            return torch.arange(rows, device=hidden.sequence.device)
        else:
            differs = hidden.committed(values) != weights
        leaves = differs.any(dim=1).index_fill(0, hidden.own, True)
        return leaves.nonzero().squeeze(1)

    def logits(self, hidden: Position, backend: str = "auto") -> Tensor:
        """See `GatedNetwork.logits`."""
        weight = self.embedding.weight if self.head is None else self.head.weight
        return linear(self.norm(hidden.features()), weight, self.bias)

    @torch.no_grad()
    def look(self, gate: int, hidden: Position) -> Tensor:
        """Returns the normalised features, which the experts read: [rows, width]."""
        found: Tensor = self.layer(gate).norm(hidden.features())
        return found

    def attention_macs(self, length: Any) -> Any:
        """Returns the MACs of one attention layer at the end of `length` positions."""
        return 4 * self.width**2 + 2 * self.width * length

    def macs(self, gate: int, hidden: Position, mask: Tensor) -> Tensor:
        """See `GatedNetwork.macs`; attention by the position's own length."""
        group = rows_each(len(hidden.place), len(mask))
        attention = self.attention_macs(hidden.place.repeat_interleave(group) + 1)
        spent = mask.sum(dim=1) * self.expert_macs
        spent = spent + attention if gate == 0 else spent
        return spent + (self.head_macs if gate == len(self.gates) - 1 else attention)

    def least_macs(self, gate: int) -> int:
        """See `GatedNetwork`; of the last place of a window, which costs most."""
        layers = len(self.gates) - gate - (gate > 0)
        return layers * int(self.attention_macs(self.window)) + self.head_macs

    def gate_parameters(self, gate: int) -> list[nn.Parameter]:
        """See `GatedNetwork`."""
        return list(self.layer(gate).experts.parameters())


lm = LanguageModel
