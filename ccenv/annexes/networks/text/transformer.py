"""The network `lm`: a causal transformer with gates that predicts the next symbol of a sequence.

Its gates and steps, and at the end the run through whole sequences; single rows are in `rows`.

An input is one position: the symbols up to it, after as many `missing` ones (the number behind the
last symbol) as the window is longer. A mask chooses what this position computes: experts, attention
heads, whole parts of a layer, or whether it goes on behind an exit. Positions before it are played
under a `Rule`: the greedy masks of a policy, as in generation; without one, a hash of each
position's symbol and everything else. Rows do not depend on their
neighbours, and several masks of a position differ by its own blocks only.

Later positions read keys and values of every layer, so these are computed and counted whatever is
kept. A position that skips an attention, or heads of it, has no queries there: it reads nothing.
One that skips a whole layer leaves no keys and values there, so that later positions read fewer
(Raposo et al. 2024, "Mixture-of-Depths", arXiv 2404.02258, where a layer's capacity is fixed).
One that stops at an exit answers with the network's own head; its features are copied up, and keys
and values of later layers are made of them, when it stops (Schuster et al. 2022, "Confident
adaptive language modeling", arXiv 2207.07061).

Layers that repeat, with exits between the repeats, are a transformer that ponders (Dehghani et al.
2019, "Universal transformers", arXiv 1807.03819), for the agents `act` and `pondernet`. Left out:
embeddings of the step.

Neighbouring inputs that continue each other are one sequence (`sequences_of`). Each sequence runs
once under the rule. A row that follows it costs no extra time; a row that differs is computed alone
from that gate on. MACs of a position are those that it needs with a cache of those before it.

Vaswani et al. 2017, "Attention is all you need" (arXiv 1706.03762), with norms before what they
normalise; experts in the place of the feed-forward layer: Fedus, Zoph, Shazeer 2022, "Switch
transformers" (arXiv 2101.03961); routes by a hash: Roller et al. 2021 (arXiv 2106.04426).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from ccenv.annexes.networks.text.attention import Layer, Pair
from ccenv.annexes.networks.text.parts import GATES, LayerPart, gate_macs, layer_parts, part_unread
from ccenv.annexes.networks.text.rows import (
    Cache,
    Position,
    empty_state,
    every_position,
    run_numbers,
    run_rows,
    stop_rows,
    with_kept,
)
from ccenv.annexes.networks.text.tokens import (
    check_alone,
    check_owner,
    check_windows,
    sequences_of,
    window_length,
    windows_of,
)
from ccenv.base.masks import as_mask, full_mask, gate_values_of
from ccenv.base.values import positive_ints
from ccenv.networks.core.abilities import Bounds, Continues, Exits, Owns, PlaysWindows
from ccenv.networks.core.exit_state import Flow, exit_look
from ccenv.networks.core.precision import in_own_dtype
from ccenv.networks.core.protocol import (
    Abilities,
    Gate,
    GatedNetwork,
    Rule,
    Unread,
    group_of,
    rows_each,
)
from ccenv.sparse.routes import hides_skipped

INITIAL_STD = 0.1
"""Of embeddings of symbols and of places."""


class LanguageModel(GatedNetwork):
    """A causal transformer over symbols; gates for parts of each layer, its experts by default."""

    abilities: Abilities = (Exits, Continues, PlaysWindows, Owns, Bounds)
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
                "exits": a position may stop behind each layer but the last. "layers", alone: a
                position that skips a layer leaves no keys and values there.
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
        self.parts = layer_parts(gates, depth, repeats)
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
        everything = enumerate(self.num_blocks)
        self.dense_macs = sum(gate_macs(self, gate, window, kept) for gate, kept in everything)

    def layer(self, number: int) -> Layer:
        """A layer by its number as it runs."""
        layer = self.layers[number % len(self.layers)]
        assert isinstance(layer, Layer)
        return layer

    def part(self, gate: int) -> LayerPart:
        """What a gate decides."""
        return self.parts[self.places_of_gates[gate]]

    def parts_before(self, gate: int) -> tuple[LayerPart, ...]:
        """Parts that always run between the gate before and a gate, or behind the last gate."""
        first = self.places_of_gates[gate - 1] + 1 if gate else 0
        return self.parts[first : self.places_of_gates[gate]]

    def is_exit(self, gate: int) -> bool:
        """Whether a gate is one."""
        return gate < len(self.gates) and self.part(gate).is_exit

    def start(self, inputs: Tensor) -> Position:
        """See `GatedNetwork.start`: all rows follow the masks of their sequences."""
        return self.read(inputs, self.played(inputs))

    def played(self, inputs: Tensor, rule: Rule | None = None, *, alone: bool = False) -> Cache:
        """See `PlaysWindows`: int64 [rows, window]; all positions of a sequence run at once.

        Raises:
            ValueError: if the inputs are no windows of its symbols, or `alone` are several.
        """
        check_windows(inputs, self.window)
        if alone:
            check_alone(inputs)
        cache = run_sequences(self, inputs, rule)
        return cache.for_the_last(self.window) if alone else cache

    def read(self, inputs: Tensor, state: Cache) -> Position:
        """See `Continues`; rows of windows that were played together follow their sequences.

        Others hold what later positions read.

        Raises:
            ValueError: if the state is another network's.
        """
        check_owner(state, self)
        sequence, place, none = state.sequences.sequence, state.sequences.place, state.no_features()
        if state.masks:
            return self.answered(
                Position(state, Flow(none, len(place)), sequence, place, sequence[:0], none)
            )
        x = self.embedding(inputs[:, -1]) + self.places(place)
        rows = torch.arange(len(inputs), device=inputs.device)
        return self._ahead(Position(state, Flow(x, len(x)), sequence, place, rows, x, left=()))

    def empty_state(self, inputs: Tensor) -> Cache:
        """See `Continues`."""
        check_windows(inputs, self.window)
        return empty_state(self, inputs)

    def advance(self, hidden: Position) -> Cache | None:
        """See `Continues` and `Position.advanced`."""
        return hidden.advanced(self.window)

    def step(
        self,
        gate: int,
        hidden: Position,
        mask: Tensor | None,
        weights: Tensor | None = None,
        backend: str = "auto",
    ) -> Position:
        """See `GatedNetwork.step`; rows that follow their sequences need no computation."""
        hidden = hidden.repeated(group_of(hidden.sequence.shape[0], mask, weights))
        # Few rows on a GPU are all computed, and what they do not need is hidden.
        x = hidden.x
        hides = x.is_cuda and hides_skipped(
            x.new_empty(len(hidden.place), 0), self.dense_macs, "auto"
        )
        running = hidden.leaving(mask, weights, hides=hides)
        x = hidden.features().index_select(0, running)
        hidden = dataclasses.replace(hidden, running=running, x=x, gate=gate + 1)
        if self.is_exit(gate):
            hides = hides and hidden.left is None
            return self._ahead(stop_rows(self, hidden, mask, weights, hides=hides))
        mask, weights = (None if m is None else m.index_select(0, running) for m in (mask, weights))
        return self._ahead(run_rows(self, self.part(gate), hidden, mask, weights, backend))

    def _ahead(self, hidden: Position) -> Position:
        """Runs what always runs before the next gate for rows that differ; see `answered`."""
        for part in self.parts_before(hidden.gate):
            hidden = run_rows(self, part, hidden)
        return self.answered(hidden)

    def answered(self, hidden: Position) -> Position:
        """Computes what an exit would answer, where it is decided next."""
        if not self.is_exit(hidden.gate):
            return hidden
        x = self.norm(hidden.flow.of_running(hidden.features()))
        flow = dataclasses.replace(hidden.flow, x=x, early=self._answers(x))
        return dataclasses.replace(hidden, flow=flow)

    def _answers(self, normalised: Tensor) -> Tensor:
        weight = self.embedding.weight if self.head is None else self.head.weight
        return linear(normalised, weight, self.bias)

    def logits(self, hidden: Position, backend: str = "auto") -> Tensor:
        """See `GatedNetwork.logits`."""
        x = self.norm(hidden.flow.of_running(hidden.features()))
        return hidden.flow.answered(self._answers(x))

    def look(self, gate: int, hidden: Position) -> Tensor:
        """Returns the normalised features, which the part reads: [rows, look_size].

        At an exit what it would answer stands before them. Rows that have stopped show zeros.
        """
        part, flow = self.part(gate), hidden.flow
        if part.is_exit:
            early, _ = self.early_answer(gate, hidden)
            return flow.of_all(exit_look(early, flow.x))
        layer = self.layer(part.layer)
        norm = layer.norm if part.is_ffn else layer.attention.norm
        return flow.of_all(flow.of_running(norm(hidden.features())))

    def early_answer(self, gate: int, hidden: Position) -> tuple[Tensor, float]:
        """See `Exits`."""
        early = hidden.flow.early
        if early is None or not self.is_exit(gate):
            raise ValueError(f"expected gate {gate} to be an exit that is next, got {gate}")
        return early, self.loss_weight

    def executed(self, gate: int, hidden: Position, mask: Tensor) -> Tensor:
        """See `GatedNetwork`: nothing of rows that have stopped."""
        flow = hidden.flow
        return flow.of_all(flow.of_running(mask)) if flow.may_have_stopped else mask

    def macs(self, gate: int, hidden: Position, mask: Tensor) -> Tensor:
        """See `GatedNetwork.macs`; attention by the position's own length."""
        hidden = hidden.repeated(rows_each(len(hidden.place), len(mask)))
        num_read = hidden.num_read(self.part(gate).layer)
        spent = gate_macs(self, gate, num_read + 1, mask.sum(dim=1))
        return hidden.flow.of_all(hidden.flow.of_running(spent))

    def least_macs(self, gate: int) -> int:
        """See `Bounds`; of the last place of a window, which costs most."""
        least = 0
        for number in range(gate, len(self.gates)):
            least += gate_macs(self, number, self.window, 0)
            if self.is_exit(number):
                break
        return least

    def gate_parameters(self, gate: int) -> list[nn.Parameter]:
        """See `Owns`."""
        nothing = torch.zeros(self.gates[gate].num_blocks, dtype=torch.bool)
        owned = part_unread(self, self.part(gate), nothing)
        return [weight for weight, _ in owned if isinstance(weight, nn.Parameter)]

    def unread_entries(self, off: Sequence[Tensor]) -> Unread:
        """See `Owns`: of the rows' own positions; what they read of others is there."""
        pairs = (part_unread(self, self.part(gate), blocks) for gate, blocks in enumerate(off))
        return [entries for unread in pairs for entries in unread]


def run_sequences(network: LanguageModel, inputs: Tensor, rule: Rule | None) -> Cache:
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
            x, new_pair, before = run_kept_of_sequences(layer, x, mask, weights)
            pairs, counts = (*cache.pairs, new_pair), (*cache.counts, before)
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
    network: LanguageModel,
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
        mixed: tuple[Tensor, Pair] = layer.attention(x)
        return mixed
    key, value = layer.attention.keys_and_values(x)
    pair_of_rows = key.flatten(0, 1), value.flatten(0, 1)
    pair = key.transpose(1, 2).contiguous(), value.transpose(1, 2).contiguous()
    numbers = torch.arange(len(flat), device=x.device)
    rows = numbers // x.shape[1], numbers % x.shape[1]
    y = layer.attention.some_heads(
        flat, pair_of_rows, pair, rows, mask, weights, "auto", by_head=part.by_block
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


def run_kept_of_sequences(
    layer: Layer, x: Tensor, mask: Tensor, weights: Tensor | None
) -> tuple[Tensor, Pair, Tensor]:
    """Runs the positions of whole sequences, [sequences, length, width], that keep a layer.

    Args:
        layer: of which positions.
        x: features before it.
        mask: bool [sequences * length, 1].
        weights: gate values [sequences * length, 1], or None.

    Returns:
        Features, keys and values, and how many there are before each place and behind the last:
        int64 [sequences, length + 1].
    """
    (count, length), flat = x.shape[:2], x.flatten(0, 1)
    before = pad(mask.view(count, length).cumsum(dim=1), (1, 0))
    numbers = run_numbers(flat, mask)
    few, sequence = flat.index_select(0, numbers), numbers // length
    num_read = before[:, :-1].flatten().index_select(0, numbers)
    parts = torch.stack(layer.attention.parts(few), dim=1)
    # What nobody reads goes behind all others.
    slot = torch.where(mask.index_select(0, numbers)[:, 0], num_read, length)
    room = parts.new_zeros(count, length + 1, *parts.shape[2:])
    keys, values = (
        room.index_put((sequence, slot), part)[:, :length].transpose(1, 2).contiguous()
        for part in (parts[:, 1], parts[:, 2])
    )
    y = layer.attention.mixed(few, parts, (keys, values), (sequence, num_read))
    y = layer.some_experts(y, None, None, "auto", by_expert=False)
    return with_kept(flat, numbers, y, mask, weights).view(x.shape), (keys, values), before


lm = LanguageModel
