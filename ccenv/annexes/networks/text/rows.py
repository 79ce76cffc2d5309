"""Rows of `lm` and their caches: what positions of a sequence read, compute alone and leave.

A sequence goes on position by position: a `Position` reads the `Cache` of its sequence, a step for
each gate runs it under its own masks, and `Position.advanced` writes what it leaves into the cache.
Of layers that positions skip as a whole, keys and values lie side by side, so that a position reads
those of positions that have kept the layer, and no others: it is counted how many there are.
"""

import dataclasses
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import pad

from ccenv.annexes.networks.text.attention import Layer, Pair, Places, write_pair
from ccenv.annexes.networks.text.parts import LayerPart, Model
from ccenv.annexes.networks.text.tokens import Sequences
from ccenv.networks.core.exit_state import Flow, leave


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
        room = (0, 0, 0, window - self.sequences.symbols.shape[1])
        pairs = tuple((pad(keys, room), pad(values, room)) for keys, values in self.pairs)
        counts = tuple(pad(before, (0, room[-1])) for before in self.counts)
        return dataclasses.replace(
            self,
            sequences=self.sequences.last(),
            pairs=pairs,
            counts=counts,
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
        if torch.is_grad_enabled():
            # An update goes back through what positions before have read.
            pairs = [(keys.clone(), values.clone()) for keys, values in pairs]
        for before in self.cache.counts:
            before[self.sequence, self.place + 1] = self.gathered(before)
        for left in self.left or ():
            sequence = self.sequence[left.rows]
            at = sequence, slice(None), self.num_read(left.layer)[left.rows]
            write_pair(pairs[left.layer], at, left.pair)
            if self.cache.counts:
                more = 1 if left.kept is None else left.kept.long()
                self.cache.counts[left.layer][sequence, self.place[left.rows] + 1] += more
        sequences = self.cache.sequences.after()
        after = dataclasses.replace(self.cache, sequences=sequences, pairs=tuple(pairs))
        return None if sequences.is_full(window) else after


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


def every_position(cache: Cache, running: Tensor) -> Position:
    """All positions of sequences, before the gate that a cache has come to."""
    network, (count, length) = cache.owner, cache.sequences.symbols.shape
    numbers, none = torch.arange(count * length, device=running.device), cache.no_features()
    flow = Flow(none, len(numbers))
    if any(part.is_exit for part in network.parts):
        # On a GPU those that run are not listed: the host would wait.
        listed = None if running.is_cuda else running.nonzero().squeeze(1)
        flow = Flow(none, len(numbers), rows=listed, goes=running if listed is None else None)
    sequence, place, gate = numbers // length, numbers % length, len(cache.streams) - 1
    hidden: Position = network.answered(
        Position(cache, flow, sequence, place, numbers[:0], none, gate)
    )
    return hidden


def run_rows(
    network: Model,
    part: LayerPart,
    hidden: Position,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    backend: str = "auto",
) -> Position:
    """Runs a part for the rows that differ; mask and weights are theirs."""
    layer, x = network.layer(part.layer), hidden.x
    if not len(x):
        return hidden
    if part.is_ffn:
        x = layer.some_experts(x, mask, weights, backend, by_expert=part.by_block)
        return dataclasses.replace(hidden, x=x)
    cached, running = hidden.cache.pairs[part.layer], hidden.running
    rows = (
        hidden.sequence.index_select(0, running),
        hidden.num_read(part.layer).index_select(0, running),
    )
    kept = None
    if part.is_layer:
        x, numbers, pair = run_kept(layer, x, cached, rows, mask, weights, backend)
        running = running.index_select(0, numbers)
        kept = None if mask is None else mask[:, 0].index_select(0, numbers)
    elif part.is_gate:
        # Later positions read keys and values, whether this one attends or not.
        pair = layer.attention.keys_and_values(x)
        x = layer.attention.some_heads(
            x, pair, cached, rows, mask, weights, backend, by_head=part.by_block
        )
    else:
        x, pair = layer.attention.at(x, cached, rows)
    left = None if hidden.left is None else (*hidden.left, NewPair(part.layer, running, pair, kept))
    return dataclasses.replace(hidden, x=x, left=left)


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
        for number in range(network.part(hidden.gate - 1).layer + 1, network.parts[-1].layer + 1):
            pair = network.layer(number).attention.keys_and_values(x)
            left = (*left, NewPair(number, stopped, pair))
    return dataclasses.replace(hidden, running=hidden.running[goes], x=hidden.x[goes], left=left)


def run_kept(
    layer: Layer,
    x: Tensor,
    cached: Pair,
    rows: Places,
    mask: Tensor | None,
    weights: Tensor | None,
    backend: str,
) -> tuple[Tensor, Tensor, Pair]:
    """Runs single positions that keep a layer: [rows, width] -> [rows, width].

    Returns:
        Features, which rows were run, int64 [run], and keys and values of these.
    """
    numbers = run_numbers(x, mask)
    few = x.index_select(0, numbers)
    sequence, num_read = (values.index_select(0, numbers) for values in rows)
    y, pair = layer.attention.at(few, cached, (sequence, num_read))
    y = layer.some_experts(y, None, None, backend, by_expert=False)
    return with_kept(x, numbers, y, mask, weights), numbers, pair


def run_numbers(x: Tensor, mask: Tensor | None) -> Tensor:
    """Rows that are run: int64. On a GPU all of them: to list those that keep, the host waits."""
    if mask is None or x.is_cuda:
        return torch.arange(len(x), device=x.device)
    return mask[:, 0].nonzero().squeeze(1)


def with_kept(
    x: Tensor, numbers: Tensor, y: Tensor, mask: Tensor | None, weights: Tensor | None
) -> Tensor:
    """Features [rows, width], those of the rows that keep a layer behind it; gate values blend."""
    before = x.index_select(0, numbers)
    if weights is not None:
        y = before + weights.index_select(0, numbers) * (y - before)
    if mask is not None and x.is_cuda:
        y = torch.where(mask, y, before)
    return x.index_copy(0, numbers, y)
