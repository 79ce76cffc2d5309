"""The network `lm`: a causal transformer with gates that predicts the next symbol of a sequence.

An input is one position: the symbols up to it, after as many `missing` ones (the number behind the
last symbol) as the window is longer. A mask chooses what this position computes: experts, attention
heads, whole parts of a layer, or whether it goes on behind an exit. Keys and values of earlier
positions are computed under *committed* masks: the greedy masks of a policy (`Earlier`), as in
generation, or a hash of each position's symbol and everything else. Rows do not depend on their
neighbours, and several masks of a position differ by its own blocks only.

Later positions read keys and values of every layer, so these are computed and counted whatever is
kept. A position that skips an attention, or heads of it, has no queries there: it reads nothing.
One that stops at an exit answers with the network's own head; its features are copied up, and keys
and values of later layers are made of them, when it stops (Schuster et al. 2022, "Confident
adaptive language modeling", arXiv 2207.07061).

Layers that repeat, with exits between the repeats, are a transformer that ponders (Dehghani et al.
2019, "Universal transformers", arXiv 1807.03819), for the agents `act` and `pondernet`. Left out:
embeddings of the step.

Neighbouring inputs that continue each other are one sequence (`sequences_of`). Each sequence runs
once under committed masks. A row that follows them costs no extra time; a row that differs is
computed alone from that gate on. MACs of a position are those that it needs with a cache of the
earlier positions.

Vaswani et al. 2017, "Attention is all you need" (arXiv 1706.03762), with norms before what they
normalise; experts in the place of the feed-forward layer: Fedus, Zoph, Shazeer 2022, "Switch
transformers" (arXiv 2101.03961); routes by a hash: Roller et al. 2021 (arXiv 2106.04426).
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from ccenv.base.masks import as_mask, full_mask, gate_values_of, spread
from ccenv.base.registry import check_names
from ccenv.base.values import positive_ints
from ccenv.networks.core.abilities import (
    Bounds,
    Caches,
    Continues,
    Exits,
    Owns,
    ReadsEarlier,
    Repeats,
)
from ccenv.networks.core.exit_state import Flow, exit_look, leave
from ccenv.networks.core.precision import in_own_dtype
from ccenv.networks.core.protocol import Abilities, Earlier, Gate, GatedNetwork, Unread, rows_each
from ccenv.networks.text.attention import Layer
from ccenv.networks.text.sequences import Cache, Left, Position, sequences_of
from ccenv.networks.text.tokens import check_windows, window_length
from ccenv.sparse.routes import hides_skipped

INITIAL_STD = 0.1
"""Of embeddings of symbols and of places."""

GATES = ("attention", "heads", "ffn", "experts", "exits")
"""What a mask may choose in a layer, in the order in which it runs."""
EITHER = (("attention", "heads"), ("ffn", "experts"))
"""A whole part of a layer, or its blocks."""


@dataclass(frozen=True)
class Part:
    """A part of a layer that a gate decides, or that always runs."""

    kind: str
    """one of `GATES`; what always runs is "attention" or "ffn"."""
    layer: int
    """as they run: a layer that is repeated has several numbers."""
    is_gate: bool

    @property
    def skipped(self) -> str:
        """See `Gate`."""
        if self.is_exit:
            return "stop"
        return "zero" if self.kind in ("heads", "experts") else "identity"

    @property
    def is_exit(self) -> bool:
        """Whether rows may stop here."""
        return self.kind == "exits"

    @property
    def is_ffn(self) -> bool:
        """Whether it is feed-forward, not attention."""
        return self.kind in EITHER[1]


def parts_of(gates: Sequence[str] | str, depth: int, repeats: int = 1) -> tuple[Part, ...]:
    """Parts of all layers in the order in which they run.

    Args:
        gates: kinds of gates, as a list or as a text with commas.
        depth: layers.
        repeats: how often they run; exits are then behind all of them, not behind each.

    Raises:
        ValueError: if there are none, one is unknown, or two decide the same.

    >>> [(part.kind, part.is_gate) for part in parts_of("heads", depth=1)]
    [('heads', True), ('ffn', False)]
    """
    kinds = [name.strip() for name in gates.split(",")] if isinstance(gates, str) else list(gates)
    check_names(kinds, GATES, "gate")
    if not kinds or any(set(pair) <= set(kinds) for pair in EITHER):
        raise ValueError(
            "expected gates of one kind at least, of attention and heads one at most, and of ffn "
            f"and experts one at most, got {', '.join(kinds) or 'none'}"
        )
    parts = []
    for number in range(depth * repeats):
        for whole, blocks in EITHER:
            kind = blocks if blocks in kinds else whole
            parts.append(Part(kind, number, kind in kinds))
        # The answer behind the last layer is the network's.
        is_end = repeats == 1 or (number + 1) % depth == 0
        if "exits" in kinds and is_end and number + 1 < depth * repeats:
            parts.append(Part("exits", number, is_gate=True))
    if not any(part.is_gate for part in parts):
        raise ValueError(
            "expected a depth of at least 2, or layers that are repeated, for exits without other "
            f"gates, got depth={depth}"
        )
    return tuple(parts)


class LanguageModel(GatedNetwork):
    """A causal transformer over symbols; gates for parts of each layer, its experts by default."""

    abilities: Abilities = (Exits, ReadsEarlier, Caches, Continues, Owns, Bounds, Repeats)
    num_symbols: int

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
        gates: Sequence[str] | str = ("experts",),
        repeats: int = 1,
        loss_weight: float = 0.3,
    ) -> None:
        """Builds the layers.

        Args:
            input_shape: (symbols of a window,).
            num_classes: different symbols, which are the classes too; one more is `missing`.
            depth: layers, each with its gates.
            width: features of a position.
            num_heads: of the attention; they divide the width.
            ffn_width: hidden units of an expert.
            num_experts: in each layer; 1 for a dense network.
            num_kept: experts that a position commits to where no policy says which.
            context: places that have an embedding; None for as many as the window has symbols.
            tied: whether the answers are made by the embedding's own matrix.
            look_tokens: last symbols that `observation="symbols"` shows.
            activation: of the experts: "relu", "tanh", or a function that maps 0 to 0.
            gates: what masks choose in each layer: "attention" as a whole or its "heads", and
                the "ffn" as a whole or its "experts". What has no gate always runs: without
                "experts" they are one feed-forward layer of num_experts * ffn_width units.
                "exits": a position may stop behind each layer but the last.
            repeats: how often the layers run one after the other, with the same weights; above 1
                exits are behind each repeat but the last.
            loss_weight: of each exit's loss in training, next to the last answer's.
        """
        super().__init__()
        window = window_length(input_shape, "lm")
        context = window if context is None else context
        sizes = [depth, width, num_heads, ffn_width, num_experts, num_kept, context, look_tokens]
        names = "depth, width, num_heads, ffn_width, num_experts, num_kept, context, look_tokens"
        positive_ints([*sizes, repeats], f"{names}, repeats")
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
        self.keys_and_values_macs = 2 * width**2
        self.loss_weight, self.repeats = loss_weight, repeats
        self.parts = parts_of(gates, depth, repeats)
        places = [place for place, part in enumerate(self.parts) if part.is_gate]
        self.places_of_gates = (*places, len(self.parts))
        self.blocks = dict.fromkeys(GATES, 1) | {"heads": num_heads, "experts": num_experts}
        self.gates = tuple(
            Gate(
                name=f"layers.{part.layer}.{part.kind}",
                num_blocks=self.blocks[part.kind],
                look_size=width + (num_classes if part.is_exit else 0),
                skipped=part.skipped,
            )
            for part in self.parts
            if part.is_gate
        )
        answers = 1 + sum(part.is_exit for part in self.parts)
        of_parts = sum(self.part_macs(part, window) for part in self.parts)
        self.dense_macs = answers * self.head_macs + of_parts

    def layer(self, number: int) -> Layer:
        """A layer by its number as it runs."""
        found = self.layers[number % len(self.layers)]
        assert isinstance(found, Layer)
        return found

    def part(self, gate: int) -> Part:
        """What a gate decides."""
        return self.parts[self.places_of_gates[gate]]

    def parts_before(self, gate: int) -> tuple[Part, ...]:
        """Parts that always run between the gate before and a gate, or behind the last gate."""
        first = self.places_of_gates[gate - 1] + 1 if gate else 0
        return self.parts[first : self.places_of_gates[gate]]

    def committed_action(
        self,
        earlier: Earlier | None,
        gate: int,
        cache: Cache,
        inputs: Tensor,
        running: Tensor,
    ) -> Tensor:
        """Returns the committed action of every position at a gate: [positions, ...].

        Args:
            earlier: what decides it; None for a hash of experts, and everything else kept.
            gate: its number.
            cache: what has been computed before it.
            inputs: int64 [positions, window].
            running: bool [positions]; which are there and have not stopped.
        """
        sequences = cache.sequences
        if earlier is None:
            symbols, blocks = sequences.symbols.flatten(), self.gates[gate].num_blocks
            if self.part(gate).kind != "experts":
                return full_mask(len(symbols), blocks, symbols.device)
            first = symbols[:, None] * self.num_kept
            kept = (first + torch.arange(self.num_kept, device=first.device)) % blocks
            mask = torch.zeros(len(symbols), blocks, dtype=torch.bool, device=first.device)
            return mask.scatter(1, kept, value=True)
        with torch.no_grad():
            positions = self._positions(gate, cache, running)
            return in_own_dtype(earlier, gate, positions, inputs)

    def _positions(self, gate: int, cache: Cache, running: Tensor) -> Position:
        """All positions of sequences that a cache has come to, before a gate."""
        count, length = cache.sequences.symbols.shape
        numbers = torch.arange(count * length, device=running.device)
        none = numbers[:0], self._none(cache)
        hidden = Position(cache, numbers // length, numbers % length, *none, gate)
        if not self.has_exits:
            return hidden
        if running.is_cuda:
            # To list the others, the host would wait.
            flow = Flow(self._none(cache), len(numbers), goes=running)
        else:
            flow = Flow(self._none(cache), len(numbers), rows=running.nonzero().squeeze(1))
        return self._answered(dataclasses.replace(hidden, flow=flow))

    def cache(self, inputs: Tensor, earlier: Earlier | None = None) -> Cache:
        """Runs the sequences of inputs under committed masks: int64 [rows, window].

        Raises:
            ValueError: if the inputs are no windows of its symbols.
        """
        check_windows(inputs, self.window)
        cache = Cache(self, sequences_of(inputs, self.missing))
        symbols, is_there = cache.sequences.symbols, cache.sequences.is_there
        rows = inputs
        if earlier is not None:
            padded = pad(symbols, (self.window - 1, 0), value=self.missing)
            rows = padded.unfold(1, self.window, 1).flatten(0, 1)
        x = self.embedding(symbols) + self.places.weight[: symbols.shape[1]]
        # Padding keeps no block: a NaN of an unused one must not reach the attention.
        running, may_have_stopped = is_there.flatten(), False
        for part in self.parts:
            mask, weights = running[:, None], None
            if part.is_gate:
                cache = dataclasses.replace(cache, streams=(*cache.streams, x))
                gate = len(cache.streams) - 1
                action = self.committed_action(earlier, gate, cache, rows, running)
                mask = as_mask(action, self.gates[gate].num_blocks) & mask
                weights = gate_values_of(action)
                executed = mask if weights is None else mask * weights
                masks = executed.unflatten(0, tuple(symbols.shape))
                cache = dataclasses.replace(cache, masks=(*cache.masks, masks))
            if part.is_exit:
                running, may_have_stopped = mask[:, 0], True
                continue
            y, cache = self._run_sequences(part, x, cache, mask, weights, may_have_stopped)
            # Features of a position that has stopped are copied up: later layers make its keys
            # and values of them.
            x = torch.where(running.view(*symbols.shape, 1), y, x) if may_have_stopped else y
        return dataclasses.replace(cache, streams=(*cache.streams, x))

    def _run_sequences(
        self,
        part: Part,
        x: Tensor,
        cache: Cache,
        mask: Tensor,
        weights: Tensor | None,
        may_have_stopped: bool,
    ) -> tuple[Tensor, Cache]:
        """Runs a part of whole sequences, [sequences, length, width], and keeps what is read."""
        layer, flat = self.layer(part.layer), x.flatten(0, 1)
        if part.is_ffn:
            return layer.feed(flat, mask, weights, "auto", part.kind).view(x.shape), cache
        if part.is_gate or may_have_stopped:
            key, value = layer.attention.keys_and_values(x)
            of_rows = key.flatten(0, 1), value.flatten(0, 1)
            key, value = key.transpose(1, 2).contiguous(), value.transpose(1, 2).contiguous()
            numbers = torch.arange(len(flat), device=x.device)
            rows = numbers // x.shape[1], numbers % x.shape[1]
            cached = key, value
            flat = layer.attend(flat, of_rows, cached, rows, mask, weights, "auto", part.kind)
            x = flat.view(x.shape)
        else:
            x, key, value = layer.attention(x)
        keys, values = (*cache.keys, key), (*cache.values, value)
        return x, dataclasses.replace(cache, keys=keys, values=values)

    def start(self, inputs: Tensor, earlier: Earlier | None = None) -> Position:
        """See `GatedNetwork.start`."""
        cache = self.cache(inputs, earlier)
        sequence, place = cache.sequences.sequence, cache.sequences.place
        flow = Flow(self._none(cache), len(place)) if self.has_exits else None
        hidden = Position(cache, sequence, place, sequence[:0], self._none(cache), flow=flow)
        return self._answered(hidden)

    def start_cached(self, inputs: Tensor, cache: Cache) -> Position:
        """See `GatedNetwork.start_cached`; the state holds what later positions read.

        Raises:
            ValueError: if the cache is another network's.
        """
        if cache.owner is not self:
            raise ValueError(
                "expected a cache that this network has made, got another network's; call cache or "
                "cache_before of this one"
            )
        sequence, place = cache.sequences.sequence, cache.sequences.place
        x = self.embedding(inputs[:, -1]) + self.places(place)
        own = torch.arange(len(inputs), device=inputs.device)
        flow = Flow(x, len(x)) if self.has_exits else None
        return self._ahead(Position(cache, sequence, place, own, x, left=(), flow=flow))

    def cache_before(self, inputs: Tensor, earlier: Earlier | None = None) -> Cache:
        """See `GatedNetwork.cache_before`; earlier positions are under committed masks.

        Raises:
            ValueError: if it is not one input.
        """
        check_windows(inputs, self.window)
        if len(inputs) != 1:
            raise ValueError(f"expected the end of one sequence, got {len(inputs)} inputs")
        padded = pad(inputs, (self.window - 1, 0), value=self.missing)
        rows = padded.unfold(1, self.window, 1)[0]
        cache = self.cache(rows[rows[:, -1] != self.missing], earlier)
        there = cache.sequences.symbols.shape[1]
        keys, values = (
            tuple(pad(part, (0, 0, 0, self.window - there)) for part in parts)
            for parts in (cache.keys, cache.values)
        )
        last = cache.sequences.place[-1:]
        sequences = dataclasses.replace(cache.sequences, sequence=0 * last, place=last)
        return dataclasses.replace(cache, sequences=sequences, keys=keys, values=values)

    def cache_after(self, hidden: Position) -> Cache | None:
        """See `GatedNetwork.cache_after`."""
        cache = hidden.cache
        for left in hidden.left or ():
            sequence, place = hidden.sequence[left.rows], hidden.place[left.rows]
            cache.keys[left.layer][sequence, :, place] = left.keys
            cache.values[left.layer][sequence, :, place] = left.values
        sequences = dataclasses.replace(cache.sequences, place=cache.sequences.place + 1)
        is_full = int(sequences.place[-1]) >= self.window
        return None if is_full else dataclasses.replace(cache, sequences=sequences)

    def _none(self, cache: Cache) -> Tensor:
        return cache.streams[0].new_zeros(0, self.width)

    def _ahead(self, hidden: Position) -> Position:
        """Runs what always runs before the next gate for rows that differ; see `_answered`."""
        for part in self.parts_before(hidden.gate):
            hidden = self._run(part, hidden, None, None, "auto")
        return self._answered(hidden)

    def _answered(self, hidden: Position) -> Position:
        """Computes what an exit would answer, where it is decided next."""
        if hidden.flow is None or not self.is_exit(hidden.gate):
            return hidden
        x = self.norm(hidden.of_running(hidden.features()))
        flow = dataclasses.replace(hidden.flow, x=x, early=self._answers(x))
        return dataclasses.replace(hidden, flow=flow)

    def _answers(self, normalised: Tensor) -> Tensor:
        weight = self.embedding.weight if self.head is None else self.head.weight
        return linear(normalised, weight, self.bias)

    def _run(
        self,
        part: Part,
        hidden: Position,
        mask: Tensor | None,
        weights: Tensor | None,
        backend: str,
    ) -> Position:
        """Runs a part for the rows that differ; mask and weights are theirs."""
        layer, x = self.layer(part.layer), hidden.x
        if not len(x):
            return hidden
        if part.is_ffn:
            return dataclasses.replace(hidden, x=layer.feed(x, mask, weights, backend, part.kind))
        sequence, place = (
            rows.index_select(0, hidden.own) for rows in (hidden.sequence, hidden.place)
        )
        keys, values = hidden.cache.keys[part.layer], hidden.cache.values[part.layer]
        if part.is_gate:
            # Later positions read keys and values, whether this one attends or not.
            of_rows = layer.attention.keys_and_values(x)
            rows, cached = (sequence, place), (keys, values)
            x = layer.attend(x, of_rows, cached, rows, mask, weights, backend, part.kind)
        else:
            x, key, value = layer.attention.at(x, keys, values, sequence, place)
            of_rows = key, value
        left = hidden.left
        if left is not None:
            left = (*left, Left(part.layer, hidden.own, *of_rows))
        return dataclasses.replace(hidden, x=x, left=left)

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
        hidden = dataclasses.replace(hidden, own=own, x=x, gate=gate + 1)
        if self.is_exit(gate):
            return self._ahead(self._exit(self.part(gate), hidden, mask, weights))
        mask, weights = (None if m is None else m.index_select(0, own) for m in (mask, weights))
        return self._ahead(self._run(self.part(gate), hidden, mask, weights, backend))

    def _leaving(
        self, gate: int, hidden: Position, mask: Tensor | None, weights: Tensor | None
    ) -> Tensor:
        """Returns the rows that differ from the committed masks so far: int64 [left], rising.

        Few rows on a GPU all leave: to list those that differ, the host would wait.
        """
        if hidden.all_left:
            return hidden.own
        if self._hides(hidden) and (hidden.flow is None or hidden.flow.rows is None):
            return torch.arange(len(hidden.place), device=hidden.place.device)
        # Committed gate values have no gradient.
        if weights is not None and weights.requires_grad:
            leaves = torch.ones_like(hidden.place, dtype=torch.bool)
        else:
            kept: Tensor | bool = True if mask is None else mask
            executed = kept if weights is None else kept * weights
            differs = hidden.committed(hidden.cache.masks[gate]) != executed
            leaves = differs.any(dim=1).index_fill(0, hidden.own, True)
        if hidden.flow is not None:
            leaves = leaves & hidden.is_running()
        return leaves.nonzero().squeeze(1)

    def _hides(self, hidden: Position) -> bool:
        """Whether all rows are computed, and what they do not need is hidden."""
        rows = hidden.cache.streams[0].new_empty(len(hidden.place), 0)
        return hides_skipped(rows, self.dense_macs, "auto")

    def _exit(
        self, part: Part, hidden: Position, mask: Tensor | None, weights: Tensor | None
    ) -> Position:
        """Lets rows that skip an exit answer and stop."""
        assert hidden.flow is not None
        mask, weights = (None if m is None else hidden.of_running(m) for m in (mask, weights))
        hides = self._hides(hidden) and hidden.left is None
        flow = leave(hidden.flow, mask, weights, hides=hides)
        hidden = dataclasses.replace(hidden, flow=flow)
        if hides:
            return hidden
        goes = hidden.is_running().index_select(0, hidden.own)
        left = hidden.left
        if left is not None:
            # Later positions read keys and values of later layers: of the features at the exit.
            stopped, x = hidden.own[~goes], hidden.x[~goes]
            for number in range(part.layer + 1, self.parts[-1].layer + 1):
                of_rows = self.layer(number).attention.keys_and_values(x)
                left = (*left, Left(number, stopped, *of_rows))
        return dataclasses.replace(hidden, own=hidden.own[goes], x=hidden.x[goes], left=left)

    def logits(self, hidden: Position, backend: str = "auto") -> Tensor:
        """See `GatedNetwork.logits`."""
        logits = self._answers(self.norm(hidden.of_running(hidden.features())))
        return logits if hidden.flow is None else hidden.flow.answered(logits)

    def look(self, gate: int, hidden: Position) -> Tensor:
        """Returns the normalised features, which the part reads: [rows, look_size].

        At an exit what it would answer stands before them. Rows that have stopped show zeros.
        """
        part, flow = self.part(gate), hidden.flow
        if part.is_exit:
            early, _ = self.early_answer(gate, hidden)
            assert flow is not None
            return flow.of_all(exit_look(early, flow.x))
        layer = self.layer(part.layer)
        norm = layer.norm if part.is_ffn else layer.attention.norm
        return hidden.of_all(hidden.of_running(norm(hidden.features())))

    def is_exit(self, gate: int) -> bool:
        """Whether a gate is one."""
        return gate < len(self.gates) and self.part(gate).is_exit

    @property
    def has_exits(self) -> bool:
        """Whether any gate is one."""
        return any(part.is_exit for part in self.parts)

    def early_answer(self, gate: int, hidden: Position) -> tuple[Tensor, float]:
        """See `GatedNetwork`."""
        flow = hidden.flow
        if flow is None or flow.early is None or not self.is_exit(gate):
            raise ValueError(f"expected gate {gate} to be an exit that is next, got {gate}")
        return flow.early, self.loss_weight

    def executed(self, gate: int, hidden: Position, mask: Tensor) -> Tensor:
        """See `GatedNetwork`: nothing of rows that have stopped."""
        if hidden.flow is None or not hidden.flow.may_have_stopped:
            return mask
        return hidden.of_all(hidden.of_running(mask))

    def part_macs(self, part: Part, length: Any, kept: Any = None) -> Any:
        """Returns the MACs of a part at the end of `length` positions; 0 of an exit.

        Keys and values are computed whatever is kept, because later positions read them.

        Args:
            part: one of `parts`.
            length: positions that are read, this one included: a number, or int64 [rows].
            kept: blocks that are kept, as the length; None for all.
        """
        blocks = self.blocks[part.kind]
        kept = blocks if kept is None else kept
        if part.is_exit:
            return 0 * kept
        if part.is_ffn:
            return kept * (self.blocks["experts"] // blocks * self.expert_macs)
        reading = kept * (2 * self.width * (self.width + length) // blocks)
        return self.keys_and_values_macs + reading

    def macs_before(self, gate: int, length: Any) -> Any:
        """Returns the MACs of what always runs before a gate, or behind the last one."""
        parts = sum(self.part_macs(part, length) for part in self.parts_before(gate))
        is_answer = gate == len(self.gates) or self.is_exit(gate)
        return parts + (self.head_macs if is_answer else 0)

    def stop_macs(self, gate: int) -> int:
        """Returns the MACs of stopping at an exit: keys and values of all later layers."""
        return (self.parts[-1].layer - self.part(gate).layer) * self.keys_and_values_macs

    def macs(self, gate: int, hidden: Position, mask: Tensor) -> Tensor:
        """See `GatedNetwork.macs`; attention by the position's own length."""
        hidden = hidden.repeated(rows_each(len(hidden.place), len(mask)))
        length = hidden.place + 1
        spent = self.part_macs(self.part(gate), length, mask.sum(dim=1))
        spent = spent + self.macs_before(gate + 1, length)
        if self.is_exit(gate):
            spent = torch.where(mask[:, 0], spent, self.stop_macs(gate))
        spent = spent + (0 if gate else self.macs_before(0, length))
        return hidden.of_all(hidden.of_running(spent))

    def least_macs(self, gate: int) -> int:
        """See `GatedNetwork`; of the last place of a window, which costs most."""
        least = 0 if gate else int(self.macs_before(0, self.window))
        for number in range(gate, len(self.gates)):
            if self.is_exit(number):
                return least + self.stop_macs(number)
            skipping = self.part_macs(self.part(number), self.window, 0)
            least += int(skipping + self.macs_before(number + 1, self.window))
        return least

    def gate_parameters(self, gate: int) -> list[nn.Parameter]:
        """See `GatedNetwork`."""
        part = self.part(gate)
        layer = self.layer(part.layer)
        if part.is_exit:
            return []
        if part.is_ffn:
            return [*layer.experts.parameters(), *([layer.bias] if part.kind == "ffn" else [])]
        # Heads are added to a bias, whatever is kept.
        after = list(layer.attention.output.parameters())[: 1 if part.kind == "heads" else 2]
        return [*layer.attention.query_key_value.parameters(), *after]

    def unread_entries(self, off: Sequence[Tensor]) -> Unread:
        """See `GatedNetwork`: of the rows' own positions; what they read of others is there.

        Keys and values of a position are computed whatever it keeps, and norms are looked at.
        """
        pairs: Unread = []
        for gate, blocks in enumerate(off):
            part = self.part(gate)
            layer = self.layer(part.layer)
            if part.is_exit:
                continue
            if part.is_ffn:
                hidden, output = layer.experts.hidden, layer.experts.output
                both = [(hidden.weight, 0), (hidden.bias, 0), (output.weight, 1)]
                both += [(layer.bias, 0)] if part.kind == "ffn" else []
                pairs += [(weight, spread(blocks, weight, dim)) for weight, dim in both]
                continue
            attention, heads = layer.attention, layer.attention.num_heads
            reading = attention.query_key_value, attention.output
            keys_and_values = blocks.new_zeros(2 * heads)
            queries = torch.cat([blocks.expand(heads), keys_and_values])
            pairs += [(weight, spread(queries, weight, 0)) for weight in reading[0].parameters()]
            pairs.append((reading[1].weight, spread(blocks, reading[1].weight, 1)))
            if part.kind == "attention":
                pairs.append((reading[1].bias, spread(blocks, reading[1].bias, 0)))
        return pairs


lm = LanguageModel
