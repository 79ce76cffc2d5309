"""Settings of `lm`, and the parts of its layers: what gates decide, in which order, at what cost.

Later positions read keys and values of every layer, so these are computed and counted whatever a
position keeps, unless the gate is for a layer as a whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ccenv.base.masks import spread_to_units
from ccenv.base.registry import check_names
from ccenv.base.values import positive_ints
from ccenv.networks.core.protocol import Unread

Model = Any
"""A `LanguageModel`, whose module imports this one."""
WHOLE_LAYER = "layers"
GATES = ("attention", "heads", "ffn", "experts", "exits", WHOLE_LAYER)
"""What a mask may choose in a layer, in the order in which it runs."""
EITHER = (("attention", "heads"), ("ffn", "experts"))
"""A whole part of a layer, or its blocks."""


@dataclass(frozen=True, kw_only=True)
class LanguageSettings:
    """Settings of `LanguageModel`."""

    depth: int = 2
    """layers, each with its gates."""
    width: int = 96
    """features of a position."""
    num_heads: int = 4
    """of the attention; they divide the width."""
    ffn_width: int = 96
    """hidden units of an expert."""
    num_experts: int = 16
    """in each layer; 1 for a dense network."""
    num_kept: int = 1
    """experts that a position commits to where no policy says which."""
    context: int | None = None
    """places that have an embedding; None for as many as the window has symbols."""
    tied: bool = False
    """whether the answers are made by the embedding's own matrix."""
    look_tokens: int = 2
    """last symbols that `observation="symbols"` shows."""
    activation: Any = "relu"
    """of the experts: "relu", "tanh", or a function that maps 0 to 0."""
    gates: Sequence[str] | str = ("experts",)
    """what masks choose in each layer: "attention" as a whole or its "heads", and the "ffn" as a
    whole or its "experts". What has no gate always runs: without "experts" they are one
    feed-forward layer of num_experts * ffn_width units. "exits": a position may stop behind each
    layer but the last. "layers", alone: a position that skips a layer leaves no keys and values
    there."""
    repeats: int = 1
    """how often the layers run one after the other, with the same weights; above 1 exits are behind
    each repeat but the last."""
    loss_weight: float = 0.3
    """of each exit's loss in training, next to the last answer's."""

    def places(self, window: int) -> int:
        """How many places have an embedding; sizes that do not fit windows are refused."""
        context = window if self.context is None else self.context
        sizes = [self.depth, self.width, self.num_heads, self.ffn_width, self.num_experts]
        sizes += [self.num_kept, context, self.look_tokens, self.repeats]
        positive_ints(
            sizes,
            "depth, width, num_heads, ffn_width, num_experts, num_kept, context, look_tokens, "
            "repeats",
        )
        if self.width % self.num_heads:
            raise ValueError(
                f"expected num_heads to divide the width {self.width}, got {self.num_heads}"
            )
        if self.num_kept > self.num_experts:
            raise ValueError(
                f"expected num_kept of at most the {self.num_experts} experts, got {self.num_kept}"
            )
        if window > context or self.look_tokens > window:
            raise ValueError(
                f"expected windows of at most context={context} symbols and look_tokens of at most "
                f"a window, got windows of {window} and look_tokens={self.look_tokens}"
            )
        return context


@dataclass(frozen=True)
class LayerPart:
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
        return "zero" if self.by_block else "identity"

    @property
    def by_block(self) -> bool:
        """Whether heads or experts are chosen, not all of them at once."""
        return self.kind in ("heads", "experts")

    @property
    def is_exit(self) -> bool:
        """Whether rows may stop here."""
        return self.kind == "exits"

    @property
    def is_layer(self) -> bool:
        """Whether it is a whole layer."""
        return self.kind == WHOLE_LAYER

    @property
    def is_ffn(self) -> bool:
        """Whether it is feed-forward, not attention."""
        return self.kind in EITHER[1]


def layer_parts(gates: Sequence[str] | str, depth: int, repeats: int = 1) -> tuple[LayerPart, ...]:
    """Parts of all layers in the order in which they run.

    Args:
        gates: kinds of gates, as a list or as a text with commas.
        depth: layers.
        repeats: how often they run; exits are then behind all of them, not behind each.

    Raises:
        ValueError: if there are none, one is unknown, or two decide the same.

    >>> [(part.kind, part.is_gate) for part in layer_parts("heads", depth=1)]
    [('heads', True), ('ffn', False)]
    """
    kinds = [name.strip() for name in gates.split(",")] if isinstance(gates, str) else list(gates)
    check_names(kinds, GATES, "gate")
    if WHOLE_LAYER in kinds:
        if kinds != [WHOLE_LAYER]:
            raise ValueError(f"expected no other gates with {WHOLE_LAYER}, got {', '.join(kinds)}")
        return tuple(
            LayerPart(WHOLE_LAYER, number, is_gate=True) for number in range(depth * repeats)
        )
    if not kinds or any(set(pair) <= set(kinds) for pair in EITHER):
        raise ValueError(
            "expected gates of one kind at least, of attention and heads one at most, and of ffn "
            f"and experts one at most, got {', '.join(kinds) or 'none'}"
        )
    parts = []
    for number in range(depth * repeats):
        for whole, blocks in EITHER:
            kind = blocks if blocks in kinds else whole
            parts.append(LayerPart(kind, number, kind in kinds))
        # The answer behind the last layer is the network's.
        is_end = repeats == 1 or (number + 1) % depth == 0
        if "exits" in kinds and is_end and number + 1 < depth * repeats:
            parts.append(LayerPart("exits", number, is_gate=True))
    if not any(part.is_gate for part in parts):
        raise ValueError(
            "expected a depth of at least 2, or layers that are repeated, for exits without other "
            f"gates, got depth={depth}"
        )
    return tuple(parts)


def parts_between(parts: Sequence[LayerPart]) -> tuple[tuple[LayerPart, ...], ...]:
    """Parts that always run, before each gate and behind the last one.

    >>> [len(parts) for parts in parts_between(layer_parts("heads", depth=2))]
    [0, 1, 1]
    """
    between: list[list[LayerPart]] = [[]]
    for part in parts:
        if part.is_gate:
            between.append([])
        else:
            between[-1].append(part)
    return tuple(map(tuple, between))


def part_macs(network: Model, part: LayerPart, length: Any, kept: Any) -> Any:
    """Returns the MACs of a part at the end of `length` positions, of so many kept blocks.

    Both are numbers or int64 [rows]; positions are those that are read, this one included.
    """
    blocks = network.blocks[part.kind]
    if part.is_exit:
        return 0 * kept
    ffn_macs = network.blocks["experts"] // blocks * network.expert_macs
    if part.is_layer:
        reading = 2 * network.width * (network.width + length)
        return kept * (network.keys_and_values_macs + reading + ffn_macs)
    if part.is_ffn:
        return kept * ffn_macs
    reading = kept * (2 * network.width * (network.width + length) // blocks)
    return network.keys_and_values_macs + reading


def macs_before(network: Model, gate: int, length: Any) -> Any:
    """Returns the MACs of what always runs before a gate, or behind the last one."""
    parts = sum(part_macs(network, part, length, 1) for part in network.between[gate])
    is_answer = gate == len(network.gates) or network.decided[gate].is_exit
    return parts + (network.head_macs if is_answer else 0)


def gate_macs(network: Model, gate: int, length: Any, kept: Any) -> Any:
    """Returns the MACs of a gate and of what always runs around it, as `part_macs`."""
    part = network.decided[gate]
    spent = part_macs(network, part, length, kept) + macs_before(network, gate + 1, length)
    if part.is_exit:
        # Who stops leaves keys and values of all later layers.
        stopping = (network.parts[-1].layer - part.layer) * network.keys_and_values_macs
        spent = stopping + kept * (spent - stopping)
    return spent if gate else spent + macs_before(network, 0, length)


def part_unread(network: Model, part: LayerPart, off: Tensor) -> Unread:
    """Returns a part's weights and the entries that nothing reads while blocks are off.

    Keys and values of a position are computed whatever parts it keeps, norms are looked at, and
    what heads or experts give is added to a bias. `off` is bool [blocks].
    """
    layer = network.layer(part.layer)
    if part.is_exit:
        return []
    if part.is_layer:
        seen = {id(weight) for weight in layer.attention.norm.parameters()}
        unseen = [weight for weight in layer.parameters() if id(weight) not in seen]
        return [(weight, off.expand_as(weight)) for weight in unseen]
    if part.is_ffn:
        hidden, output = layer.experts.hidden, layer.experts.output
        read = [(hidden.weight, off, 0), (hidden.bias, off, 0), (output.weight, off, 1)]
        bias = layer.bias
    else:
        attention, heads = layer.attention, layer.attention.num_heads
        queries = torch.cat([off.expand(heads), off.new_zeros(2 * heads)])
        read = [(weight, queries, 0) for weight in attention.query_key_value.parameters()]
        read.append((attention.output.weight, off, 1))
        bias = attention.output.bias
    read += [] if part.by_block else [(bias, off, 0)]
    return [(weight, spread_to_units(blocks, weight, dim)) for weight, blocks, dim in read]
