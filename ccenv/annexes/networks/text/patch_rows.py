"""Rows of `patches` and their caches: what positions of a sequence read and leave.

A symbol leaves keys and values for the aggregation of its patch, a whole patch its entry in each
layer of the trunk, and a position its context, which serves until the next refresh or the end.
"""

import dataclasses
from dataclasses import dataclass

from torch import Tensor

from ccenv.annexes.networks.text.parts import Model
from ccenv.annexes.networks.text.rows import (
    Pair,
    pair_with_room,
    pair_written,
    put_in,
    with_room,
)
from ccenv.annexes.networks.text.tokens import Sequences


@dataclass(frozen=True)
class PatchCache:
    """What sequences leave: [sequences, places or patches, ...]."""

    sequences: Sequences
    local: Tensor
    """[sequences, length, local_units]; of each symbol and the last ones before it."""
    symbols: Pair
    """keys and values of symbols, for the aggregation: [sequences * patches, heads, patch_size,
    head_size] each."""
    tokens: Tensor
    """[sequences, length, width]; the patch up to each place."""
    entries: tuple[Pair, ...]
    """keys and values of each layer of the trunk: [sequences, heads, whole patches, head_size]."""
    whole: Tensor
    """[sequences, 1 + whole patches, width]; contexts before the first patch and after each."""
    contexts: Tensor
    """[sequences, length, width]; of each place before its own decision."""
    has_last: bool = True
    """whether the positions that are next are in it, too: windows were played together."""

    def for_the_last(self, window: int, patches: int) -> "PatchCache":
        """The cache before the last position of its one sequence, with room for a window."""
        return PatchCache(
            self.sequences.last(),
            local=with_room(self.local, 1, window),
            symbols=pair_with_room(self.symbols, 0, patches),
            tokens=with_room(self.tokens, 1, window),
            entries=tuple(pair_with_room(entry, 2, patches) for entry in self.entries),
            whole=with_room(self.whole, 1, 1 + patches),
            contexts=with_room(self.contexts, 1, window),
            has_last=False,
        )


@dataclass(frozen=True)
class PatchPosition:
    """Hidden state of positions, before or after their one gate."""

    cache: PatchCache
    sequence: Tensor
    """int64 [rows], rising; which sequence of the cache a row belongs to."""
    place: Tensor
    """int64 [rows]; its place there."""
    lag: Tensor
    """int64 [rows]; its place in the patch."""
    local: Tensor
    """[rows, local_units]."""
    token: Tensor
    """[rows, width]; the patch so far."""
    context: Tensor
    """[rows, width]; what the answer is made of."""
    guess: Tensor
    """[rows, num_classes]; the answer without any refresh."""


def empty_patches(network: Model, inputs: Tensor) -> PatchCache:
    """The cache before the first position of sequences, one an input, with room for a window."""
    count, patches = len(inputs), len(network.places.weight)
    zeros, size = network.first.new_zeros, network.width // network.num_heads
    whole = zeros(count, 1 + patches, network.width)
    whole[:, 0] = network.first
    contexts = zeros(count, network.window, network.width)
    contexts[:, 0] = network.first

    def pair(*shape: int) -> Pair:
        return zeros(*shape), zeros(*shape)

    return PatchCache(
        Sequences.begun(inputs),
        local=zeros(count, network.window, network.reads.out_features),
        symbols=pair(count * patches, network.num_heads, network.patch_size, size),
        tokens=zeros(count, network.window, network.width),
        entries=tuple(pair(count, network.num_heads, patches, size) for _ in network.trunk),
        whole=whole,
        contexts=contexts,
        has_last=False,
    )


def patches_after(network: Model, hidden: PatchPosition) -> PatchCache | None:
    """What a position leaves, written into its cache; None if there is no room for a next one."""
    cache, sequence, place = hidden.cache, hidden.sequence, hidden.place
    patch, sequences = place // network.patch_size, cache.sequences.after()
    if sequences.is_full(network.window):
        return None
    number = sequence * len(network.places.weight) + patch
    _, key, value = network.parts(hidden.local).unbind(-3)
    symbols = pair_written(cache.symbols, (number, slice(None), hidden.lag), (key, value))
    whole, entries = cache.whole, cache.entries
    if network.may_end(cache):
        # Of all rows where all are at one place, which needs no look at the device.
        ends = slice(None) if cache.sequences.at is not None else network.ends_patch(place)
        at = sequence[ends], patch[ends]
        context, new = network.run_trunk(hidden.token[ends], cache, at)
        entries = tuple(
            pair_written(entry, (at[0], slice(None), at[1]), pair)
            for entry, pair in zip(entries, new, strict=True)
        )
        whole = put_in(whole, (at[0], at[1] + 1), context)
    return dataclasses.replace(
        cache,
        sequences=sequences,
        symbols=symbols,
        entries=entries,
        whole=whole,
        contexts=put_in(cache.contexts, (sequence, place + 1), hidden.context),
    )
