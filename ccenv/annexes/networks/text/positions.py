"""States of positions of `lm`: what those before leave, what they follow, and what they add.

A sequence goes on position by position: a `Position` reads the `Cache` of its sequence, a step for
each gate runs it under its own masks, and `Position.advanced` writes what it leaves into the cache.
`run_sequences` makes the cache of all positions at once, under a rule.
"""

import dataclasses
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import pad

from ccenv.annexes.networks.text.attention import Pair, write_pair
from ccenv.annexes.networks.text.parts import LayerPart, Model
from ccenv.annexes.networks.text.skipped_layers import run_kept, run_kept_of_sequences
from ccenv.annexes.networks.text.tokens import Sequences, sequences_of, windows_of
from ccenv.base.masks import as_mask, full_mask, gate_values_of
from ccenv.networks.core.exit_state import Flow, leave
from ccenv.networks.core.precision import in_own_dtype
from ccenv.networks.core.protocol import Rule


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
class Left:
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
    own: Tensor
    """int64 [left], rising; rows that have left those of their sequences and have not stopped."""
    x: Tensor
    """[left, width]; features of these rows. Those of the others are in the cache."""
    gate: int = 0
    """the next one."""
    left: tuple[Left, ...] | None = None
    """keys and values of rows that have left, layer by layer; None where nothing reads them."""

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
        return self.gathered(self.cache.streams[self.gate]).index_copy(0, self.own, self.x)

    @property
    def all_left(self) -> bool:
        """Whether no row that has not stopped follows its sequence."""
        rows = self.flow.rows
        return len(self.own) == len(self.sequence if rows is None else rows)

    def is_running(self) -> Tensor:
        """Whether each row has not stopped: bool [rows]."""
        rows = self.sequence.new_ones(len(self.sequence), dtype=torch.bool)
        return self.flow.of_all(self.flow.of_running(rows))

    def leaving(self, mask: Tensor | None, weights: Tensor | None, *, hides: bool) -> Tensor:
        """Returns the rows that differ from their sequences' masks with this gate: int64 [left].

        With `hides` all rows leave: few on a GPU, because to list them the host would wait.
        """
        if self.all_left:
            return self.own
        if hides and self.flow.rows is None:
            return torch.arange(len(self.place), device=self.place.device)
        # Gate values of a rule have no gradient.
        if weights is not None and weights.requires_grad:
            leaves = torch.ones_like(self.place, dtype=torch.bool)
        else:
            kept: Tensor | bool = True if mask is None else mask
            executed = kept if weights is None else kept * weights
            differs = self.gathered(self.cache.masks[self.gate]) != executed
            leaves = differs.any(dim=1).index_fill(0, self.own, True)
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


def run_sequences(network: Model, inputs: Tensor, rule: Rule | None) -> Cache:
    """Runs the sequences of inputs under a rule: int64 [rows, window]."""
    cache = Cache(network, sequences_of(inputs, network.missing))
    symbols, shape = cache.sequences.symbols, cache.sequences.symbols.shape
    if rule is not None:
        inputs = windows_of(symbols, network.window, network.missing).flatten(0, 1)
    x = network.embedding(symbols) + network.places.weight[: shape[1]]
    # Padding keeps no block: a NaN of an unused one must not reach the attention.
    running, may_have_stopped = cache.sequences.is_there.flatten(), False
    for part in network.parts:
        mask, weights = running[:, None], None
        if part.is_gate:
            cache = dataclasses.replace(cache, streams=(*cache.streams, x))
            action = action_at(cache, rule, inputs, running)
            mask = as_mask(action, network.blocks[part.kind]) & mask
            weights = gate_values_of(action)
            executed = mask if weights is None else mask * weights
            masks = (*cache.masks, executed.unflatten(0, tuple(shape)))
            cache = dataclasses.replace(cache, masks=masks)
        if part.is_exit:
            running, may_have_stopped = mask[:, 0], True
            continue
        if part.is_layer:
            layer = network.layer(part.layer)
            x, own, before = run_kept_of_sequences(layer, x, mask, weights)
            pairs, counts = (*cache.pairs, own), (*cache.counts, before)
            cache = dataclasses.replace(cache, pairs=pairs, counts=counts)
            continue
        y, pair = run_whole(
            network, part, x, mask, weights, chooses=part.is_gate or may_have_stopped
        )
        if pair is not None:
            cache = dataclasses.replace(cache, pairs=(*cache.pairs, pair))
        # Features of a position that has stopped are copied up: later layers make its keys
        # and values of them.
        x = torch.where(running.view(*shape, 1), y, x) if may_have_stopped else y
    return dataclasses.replace(cache, streams=(*cache.streams, x))


def run_whole(
    network: Model,
    part: LayerPart,
    x: Tensor,
    mask: Tensor,
    weights: Tensor | None,
    *,
    chooses: bool,
) -> tuple[Tensor, Pair | None]:
    """Runs a part of whole sequences, [sequences, length, width]; an attention's keys and values.

    Mask and weights are those of all positions; without `chooses` every position attends.
    """
    layer, flat = network.layer(part.layer), x.flatten(0, 1)
    if part.is_ffn:
        y = layer.some_experts(flat, mask, weights, "auto", by_expert=part.by_block)
        return y.view(x.shape), None
    if not chooses:
        found: tuple[Tensor, Pair] = layer.attention(x)
        return found
    key, value = layer.attention.keys_and_values(x)
    own = key.flatten(0, 1), value.flatten(0, 1)
    pair = key.transpose(1, 2).contiguous(), value.transpose(1, 2).contiguous()
    numbers = torch.arange(len(flat), device=x.device)
    rows = numbers // x.shape[1], numbers % x.shape[1]
    y = layer.attention.some_heads(
        flat, own, pair, rows, mask, weights, "auto", by_head=part.by_block
    )
    return y.view(x.shape), pair


def action_at(cache: Cache, rule: Rule | None, inputs: Tensor, running: Tensor) -> Tensor:
    """Returns the action of every position at the gate that a cache has come to.

    Without a rule it is a hash of the symbol for experts, and everything else kept. `running`,
    bool [positions], says which are there and have not stopped.
    """
    network, symbols = cache.owner, cache.sequences.symbols.flatten()
    gate = len(cache.streams) - 1
    if rule is not None:
        with torch.no_grad():
            return in_own_dtype(rule, gate, every_position(cache, running), inputs)
    blocks = network.gates[gate].num_blocks
    if network.part(gate).kind != "experts":
        return full_mask(len(symbols), blocks, symbols.device)
    first = symbols[:, None] * network.num_kept
    kept = (first + torch.arange(network.num_kept, device=first.device)) % blocks
    mask = torch.zeros(len(symbols), blocks, dtype=torch.bool, device=first.device)
    return mask.scatter(1, kept, value=True)


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
    cached, own = hidden.cache.pairs[part.layer], hidden.own
    rows = (
        hidden.sequence.index_select(0, own),
        hidden.num_read(part.layer).index_select(0, own),
    )
    kept = None
    if part.is_layer:
        x, numbers, pair = run_kept(layer, x, cached, rows, mask, weights, backend)
        own = own.index_select(0, numbers)
        kept = None if mask is None else mask[:, 0].index_select(0, numbers)
    elif part.is_gate:
        # Later positions read keys and values, whether this one attends or not.
        pair = layer.attention.keys_and_values(x)
        x = layer.attention.some_heads(
            x, pair, cached, rows, mask, weights, backend, by_head=part.by_block
        )
    else:
        x, pair = layer.attention.at(x, cached, rows)
    left = None if hidden.left is None else (*hidden.left, Left(part.layer, own, pair, kept))
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
    goes, left = hidden.is_running().index_select(0, hidden.own), hidden.left
    if left is not None:
        # Later positions read keys and values of later layers: of the features at the exit.
        stopped, x = hidden.own[~goes], hidden.x[~goes]
        for number in range(network.part(hidden.gate - 1).layer + 1, network.parts[-1].layer + 1):
            pair = network.layer(number).attention.keys_and_values(x)
            left = (*left, Left(number, stopped, pair))
    return dataclasses.replace(hidden, own=hidden.own[goes], x=hidden.x[goes], left=left)
