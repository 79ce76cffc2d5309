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
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ccenv.annexes.networks.text.attention import Layer, run_numbers, with_kept
from ccenv.annexes.networks.text.parts import (
    GATES,
    LanguageSettings,
    LayerPart,
    gate_macs,
    layer_parts,
    part_unread,
    parts_between,
)
from ccenv.annexes.networks.text.rows import (
    AllPositions,
    Cache,
    Position,
    empty_state,
    stop_rows,
)
from ccenv.annexes.networks.text.tokens import (
    check_alone,
    check_owner,
    check_windows,
    sequences_of,
    window_length,
    windows_of,
)
from ccenv.base.annotations import with_fields_of
from ccenv.base.masks import as_mask, full_mask, gate_values_of
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

AnyPosition = TypeVar("AnyPosition", bound=Position)
INITIAL_STD = 0.1
"""Of embeddings of symbols and of places."""


class LanguageModel(GatedNetwork):
    """A causal transformer over symbols; gates for parts of each layer, its experts by default."""

    abilities: Abilities = (Exits, Continues, PlaysWindows, Owns, Bounds)
    num_symbols: int

    @with_fields_of(LanguageSettings)
    def __init__(
        self, input_shape: tuple[int, ...] = (128,), num_classes: int = 128, **settings: Any
    ) -> None:
        """Builds the layers; see `LanguageSettings`.

        Args:
            input_shape: (symbols of a window,).
            num_classes: different symbols, which are the classes too; one more is `missing`.
            settings: fields of `LanguageSettings`.
        """
        super().__init__()
        sizes = LanguageSettings(**settings)
        self.settings, width, heads = sizes, sizes.width, sizes.num_heads
        self.window = window_length(input_shape, "lm")
        self.width, self.num_classes, self.look_tokens = width, num_classes, sizes.look_tokens
        self.missing, self.num_symbols = num_classes, num_classes + 1
        self.repeats, num_places = sizes.repeats, sizes.places(self.window)
        self.embedding = nn.Embedding(num_classes, width)
        self.places = nn.Embedding(num_places, width)
        for table in (self.embedding, self.places):
            nn.init.normal_(table.weight, std=INITIAL_STD)
        self.layers = nn.ModuleList(
            Layer(width, heads, sizes.num_experts, sizes.ffn_width, sizes.activation)
            for _ in range(sizes.depth)
        )
        self.norm = nn.LayerNorm(width)
        self.head = None if sizes.tied else nn.Linear(width, num_classes, bias=False)
        self.bias = nn.Parameter(torch.zeros(num_classes))
        self.expert_macs, self.head_macs = 2 * width * sizes.ffn_width, width * num_classes
        self.keys_and_values_macs = 2 * width**2
        self.parts = layer_parts(sizes.gates, sizes.depth, sizes.repeats)
        self.decided = tuple(part for part in self.parts if part.is_gate)
        self.between = parts_between(self.parts)
        self.blocks = dict.fromkeys(GATES, 1) | {"heads": heads, "experts": sizes.num_experts}
        self.gates = tuple(
            Gate(
                name=f"layers.{part.layer}.{part.kind}",
                num_blocks=self.blocks[part.kind],
                look_size=width + (num_classes if part.is_exit else 0),
                skipped=part.skipped,
            )
            for part in self.decided
        )
        everything = enumerate(self.num_blocks)
        self.dense_macs = sum(gate_macs(self, gate, self.window, kept) for gate, kept in everything)

    def layer(self, number: int) -> Layer:
        """A layer by its number as it runs."""
        layer = self.layers[number % len(self.layers)]
        assert isinstance(layer, Layer)
        return layer

    def is_exit(self, gate: int) -> bool:
        """Whether a gate is one."""
        return gate < len(self.gates) and self.decided[gate].is_exit

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
        return self._ahead(run_part(self, self.decided[gate], hidden, mask, weights, backend))

    def _ahead(self, hidden: Position) -> Position:
        """Runs what always runs before the next gate for rows that differ; see `answered`."""
        for part in self.between[hidden.gate]:
            hidden = run_part(self, part, hidden)
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
        part, flow = self.decided[gate], hidden.flow
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
        return early, self.settings.loss_weight

    def executed(self, gate: int, hidden: Position, mask: Tensor) -> Tensor:
        """See `GatedNetwork`: nothing of rows that have stopped."""
        flow = hidden.flow
        return flow.of_all(flow.of_running(mask)) if flow.may_have_stopped else mask

    def macs(self, gate: int, hidden: Position, mask: Tensor) -> Tensor:
        """See `GatedNetwork.macs`; attention by the position's own length."""
        hidden = hidden.repeated(rows_each(len(hidden.place), len(mask)))
        num_read = hidden.num_read(self.decided[gate].layer)
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
        owned = part_unread(self, self.decided[gate], nothing)
        return [weight for weight, _ in owned if isinstance(weight, nn.Parameter)]

    def unread_entries(self, off: Sequence[Tensor]) -> Unread:
        """See `Owns`: of the rows' own positions; what they read of others is there."""
        pairs = (
            part_unread(self, part, blocks) for part, blocks in zip(self.decided, off, strict=True)
        )
        return [entries for unread in pairs for entries in unread]


def run_part(
    network: LanguageModel,
    part: LayerPart,
    hidden: AnyPosition,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    backend: str = "auto",
) -> AnyPosition:
    """Runs a part for the rows that are computed; mask and weights are theirs.

    Keys and values come first, because all positions of a sequence read each other's. Without a
    gate and a mask all rows attend.
    """
    layer, x = network.layer(part.layer), hidden.x.flatten(0, -2)
    if not len(x):
        return hidden
    if part.is_ffn:
        y = layer.some_experts(x, mask, weights, backend, by_expert=part.by_block)
    elif part.is_layer:
        numbers = run_numbers(x, mask)
        few = x.index_select(0, numbers)
        parts = layer.attention.parts(few)
        hidden = hidden.with_pair(part.layer, (parts[:, 1], parts[:, 2]), numbers, mask)
        y = layer.attention.mixed(few, parts, *hidden.read_at(part.layer, numbers))
        y = layer.some_experts(y, None, None, backend, by_expert=False)
        y = with_kept(x, numbers, y, mask, weights)
    elif part.is_gate or mask is not None:
        # Later positions read keys and values, whether this one attends or not.
        keys, values = layer.attention.keys_and_values(hidden.x)
        hidden = hidden.with_pair(part.layer, (keys, values))
        pair = keys.flatten(0, -3), values.flatten(0, -3)
        y = layer.attention.some_heads(
            x, pair, *hidden.read_at(part.layer), mask, weights, backend, by_head=part.by_block
        )
    elif isinstance(hidden, AllPositions):
        y, pair = layer.attention(hidden.x)
        hidden = hidden.with_pair(part.layer, pair)
    else:
        y, pair = layer.attention.at(x, *hidden.read_at(part.layer))
        hidden = hidden.with_pair(part.layer, pair)
    return dataclasses.replace(hidden, x=y.view(hidden.x.shape))


def run_sequences(network: LanguageModel, inputs: Tensor, rule: Rule | None) -> Cache:
    """Runs the sequences of inputs under a rule: int64 [rows, window]."""
    cache = Cache(network, sequences_of(inputs, network.missing))
    symbols = cache.sequences.symbols
    if rule is not None:
        inputs = windows_of(symbols, network.window, network.missing).flatten(0, 1)
    x = network.embedding(symbols) + network.places.weight[: symbols.shape[1]]
    hidden = AllPositions.of(cache, x)
    # Padding keeps no block: a NaN of an unused one must not reach the attention.
    running, may_have_stopped = cache.sequences.is_there.flatten(), False
    for part in network.parts:
        x, mask, weights = hidden.x, running[:, None], None
        if part.is_gate:
            hidden = hidden.noted(streams=x)
            action = action_at(hidden, rule, inputs, running)
            mask = as_mask(action, network.blocks[part.kind]) & mask
            weights = gate_values_of(action)
            executed = mask if weights is None else mask * weights
            hidden = hidden.noted(masks=executed.unflatten(0, symbols.shape))
        if part.is_exit:
            running, may_have_stopped = mask[:, 0], True
            continue
        chooses = part.is_gate or part.is_ffn or may_have_stopped
        hidden = run_part(network, part, hidden, mask if chooses else None, weights)
        if may_have_stopped:
            # Features of a position that has stopped are copied up: later layers make its keys
            # and values of them.
            copied = torch.where(running.view(*symbols.shape, 1), hidden.x, x)
            hidden = dataclasses.replace(hidden, x=copied)
    return hidden.noted(streams=hidden.x).cache


def action_at(hidden: AllPositions, rule: Rule | None, inputs: Tensor, running: Tensor) -> Tensor:
    """Returns the action of every position at the next gate.

    Without a rule it is a hash of the symbol for experts, and everything else kept. `running`,
    bool [positions], says which are there and have not stopped.
    """
    network, gate = hidden.cache.owner, len(hidden.cache.masks)
    symbols, blocks = hidden.cache.sequences.symbols.flatten(), network.gates[gate].num_blocks
    if rule is not None:
        with torch.no_grad():
            return in_own_dtype(rule, gate, hidden.following(running), inputs)
    if network.decided[gate].kind != "experts":
        return full_mask(len(symbols), blocks, symbols.device)
    num_kept = network.settings.num_kept
    first = symbols[:, None] * num_kept
    kept = (first + torch.arange(num_kept, device=first.device)) % blocks
    mask = torch.zeros(len(symbols), blocks, dtype=torch.bool, device=first.device)
    return mask.scatter(1, kept, value=True)


lm = LanguageModel
