"""Networks whose trunk runs once a patch of symbols, and on request; the byte model `patches`.

Scratchpad patching (Zheng et al. 2026, "Scratchpad patching: decoupling compute from patch size in
byte-level language models", arXiv 2605.09630), of which we could read the abstract only. A cheap
local layer reads the newest symbols. A trunk reads one token a patch and leaves one entry, keys and
values, in a cache. Each answer is made of the local features and of a context: the trunk's output
for the last whole patch, which inside a patch lags. A refresh, the gate of a place where no patch
ends, runs the trunk on the part of the patch that has come. Its context serves the answers until
the next refresh or the end of the patch, and leaves no entry in the cache. `streaming` is such a
network for whole inputs.

An input of `patches` is one position, as of the network `lm`: what other positions leave is
computed under a rule's masks. Only refreshes of the same patch matter to a later position, because
a whole patch's entry does not depend on them. The look shows the entropy of the answer without
refreshes, how far the patch has come, and the local features.

Faithful, as far as the abstract says: one entry a patch whatever is refreshed, the same trunk for
refreshes and whole patches, an aggregation of the patch's symbols by local cross-attention, and
entropy as the trigger, whose threshold may be moved afterwards. Ours: the sizes; the local layer
(an affine map of the last symbols' embeddings), and a head of one hidden layer in place of a local
transformer; patches of equal size. MACs of a position are those that it needs with the cache, so
that the last position of a patch pays for its entry.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu, scaled_dot_product_attention

from ccenv.annexes.networks.text.attention import CausalAttention
from ccenv.annexes.networks.text.patch_rows import (
    PatchCache,
    PatchPosition,
    empty_patches,
    patches_after,
)
from ccenv.annexes.networks.text.rows import Pair, Places, attend_some, by_head
from ccenv.annexes.networks.text.tokens import (
    check_alone,
    check_windows,
    sequences_of,
    window_length,
    windows_of,
)
from ccenv.annexes.networks.text.transformer import INITIAL_STD
from ccenv.base.annotations import with_fields_of
from ccenv.base.masks import as_mask
from ccenv.base.values import positive_ints
from ccenv.networks.core.abilities import Bounds, Continues, Doubts, PlaysWindows
from ccenv.networks.core.precision import in_own_dtype
from ccenv.networks.core.protocol import (
    Abilities,
    Gate,
    GatedNetwork,
    Rule,
    group_of,
    repeat_rows,
    rows_each,
)
from ccenv.networks.core.stage import kept_rows
from ccenv.networks.stages.linear import fully_connected, in_major_linear
from ccenv.sparse.routes import hides_skipped


def entropy(logits: Tensor) -> Tensor:
    """Entropy of answers in nats: [rows, num_classes] -> [rows]."""
    log_p = logits.log_softmax(dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


class PatchedNetwork(GatedNetwork):
    """Answers out of local features and a context, which a gate refreshes inside a patch.

    Hidden states have the context [rows, width], local features [rows, local_units], the logits of
    a guess that no refresh changes, and `lag`, int64 [rows]: how far the patch has come.
    """

    head: nn.Sequential
    """context and local features, side by side -> logits."""

    def trunk_at(self, hidden: Any, rows: Tensor | None) -> Tensor:
        """Contexts of the patch so far, of some rows or of all: [rows, width]."""
        raise NotImplementedError

    @staticmethod
    def between(before: Tensor, after: Tensor, share: Tensor) -> Tensor:
        """What lies so far between two contexts; the second one where the share is 1."""
        return torch.lerp(before, after, share)

    def refreshed(self, hidden: Any, mask: Tensor | None, weights: Tensor | None) -> Tensor:
        """Contexts after a refresh of the rows that keep it: [rows, width].

        A weight w between 0 and 1 goes so far from the context before to the refreshed one.
        """
        before: Tensor = hidden.context
        if mask is not None and hides_skipped(before, self.dense_macs, "auto"):
            return torch.where(mask, self.refreshed(hidden, None, weights), before)
        rows = kept_rows(mask)
        if rows is not None and not len(rows):
            return before
        context = self.trunk_at(hidden, rows)
        if weights is not None:
            rows_of = slice(None) if rows is None else rows
            context = self.between(before[rows_of], context, weights[rows_of].to(before.dtype))
        return context if rows is None else before.index_copy(0, rows, context)

    def answer(self, context: Tensor, local: Tensor) -> Tensor:
        """Logits [rows, num_classes]."""
        logits: Tensor = self.head(torch.cat([context, local], dim=1))
        return logits

    def look(self, gate: int, hidden: Any) -> Tensor:
        """Returns the guess's entropy in nats, how far the patch has come, the local features."""
        doubt = entropy(hidden.guess)[:, None]
        return torch.cat([doubt, hidden.lag[:, None].to(doubt.dtype), hidden.local], dim=1)


class TrunkLayer(nn.Module):
    """Attention to whole patches, and a feed-forward layer."""

    def __init__(self, width: int, num_heads: int, ffn_width: int) -> None:
        """Glorot uniform weights of the feed-forward layer, norms before each half."""
        super().__init__()
        self.attention = CausalAttention(width, num_heads)
        self.norm = nn.LayerNorm(width)
        self.first = in_major_linear(width, ffn_width)
        self.second = in_major_linear(ffn_width, width)

    def feed(self, x: Tensor) -> Tensor:
        """[..., width] -> the same."""
        x = x + self.second(relu(self.first(self.norm(x))))
        return x


@dataclass(frozen=True, kw_only=True)
class PatchSettings:
    """Settings of `PatchModel`."""

    patch_size: int = 4
    """symbols of a patch; 1 for a trunk that runs at every symbol."""
    depth: int = 2
    """layers of the trunk."""
    width: int = 96
    """of its tokens and contexts."""
    num_heads: int = 4
    """of its attention and of the aggregation; they divide the width."""
    ffn_width: int = 384
    """hidden units of its feed-forward layers."""
    context: int = 8
    """how many of the last symbols the local layer reads."""
    embedding_size: int = 16
    """numbers that stand for a symbol."""
    local_units: int = 96
    """of the local layer."""
    head_units: int = 96
    """hidden units of what answers."""
    look_tokens: int = 2
    """last symbols that `observation="symbols"` shows."""

    def check(self, window: int) -> None:
        """Refuses sizes that do not fit windows (ValueError)."""
        positive_ints([*dataclasses.astuple(self)], "sizes of a patch model")
        if self.width % self.num_heads:
            raise ValueError(
                f"expected num_heads to divide the width {self.width}, got {self.num_heads}"
            )
        if max(self.patch_size, self.context, self.look_tokens) > window:
            raise ValueError(
                f"expected patch_size, context and look_tokens of at most the window's {window} "
                f"symbols, got {self.patch_size}, {self.context} and {self.look_tokens}"
            )


class PatchModel(PatchedNetwork):
    """A byte model in patches; one gate a position, which refreshes its context."""

    abilities: Abilities = (Continues, PlaysWindows, Bounds, Doubts)
    num_symbols: int

    @with_fields_of(PatchSettings)
    def __init__(
        self, input_shape: tuple[int, ...] = (128,), num_classes: int = 128, **settings: Any
    ) -> None:
        """Builds the layers; see `PatchSettings`.

        Args:
            input_shape: (symbols of a window,).
            num_classes: different symbols, which are the classes too.
            settings: fields of `PatchSettings`.
        """
        super().__init__()
        self.settings = sizes = PatchSettings(**settings)
        self.window = window = window_length(input_shape, "patches")
        sizes.check(window)
        self.num_classes, self.missing, self.num_symbols = num_classes, num_classes, num_classes + 1
        self.patch_size, self.context, self.look_tokens = (
            sizes.patch_size,
            sizes.context,
            sizes.look_tokens,
        )
        width, heads, units = sizes.width, sizes.num_heads, sizes.local_units
        self.width, self.num_heads = width, heads
        self.embedding = nn.Embedding(num_classes + 1, sizes.embedding_size)
        self.reads = in_major_linear(sizes.context * sizes.embedding_size, units)
        self.offsets = nn.Embedding(sizes.patch_size, units)
        self.aggregates = in_major_linear(units, 3 * width)
        self.places = nn.Embedding(-(-window // sizes.patch_size), width)
        for table in (self.embedding, self.offsets, self.places):
            nn.init.normal_(table.weight, std=INITIAL_STD)
        self.trunk = nn.ModuleList(
            TrunkLayer(width, heads, sizes.ffn_width) for _ in range(sizes.depth)
        )
        self.norm, self.first = nn.LayerNorm(width), nn.Parameter(torch.zeros(width))
        self.head = fully_connected([width + units, sizes.head_units, num_classes])
        self.gates = (Gate("refresh", 1, 2 + units, "identity"),)
        last = torch.tensor([window - 1])
        self.dense_macs = int(self.fixed_macs(last) + self.trunk_macs(last))

    def layers(self) -> list[TrunkLayer]:
        """Of the trunk."""
        return cast(list[TrunkLayer], list(self.trunk))

    def ends_patch(self, place: Tensor) -> Tensor:
        """Whether the trunk runs there anyway: int64 [n] -> bool [n]."""
        return place % self.patch_size == self.patch_size - 1

    def may_end(self, cache: PatchCache) -> bool:
        """Whether an input may be at the end of a patch, as far as the host knows."""
        at = cache.sequences.at
        return at is None or at % self.patch_size == self.patch_size - 1

    def locally(self, symbols: Tensor, offset: Tensor) -> Tensor:
        """What is read of symbols: int64 [..., context], int64 [...] -> [..., local_units]."""
        return relu(self.reads(self.embedding(symbols).flatten(-2)) + self.offsets(offset))

    def parts(self, local: Tensor) -> Tensor:
        """Queries, keys, values of symbols: [..., local_units] -> [..., 3, heads, head_size]."""
        projected: Tensor = self.aggregates(local)
        return projected.unflatten(-1, (3, self.num_heads, -1))

    def played(
        self, inputs: Tensor, rule: Rule | None = None, *, alone: bool = False
    ) -> PatchCache:
        """See `PlaysWindows`: int64 [rows, window]; all positions of a sequence run at once.

        Without a rule no position before an input's own is refreshed.

        Raises:
            ValueError: if the inputs are no windows of its symbols, or `alone` are several.
        """
        check_windows(inputs, self.window)
        if alone:
            check_alone(inputs)
        sequences, size = sequences_of(inputs, self.missing), self.patch_size
        count, length = sequences.symbols.shape
        windows = windows_of(sequences.symbols, self.window, self.missing)
        place = torch.arange(length, device=windows.device)
        local = self.locally(windows[:, :, -self.context :], (place % size).expand(count, -1))
        by_patch = pad(local, (0, 0, 0, -length % size)).unflatten(1, (-1, size))
        query, key, value = (part.transpose(2, 3) for part in self.parts(by_patch).unbind(-3))
        mixed = query + scaled_dot_product_attention(query, key, value, is_causal=True)
        tokens = mixed.transpose(2, 3).flatten(3).flatten(1, 2)[:, :length]
        tokens = tokens + self.places(place // size)
        x, entries = tokens[:, size - 1 :: size], []
        for layer in self.layers():
            x, entry = layer.attention(x)
            x = layer.feed(x)
            entries.append(by_head(entry))
        whole = torch.cat([self.first.expand(count, 1, -1), self.norm(x)], dim=1)
        # At the end of a patch its own context is there; elsewhere that of the patch before.
        contexts = whole[:, (place + 1) // size]
        symbols = key.flatten(0, 1), value.flatten(0, 1)
        cache = PatchCache(sequences, local, symbols, tokens, tuple(entries), whole, contexts)
        if rule is not None and size > 1:
            contexts = self.contexts_under(rule, cache, windows)
            cache = dataclasses.replace(cache, contexts=contexts)
        return cache.for_the_last(self.window, len(self.places.weight)) if alone else cache

    def contexts_under(self, rule: Rule, cache: PatchCache, windows: Tensor) -> Tensor:
        """Contexts of all places under the rule's refreshes of those before: [s, length, width]."""
        count, length = cache.sequences.symbols.shape
        numbers = torch.arange(count * length, device=windows.device)
        state = self.placed(cache, numbers // length, numbers % length)
        with torch.no_grad():
            action = in_own_dtype(rule, 0, state, windows.flatten(0, 1))
        is_new = as_mask(action, 1)[:, 0] & ~self.ends_patch(state.place)
        is_new = is_new & cache.sequences.is_there.flatten()
        refreshed = self.trunk_at(state, is_new.nonzero().squeeze(1))
        # The last refresh before a place, if it is one of its patch.
        place = torch.arange(length, device=windows.device)
        last = torch.where(is_new.view(count, length), place, -1).cummax(dim=1).values
        last = pad(last, (1, -1), value=-1)
        from_refresh = (last >= place - place % self.patch_size) & ~self.ends_patch(place)
        number = is_new.cumsum(0).view(count, length) - 1
        source = number.gather(1, last.clamp(min=0))[from_refresh]
        flat = cache.contexts.flatten(0, 1)
        targets = from_refresh.flatten().nonzero().squeeze(1)
        return flat.index_copy(0, targets, refreshed[source]).view_as(cache.contexts)

    def placed(
        self, cache: PatchCache, sequence: Tensor, place: Tensor, parts: Pair | None = None
    ) -> PatchPosition:
        """States of positions; local features and token are those of the cache, or their own."""
        at = sequence * cache.local.shape[1] + place
        local, token, context = (
            values.flatten(0, 1).index_select(0, at)
            for values in (cache.local, cache.tokens, cache.contexts)
        )
        local, token = (local, token) if parts is None else parts
        whole, lag = cache.whole[sequence, (place + 1) // self.patch_size], place % self.patch_size
        state = PatchPosition(cache, sequence, place, lag, local, token, context, guess=context)
        if parts is not None and self.may_end(cache):
            # What the end of a patch answers out of may be in no cache yet.
            ends = self.ends_patch(place)[:, None]
            context = self.refreshed(state, ends, None)
            whole = torch.where(ends, context, whole)
        return dataclasses.replace(state, context=context, guess=self.answer(whole, local))

    def trunk_at(self, hidden: PatchPosition, rows: Tensor | None) -> Tensor:
        """See `PatchedNetwork`."""
        x, sequence, place = (
            part if rows is None else part.index_select(0, rows)
            for part in (hidden.token, hidden.sequence, hidden.place)
        )
        return self.run_trunk(x, hidden.cache, (sequence, place // self.patch_size))[0]

    def run_trunk(
        self, token: Tensor, cache: PatchCache, patches: Places
    ) -> tuple[Tensor, list[Pair]]:
        """The trunk on patches of sequences: [rows, width] -> contexts, and what it would leave."""
        x, new = token, []
        for layer, entries in zip(self.layers(), cache.entries, strict=True):
            x, pair = layer.attention.at(x, entries, patches)
            x = layer.feed(x)
            new.append(pair)
        return self.norm(x), new

    def start(self, inputs: Tensor) -> PatchPosition:
        """See `GatedNetwork.start`."""
        return self.read(inputs, self.played(inputs))

    def read(self, inputs: Tensor, state: PatchCache) -> PatchPosition:
        """See `Continues`; of windows that were played together the positions are there."""
        cache = state
        sequence, place = cache.sequences.sequence, cache.sequences.place
        if cache.has_last:
            return self.placed(cache, sequence, place)
        patch, offset = place // self.patch_size, place % self.patch_size
        local = self.locally(inputs[:, -self.context :], offset)
        parts = self.parts(local)
        numbers = sequence * -(-cache.local.shape[1] // self.patch_size) + patch
        mixed = attend_some(parts, cache.symbols, (numbers, offset))
        token = (parts[:, 0] + mixed).flatten(1) + self.places(patch)
        return self.placed(cache, sequence, place, (local, token))

    def empty_state(self, inputs: Tensor) -> PatchCache:
        """See `Continues`."""
        check_windows(inputs, self.window)
        return empty_patches(self, inputs)

    def advance(self, hidden: PatchPosition) -> PatchCache | None:
        """See `Continues`: the symbol's keys and values, its context, and a whole patch's entry."""
        return patches_after(self, hidden)

    def executed(self, gate: int, hidden: PatchPosition, mask: Tensor) -> Tensor:
        """See `GatedNetwork`: at the end of a patch there is nothing to refresh."""
        group = rows_each(len(hidden.place), len(mask))
        return mask & ~self.ends_patch(hidden.place.repeat_interleave(group))[:, None]

    def step(
        self,
        gate: int,
        hidden: PatchPosition,
        mask: Tensor | None,
        weights: Tensor | None = None,
        backend: str = "auto",
    ) -> PatchPosition:
        """See `GatedNetwork.step` and `refreshed`."""
        hidden = repeat_rows(hidden, group_of(hidden.place.shape[0], mask, weights))
        is_new = ~self.ends_patch(hidden.place)[:, None]
        context = self.refreshed(hidden, is_new if mask is None else is_new & mask, weights)
        return dataclasses.replace(hidden, context=context)

    def logits(self, hidden: PatchPosition, backend: str = "auto") -> Tensor:
        """See `GatedNetwork.logits`."""
        return self.answer(hidden.context, hidden.local)

    def fixed_macs(self, place: Tensor) -> Tensor:
        """Local layer, aggregation and two answers at places: int64 [n]."""
        read = self.reads.weight.numel() + self.aggregates.weight.numel()
        heads = sum(m.weight.numel() for m in self.head if isinstance(m, nn.Linear))
        return read + 2 * heads + 2 * self.width * (place % self.patch_size + 1)

    def trunk_macs(self, place: Tensor) -> Tensor:
        """The trunk on the patch so far: int64 [n]."""
        ffn = self.layers()[0].first.weight.numel()
        entries = place // self.patch_size + 1
        return len(self.trunk) * (4 * self.width**2 + 2 * ffn + 2 * self.width * entries)

    def macs(self, gate: int, hidden: PatchPosition, mask: Tensor) -> Tensor:
        """See `GatedNetwork.macs`; the end of a patch pays for its entry."""
        place = hidden.place.repeat_interleave(rows_each(len(hidden.place), len(mask)))
        runs = mask[:, 0] | self.ends_patch(place)
        return self.fixed_macs(place) + runs * self.trunk_macs(place)

    def least_macs(self, gate: int) -> int:
        """See `Bounds`; of the dearest place, because the end of a patch runs the trunk anyway."""
        place = torch.arange(self.window)
        return int((self.fixed_macs(place) + self.ends_patch(place) * self.trunk_macs(place)).max())


patches = PatchModel
