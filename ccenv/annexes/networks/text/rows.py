"""Rows of `lm` and their caches: what positions of a sequence read and leave.

A sequence goes on position by position: a `Position` reads the `Cache` of its sequence, a step for
each gate runs it under its own masks, and `Position.advanced` writes what it leaves into the cache.
`AllPositions` of a sequence run at once, and read what those before them leave at the same layer.
Of layers that positions skip as a whole, keys and values lie side by side, so that a position reads
those of positions that have kept the layer, and no others: it is counted how many there are.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from ccenv.annexes.networks.text.parts import Model
from ccenv.annexes.networks.text.tokens import Sequences
from ccenv.networks.core.exit_state import Flow, leave

Pair = tuple[Tensor, Tensor]
"""Keys and values, of rows [rows, heads, head_size] or of sequences [sequences, heads, length,
head_size]."""
Places = tuple[Tensor, Tensor]
"""Which sequence each row reads, rising, and how many of its positions: int64 [rows] each."""


@dataclass(frozen=True)
class Cache:
    """What positions of sequences leave, and their features under a rule's masks."""

    owner: Model = field(repr=False)
    """the network whose keys and values these are."""
    sequences: Sequences
    pairs: tuple[Pair, ...] = ()
    """keys and values of each layer: [sequences, heads, length, head_size] each."""
    streams: tuple[Tensor, ...] = ()
    """before each gate and behind the last one: [sequences, length, width]; of windows that were
    played together, else only the first, of which nothing is read."""
    masks: tuple[Tensor, ...] = ()
    """of each gate: bool [sequences, length, num_blocks], or float gate values."""
    counts: tuple[Tensor, ...] = ()
    """of each layer, how many positions before each place, and behind the last one, have left keys
    and values, which lie side by side: int64 [sequences, length + 1]; () where all leave some."""

    def no_features(self) -> Tensor:
        """Of no position: [0, width]."""
        return self.streams[0].new_zeros(0, self.streams[0].shape[2])

    def for_the_last(self, window: int) -> "Cache":
        """The cache before the last position of its one sequence, with room for a window."""
        return dataclasses.replace(
            self,
            sequences=self.sequences.last(),
            pairs=tuple(pair_with_room(pair, 2, window) for pair in self.pairs),
            counts=tuple(with_room(before, 1, window + 1) for before in self.counts),
            streams=self.streams[:1],
            masks=(),
        )


@dataclass(frozen=True)
class NewPair:
    """Keys and values that rows leave for later positions."""

    layer: int
    rows: Tensor
    """int64 [n]; of the hidden state."""
    pair: Pair
    """keys and values: [n, heads, head_size] each."""
    kept: Tensor | None = None
    """bool [n]; which of them later positions read; None: all."""


@dataclass(frozen=True)
class Position:
    """Hidden state of positions, before a gate or after the last one."""

    cache: Cache
    flow: Flow
    """which rows have stopped at exits, and what they answer."""
    sequence: Tensor
    """int64 [rows], rising; which sequence of the cache a row belongs to."""
    place: Tensor
    """int64 [rows]; its place there."""
    running: Tensor
    """int64 [left], rising; rows that have left those of their sequences and have not stopped."""
    x: Tensor
    """[left, width]; features of these rows. Those of the others are in the cache."""
    gate: int = 0
    """the next one."""
    left: tuple[NewPair, ...] | None = None
    """keys and values of rows that have left, layer by layer; None where nothing reads them."""

    def repeated(self, group: int) -> "Position":
        """Each row for so many neighbours."""
        if group == 1:
            return self
        neighbours = torch.arange(group, device=self.running.device)
        return dataclasses.replace(
            self,
            sequence=self.sequence.repeat_interleave(group),
            place=self.place.repeat_interleave(group),
            running=(self.running[:, None] * group + neighbours).flatten(),
            x=self.x.repeat_interleave(group, 0),
            left=None,
            flow=self.flow.repeated(group),
        )

    def gathered(self, values: Tensor) -> Tensor:
        """Gathers each row's part of the cache: [sequences, length, n] -> [rows, n]."""
        flat = self.sequence * values.shape[1] + self.place
        return values.flatten(0, 1).index_select(0, flat)

    def with_pair(
        self, layer: int, pair: Pair, numbers: Tensor | None = None, mask: Tensor | None = None
    ) -> Self:
        """Adds a layer's keys and values of those that are computed, [n, heads, head_size] each.

        Of a layer that rows skip as a whole, `numbers`, int64 [n], says which of them these are,
        and `mask`, bool [left, 1], which keep it.
        """
        if self.left is None:
            return self
        rows = self.running if numbers is None else self.running.index_select(0, numbers)
        kept = None if mask is None or numbers is None else mask[:, 0].index_select(0, numbers)
        return dataclasses.replace(self, left=(*self.left, NewPair(layer, rows, pair, kept)))

    def read_at(self, layer: int, numbers: Tensor | None = None) -> tuple[Pair, Places]:
        """What those that are computed, or some of them, read at a layer; see `attend`."""
        rows = self.running if numbers is None else self.running.index_select(0, numbers)
        sequence, num_read = (
            part.index_select(0, rows) for part in (self.sequence, self.num_read(layer))
        )
        return self.cache.pairs[layer], (sequence, num_read)

    def num_read(self, layer: int) -> Tensor:
        """How many positions before its own each row can read at a layer: int64 [rows]."""
        return self.gathered(self.cache.counts[layer]) if self.cache.counts else self.place

    def features(self) -> Tensor:
        """Returns the features of all rows, of those that have stopped any: [rows, width]."""
        if self.all_left:
            return self.flow.of_all(self.x)
        return self.gathered(self.cache.streams[self.gate]).index_copy(0, self.running, self.x)

    @property
    def all_left(self) -> bool:
        """Whether no row that has not stopped follows its sequence."""
        rows = self.flow.rows
        return len(self.running) == len(self.sequence if rows is None else rows)

    def is_running(self) -> Tensor:
        """Whether each row has not stopped: bool [rows]."""
        rows = self.sequence.new_ones(len(self.sequence), dtype=torch.bool)
        return self.flow.of_all(self.flow.of_running(rows))

    def leaving(self, mask: Tensor | None, weights: Tensor | None, *, hides: bool) -> Tensor:
        """Returns the rows that differ from their sequences' masks with this gate: int64 [left].

        With `hides` all rows leave: few on a GPU, because to list them the host would wait.
        """
        if self.all_left:
            return self.running
        if hides and self.flow.rows is None:
            return torch.arange(len(self.place), device=self.place.device)
        # Gate values of a rule have no gradient.
        if weights is not None and weights.requires_grad:
            leaves = torch.ones_like(self.place, dtype=torch.bool)
        else:
            kept: Tensor | bool = True if mask is None else mask
            executed = kept if weights is None else kept * weights
            differs = self.gathered(self.cache.masks[self.gate]) != executed
            leaves = differs.any(dim=1).index_fill(0, self.running, True)
        if self.flow.may_have_stopped:
            leaves = leaves & self.is_running()
        return leaves.nonzero().squeeze(1)

    def advanced(self, window: int) -> Cache | None:
        """The state of its sequences one position on: what its rows have left is written there.

        Returns:
            The cache that it was started with, before the next position of each sequence; None if
            that is behind the window.
        """
        pairs = list(self.cache.pairs)
        for before in self.cache.counts:
            before[self.sequence, self.place + 1] = self.gathered(before)
        for left in self.left or ():
            sequence = self.sequence[left.rows]
            at = sequence, slice(None), self.num_read(left.layer)[left.rows]
            pairs[left.layer] = pair_written(pairs[left.layer], at, left.pair)
            if self.cache.counts:
                more = 1 if left.kept is None else left.kept.long()
                self.cache.counts[left.layer][sequence, self.place[left.rows] + 1] += more
        sequences = self.cache.sequences.after()
        after = dataclasses.replace(self.cache, sequences=sequences, pairs=tuple(pairs))
        return None if sequences.is_full(window) else after


class AllPositions(Position):
    """All positions of whole sequences; keys and values of a layer are read as soon as they are."""

    @classmethod
    def of(cls, cache: Cache, x: Tensor) -> Self:
        """Those of an empty cache before all gates: features [sequences, length, width]."""
        count, length, _ = x.shape
        numbers = torch.arange(count * length, device=x.device)
        return cls(cache, Flow(x, len(numbers)), numbers // length, numbers % length, numbers, x)

    def with_pair(
        self, layer: int, pair: Pair, numbers: Tensor | None = None, mask: Tensor | None = None
    ) -> Self:
        """See `Position`; those of a layer that positions skip are put side by side."""
        if numbers is None or mask is None:
            return self.noted(pairs=by_head(pair))
        count, length, _ = self.x.shape
        before = pad(mask.view(count, length).cumsum(dim=1), (1, 0))
        num_read = before[:, :-1].flatten().index_select(0, numbers)
        # What nobody reads goes behind all others.
        slot = torch.where(mask.index_select(0, numbers)[:, 0], num_read, length)
        at, room = (numbers // length, slot), (count, length + 1)
        keys, values = (
            part.new_zeros(*room, *part.shape[1:]).index_put(at, part)[:, :length] for part in pair
        )
        return self.noted(pairs=by_head((keys, values)), counts=before)

    def noted(self, **more: Any) -> Self:
        """With one more of some fields of its cache."""
        fields: dict[str, Any] = {
            name: (*getattr(self.cache, name), value) for name, value in more.items()
        }
        return dataclasses.replace(self, cache=dataclasses.replace(self.cache, **fields))

    def following(self, running: Tensor) -> Position:
        """The same as rows that follow their sequences; `running`, bool [positions], of them."""
        network, none = self.cache.owner, self.cache.no_features()
        gate, flow = len(self.cache.masks), Flow(none, len(self.place))
        if any(part.is_exit for part in network.parts):
            # On a GPU those that run are not listed: the host would wait.
            listed = None if running.is_cuda else running.nonzero().squeeze(1)
            goes = running if listed is None else None
            flow = dataclasses.replace(flow, rows=listed, goes=goes)
        position: Position = network.answered(
            Position(self.cache, flow, self.sequence, self.place, self.running[:0], none, gate)
        )
        return position


def empty_state(network: Model, inputs: Tensor) -> Cache:
    """The cache before the first position of sequences, one an input, with room for a window."""
    weight, heads = network.embedding.weight, network.blocks["heads"]
    width = weight.shape[1]
    shape = (len(inputs), heads, network.window, width // heads)
    layers = range(network.parts[-1].layer + 1)
    pairs = tuple((weight.new_zeros(shape), weight.new_zeros(shape)) for _ in layers)
    streams = (weight.new_zeros(len(inputs), 1, width),)
    counted = [part for part in network.parts if part.is_layer]
    counts = tuple(inputs.new_zeros(len(inputs), network.window + 1) for _ in counted)
    return Cache(network, Sequences.begun(inputs), pairs, streams, counts=counts)


def stop_rows(
    network: Model,
    hidden: Position,
    mask: Tensor | None,
    weights: Tensor | None,
    *,
    hides: bool,
) -> Position:
    """Lets rows that skip the exit before a state answer and stop; see `Flow.goes` for `hides`."""
    mask, weights = (None if m is None else hidden.flow.of_running(m) for m in (mask, weights))
    hidden = dataclasses.replace(hidden, flow=leave(hidden.flow, mask, weights, hides=hides))
    if hides:
        return hidden
    goes, left = hidden.is_running().index_select(0, hidden.running), hidden.left
    if left is not None:
        # Later positions read keys and values of later layers: of the features at the exit.
        stopped, x = hidden.running[~goes], hidden.x[~goes]
        at = network.decided[hidden.gate - 1].layer
        for number in range(at + 1, network.parts[-1].layer + 1):
            pair = network.layer(number).attention.keys_and_values(x)
            left = (*left, NewPair(number, stopped, pair))
    return dataclasses.replace(hidden, running=hidden.running[goes], x=hidden.x[goes], left=left)


def by_head(pair: Pair) -> Pair:
    """Keys and values as positions read them: [sequences, length, heads, ...] -> see `Pair`.

    Those of a head are side by side: else each later position's products copy all of them.
    """
    keys, values = (part.transpose(1, 2).contiguous() for part in pair)
    return keys, values


def with_room(values: Tensor, dim: int, length: int) -> Tensor:
    """Values with zeros behind them along a dimension, as many as make it so long."""
    behind = length - values.shape[dim]
    return pad(values, (*[0, 0] * (values.ndim - dim - 1), 0, behind))


def pair_with_room(pair: Pair, dim: int, length: int) -> Pair:
    """The same of keys and values."""
    return with_room(pair[0], dim, length), with_room(pair[1], dim, length)


def put_in(cached: Tensor, at: tuple[Any, ...], new: Tensor) -> Tensor:
    """Writes what positions leave into a cache, in its dtype: under autocast products have another.

    Where there are gradients into a copy: an update goes back through what others have read.
    """
    cached = cached.clone() if torch.is_grad_enabled() else cached
    cached[at] = new.to(cached.dtype)
    return cached


def pair_written(cached: Pair, at: tuple[Any, ...], pair: Pair) -> Pair:
    """The same of keys and values."""
    return put_in(cached[0], at, pair[0]), put_in(cached[1], at, pair[1])


def attend(parts: Tensor, cached: Pair, rows: Places) -> Tensor:
    """Attention of single positions to earlier ones and to themselves: [rows, heads, head_size].

    `parts` are queries, keys and values of the rows: [rows, 3, heads, head_size].
    """
    (keys, values), (sequence, place) = cached, rows
    if not len(parts):
        return parts[:, 0]
    if copies_keys(parts, cached):
        return read_by_row(parts, cached, rows)
    # Rows of a sequence side by side, so that its keys are read once for all of them.
    counts = sequence.bincount(minlength=len(keys))
    slot = torch.arange(len(parts), device=parts.device) - (counts.cumsum(0) - counts)[sequence]
    shape = len(keys), int(counts.max())
    grid = parts.new_zeros(*shape, *parts.shape[1:]).index_put((sequence, slot), parts)
    query, key, value = grid.permute(2, 0, 3, 1, 4).unbind(0)
    length = int(place.max())
    num_read = place.new_zeros(shape).index_put((sequence, slot), place)
    is_read = torch.arange(length, device=parts.device) < num_read[:, None, :, None]
    scores = query @ keys[:, :, :length].transpose(2, 3)
    scores = scores.masked_fill(~is_read, -torch.inf)
    # As products of matrices, so that they are counted.
    own_score = (query.unsqueeze(-2) @ key.unsqueeze(-1)).squeeze(-1)
    shares = (torch.cat([scores, own_score], dim=-1) * query.shape[-1] ** -0.5).softmax(dim=-1)
    mixed = shares[..., :length] @ values[:, :, :length]
    mixed = mixed + (shares[..., length:].unsqueeze(-1) @ value.unsqueeze(-2)).squeeze(-2)
    return mixed.transpose(1, 2)[sequence, slot]


def attend_some(parts: Tensor, cached: Pair, rows: Places) -> Tensor:
    """As `attend`, where few sequences are read: others are left out, which a GPU waits for."""
    if copies_keys(parts, cached):
        return attend(parts, cached, rows)
    there, number = rows[0].unique_consecutive(return_inverse=True)
    return attend(parts, (cached[0][there], cached[1][there]), (number, rows[1]))


MOST_COPIED = 1 << 28
"""Bytes of keys that rows on a GPU copy, each its own sequence's; there is as much of values."""


def copies_keys(rows: Tensor, cached: Pair) -> bool:
    """Whether rows copy the keys that they read, which a GPU need not be waited for."""
    return rows.is_cuda and len(rows) * cached[0][0].nbytes <= MOST_COPIED


def read_by_row(parts: Tensor, cached: Pair, rows: Places) -> Tensor:
    """What `attend` gives, row by row: shapes depend on no values."""
    (keys, values), (sequence, place) = cached, rows
    query, key, value = parts.unbind(1)
    length = keys.shape[2]
    is_read = torch.arange(length, device=parts.device) < place[:, None, None]
    scores = (keys.index_select(0, sequence) @ query.unsqueeze(-1)).squeeze(-1)
    scores = scores.masked_fill(~is_read, -torch.inf)
    own_score = (query.unsqueeze(-2) @ key.unsqueeze(-1)).squeeze(-1)
    shares = (torch.cat([scores, own_score], dim=-1) * query.shape[-1] ** -0.5).softmax(dim=-1)
    mixed = (shares[..., None, :length] @ values.index_select(0, sequence)).squeeze(-2)
    return mixed + shares[..., length:] * value
