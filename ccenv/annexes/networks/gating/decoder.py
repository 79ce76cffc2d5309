"""A decoder gated at every position of a sequence: (symbol, what those before left) -> the next.

Which children run is decided at every position. A position that skips an attention leaves no keys
and values there, and later positions read those of the others, as in "mixture-of-depths" (Raposo et
al. 2024, arXiv 2404.02258). The cache has a place for every position of a window, and an attention
reads all of them, those that are empty with a share of zero: a position costs the same wherever it
is.
"""

import dataclasses
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.annexes.networks.gating.answers import START, answer_of, parameters_of
from ccenv.annexes.networks.gating.gated_calls import Unit
from ccenv.annexes.networks.gating.gated_module import GatedModule, Walk
from ccenv.annexes.networks.gating.recorder import plain
from ccenv.annexes.networks.gating.trace import (
    BY_HAND,
    Following,
    Instruction,
    Ref,
    RowsAlong,
    Trace,
    part_of,
    substituted,
)
from ccenv.annexes.networks.text.tokens import (
    check_alone,
    check_owner,
    check_windows,
    sequences_of,
    windows_of,
)
from ccenv.networks.core.abilities import Continues, PlaysWindows
from ccenv.networks.core.exit_state import Flow
from ccenv.networks.core.protocol import Abilities, Rule
from ccenv.networks.core.unrolled import along, by_rule

CACHE, PLACES, MASK = "cache", "places", "mask"
"""Names of what a decoder is given next to the symbol."""
CACHES = ("cache", "past_key_values")
"""Names of the cache among the arguments of a decoder: since transformers 5.20, and before."""
NEEDED = ("attention_mask", "position_ids", "use_cache")
"""Further arguments of a decoder."""
Pair = tuple[Tensor, Tensor]


@dataclass
class Past:
    """Keys and values of sequences, each at its place; a layer's are made when they are written."""

    window: int
    """places of a sequence; the last one leaves nothing."""
    pairs: dict[int, Pair] = field(default_factory=dict)
    """layer -> [sequences, heads, window - 1, head_size] each."""
    there: dict[int, Tensor] = field(default_factory=dict)
    """layer -> bool [sequences, window - 1]; places that have not skipped it."""

    def pair(self, layer: int, like: Pair, sequences: int) -> Pair:
        """A layer's keys and values; zeros where there are none yet, like those of one place."""
        if layer not in self.pairs:
            sizes = ((sequences, one.shape[1], self.window - 1, one.shape[3]) for one in like)
            keys, values = (one.new_zeros(size) for one, size in zip(like, sizes, strict=True))
            there = torch.zeros(sequences, self.window - 1, dtype=torch.bool, device=keys.device)
            self.pairs[layer], self.there[layer] = (keys, values), there
        return self.pairs[layer]

    def write(
        self, layer: int, rows: Tensor, places: Tensor, left: "LeftPair", sequences: int
    ) -> None:
        """Puts in what rows leave, int64 [n], at a place each; nothing of those that skip it."""
        there = left.is_there
        for cached, new in zip(self.pair(layer, left.pair, sequences), left.pair, strict=True):
            new = new[:, :, 0]
            new = new if there is None else torch.where(there[:, None, None], new, 0.0)
            cached[rows, :, places] = new
        # A number would be copied to the device.
        self.there[layer][rows, places] = (
            torch.ones_like(rows, dtype=torch.bool) if there is None else there
        )

    def copied(self) -> "Past":
        """A copy: an update goes back through what positions before have read."""
        pairs = {
            layer: (keys.clone(), values.clone()) for layer, (keys, values) in self.pairs.items()
        }
        return Past(self.window, pairs, {layer: one.clone() for layer, one in self.there.items()})


@dataclass(frozen=True)
class CarriedPairs:
    """What positions leave, before the next one of each row."""

    owner: Any = field(repr=False)
    """the network whose keys and values these are; None while a model is recorded."""
    past: Past
    sequences: int
    """how many the past has."""
    sequence: Tensor
    """int64 [rows]; the sequence of each row."""
    place: Tensor
    """int64 [rows]; its next place there."""
    at: int | None = None
    """the place of all rows, where the host knows it without a look at the device."""


@dataclass(frozen=True)
class LeftPair:
    """Keys and values that rows leave in a layer."""

    rows: Tensor | None
    """int64 [n], which rows; None: all."""
    pair: Pair
    """[n, heads, 1, head_size] each."""
    is_there: Tensor | None = None
    """bool [n]; False of rows that are computed and skip it all the same. None: all are."""


class Memory(Following):
    """The cache as a decoder's layers know it, for one position of each row."""

    def __init__(
        self,
        carried: CarriedPairs,
        left: dict[int, LeftPair] | None = None,
        rows: Tensor | None = None,
    ) -> None:
        """Takes what positions before leave, what this one leaves, and which rows these are."""
        self.carried, self.rows = carried, rows
        self.left = {} if left is None else left

    def __copy__(self) -> "Memory":
        return Memory(self.carried, dict(self.left), self.rows)

    def at_rows(self, rows: Tensor) -> "Memory":
        """Some rows, which leave what they leave where all do."""
        rows = rows if self.rows is None else self.rows.index_select(0, rows)
        return Memory(self.carried, self.left, rows)

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> Pair:
        """Adds a position's keys and values: [n, heads, 1, head_size] -> those of all places."""
        self.left[layer] = LeftPair(self.rows, (keys, values))
        past, which = self.carried.past, self.carried.sequence
        which = which if self.rows is None else which.index_select(0, self.rows)
        before = past.pair(layer, (keys, values), self.carried.sequences)
        return (
            torch.cat([before[0].index_select(0, which), keys], dim=2),
            torch.cat([before[1].index_select(0, which), values], dim=2),
        )

    def get_seq_length(self, *_: Any, **__: Any) -> int:
        """Places before the last one, as transformers ask for them."""
        return self.carried.past.window - 1


class DecoderPosition:
    """A model is asked with one symbol of each row, and what those before left."""

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        """Takes a decoder and an example [1, window]; ValueError of what is none."""
        parameters = parameters_of(model)
        self.cache = next((name for name in CACHES if name in parameters), None)
        if self.cache is None or not all(name in parameters for name in NEEDED):
            raise ValueError(
                f"expected a decoder with positions=True, whose forward takes "
                f"{', '.join(NEEDED)} and {' or '.join(CACHES)}, got {type(model).__name__}; take "
                "positions=False"
            )
        if example.dtype != torch.int64 or example.ndim != 2 or example.shape[1] < 2:
            raise ValueError(
                "expected an example of a window of symbols with positions=True, int64 [1, length] "
                f"of at least 2, got {example.dtype} {list(example.shape)}"
            )
        self.window = example.shape[1]

    def inputs(self, example: Tensor, rows: int) -> dict[str, Any]:
        """Inputs by name: the first symbol of an example, for so many rows."""
        symbols = example[:, :1].repeat_interleave(rows, 0)
        numbers = torch.arange(rows, device=example.device)
        return {
            START: symbols,
            PLACES: torch.zeros_like(symbols),
            MASK: torch.zeros(rows, 1, 1, self.window, device=example.device),
            CACHE: Memory(begun(None, self.window, numbers)),
        }

    def __call__(self, model: nn.Module, inputs: Mapping[str, Any]) -> Any:
        """What the model answers."""
        assert self.cache is not None
        return answer_of(
            model,
            inputs[START],
            position_ids=inputs[PLACES],
            attention_mask=inputs[MASK],
            use_cache=True,
            **{self.cache: inputs[CACHE]},
        )


def begun(owner: Any, window: int, sequence: Tensor) -> CarriedPairs:
    """Before the first position of sequences, one a row: numbers int64 [rows]."""
    return CarriedPairs(
        owner, Past(window), len(sequence), sequence, torch.zeros_like(sequence), at=0
    )


def mask_at(layer: int) -> Ref:
    """Name of a layer's attention mask."""
    return Ref(f"{MASK}_{layer}")


class Renamed(dict[str, Ref]):
    """Names in the place of names; others stay."""

    def __missing__(self, name: str) -> Ref:
        return Ref(name)


def with_own_masks(model: nn.Module, trace: Trace) -> tuple[Trace, dict[str, int]]:
    """A trace in which each layer gets a mask of its own; and the layer of each call.

    Raises:
        ValueError: if a call runs several layers, or does not get the mask that the model got.
    """
    root: Any = SimpleNamespace(model=model, **trace.constants)
    one = {name: both[0] for name, both in trace.values.items()}
    nodes: list[Instruction] = []
    layers: dict[str, int] = {}
    for node in trace.instructions:
        needs = node.needs()
        if CACHE in needs:
            memory = Memory(one[CACHE].carried)
            with torch.no_grad():
                node.run(lambda path: part_of(root, path), one | {CACHE: memory})
            if memory.left:
                path = plain(str(node.target))
                if len(memory.left) > 1 or MASK not in needs:
                    why = (
                        "runs several layers" if len(memory.left) > 1 else "gets no attention_mask"
                    )
                    raise ValueError(
                        "expected layers that are called one by one with the attention_mask that "
                        f"the model got, with positions=True, but {path!r} {why}; {BY_HAND}"
                    )
                (layer,) = memory.left
                layers[node.name] = layer
                args, kwargs = substituted(
                    (node.args, dict(node.kwargs)), Renamed({MASK: mask_at(layer)})
                )
                node = dataclasses.replace(node, args=args, kwargs=kwargs)
        nodes.append(node)
    masks: dict[str, Any] = {mask_at(layer): trace.values[MASK] for layer in layers.values()}
    return dataclasses.replace(
        trace,
        instructions=nodes,
        values={**trace.values, **masks},
        layouts={**trace.layouts, **dict.fromkeys(masks, RowsAlong(0))},
    ), layers


class GatedDecoder(GatedModule):
    """A decoder whose masks are chosen at every position; `gate` with `positions=True` makes it."""

    abilities: Abilities = (*GatedModule.abilities, Continues, PlaysWindows)
    num_symbols: int

    def __init__(self, model: nn.Module, trace: Trace, units: Mapping[str, Unit]) -> None:
        """Cuts a decoder at the gated calls."""
        trace, layers = with_own_masks(model, trace)
        super().__init__(model, trace, units)
        self.window: int = trace.values[CACHE][0].carried.past.window
        self.layers = layers
        self.num_symbols, self.look_tokens = self.num_classes + 1, min(4, self.window)
        self.names_read = {name for node in trace.instructions for name in node.needs()} | {CACHE}
        for ended in self.plan.ends.values():
            if CACHE in ended:
                ended.remove(CACHE)

    def measure(self, example: Tensor) -> None:
        """See `GatedModule.measure`: the costs are those of a position."""
        state = self.empty_state(example)
        self.measure_from(lambda: self.read(example, state))

    def empty_state(self, inputs: Tensor) -> CarriedPairs:
        """See `Continues`."""
        check_windows(inputs, self.window)
        return begun(self, self.window, torch.arange(len(inputs), device=inputs.device))

    def read(self, inputs: Tensor, state: CarriedPairs) -> Walk:
        """See `Continues`; the hidden state holds what later positions read.

        Raises:
            ValueError: if the state is another network's.
        """
        check_owner(state, self)
        values: dict[str, Any] = {
            START: inputs[:, -1:],
            PLACES: state.place[:, None],
            CACHE: Memory(state),
        }
        values |= {mask_at(layer): self._mask(state, layer) for layer in self.layers.values()}
        return self._begin(len(inputs), {k: v for k, v in values.items() if k in self.names_read})

    def _mask(self, state: CarriedPairs, layer: int) -> Tensor:
        """What is added to the scores of a layer's attention: [rows, 1, 1, window]."""
        kind = next(p for p in self.model.parameters() if p.is_floating_point())
        mask = kind.new_full((len(state.place), 1, 1, self.window), -torch.inf)
        mask[..., -1] = 0
        there = state.past.there.get(layer)
        if there is not None:
            places = torch.arange(self.window - 1, device=there.device)
            reads = there.index_select(0, state.sequence) & (places < state.place[:, None])
            mask[:, 0, 0, :-1].masked_fill_(reads, 0)
        return mask

    def played(
        self, inputs: Tensor, rule: Rule | None = None, *, alone: bool = False
    ) -> CarriedPairs:
        """See `PlaysWindows`: int64 [rows, window]; all is kept where no rule decides.

        Raises:
            ValueError: if the inputs are no windows of its symbols, or `alone` are several.
        """
        check_windows(inputs, self.window)
        if alone:
            check_alone(inputs)
        windows_read = sequences_of(inputs, self.num_classes)
        windows = windows_of(windows_read.symbols, self.window, self.num_classes)
        places = ((seen,) for seen in windows[:, :-1].unbind(1))
        last = deque(along(self, places, by_rule(self, rule)), maxlen=1)
        state = self.advance(last[0]) if last else self.empty_state(windows[:, 0])
        assert state is not None
        at = windows_read.symbols.shape[1] - 1 if len(inputs) == 1 else None
        return CarriedPairs(
            self,
            state.past,
            len(windows_read.symbols),
            windows_read.sequence,
            windows_read.place,
            at,
        )

    def start(self, inputs: Tensor) -> Walk:
        """See `GatedNetwork.start`."""
        return self.read(inputs, self.played(inputs))

    def advance(self, hidden: Walk) -> CarriedPairs | None:
        """See `Continues`.

        Raises:
            ValueError: if several rows share a sequence.
        """
        memory: Memory = hidden.values[CACHE]
        carried = memory.carried
        if len(carried.sequence) != carried.sequences:
            raise ValueError(
                f"expected one row for each sequence, got {len(carried.sequence)} of "
                f"{carried.sequences}"
            )
        at = int(carried.place.max()) if carried.at is None else carried.at
        if at >= self.window - 1:
            return None
        past = carried.past.copied() if torch.is_grad_enabled() else carried.past
        for layer, left in memory.left.items():
            rows = torch.arange(len(carried.place), device=carried.place.device)
            rows = rows if left.rows is None else left.rows
            places = carried.place.index_select(0, rows)
            past.write(layer, rows, places, left, carried.sequences)
        return dataclasses.replace(carried, past=past, place=carried.place + 1, at=at + 1)

    def _gated(
        self, gate: int, walk: Walk, mask: Tensor | None, weights: Tensor | None, backend: str
    ) -> Walk:
        """Rows that are computed though they skip the child leave nothing there."""
        walked = super()._gated(gate, walk, mask, weights, backend)
        left = walked.values[CACHE].left
        layer = self.layers.get(self.plan.places[gate].node.name, -1)
        if mask is not None and layer in left and len(left[layer].pair[0]) == len(mask):
            left[layer] = dataclasses.replace(left[layer], is_there=mask[:, 0])
        return walked

    def _moved(self, walk: Walk, flow: Flow) -> Walk:
        """What rows that have stopped leave stays."""
        walked = super()._moved(walk, flow)
        if CACHE not in walked.values:
            walked.values[CACHE] = walk.values[CACHE].at_rows(flow.x)
        return walked

    def _repeated(self, walk: Walk, group: int) -> Walk:
        """Several rows read what one sequence leaves, and leave nothing themselves."""
        walked = super()._repeated(walk, group)
        carried = walk.values[CACHE].carried
        repeated = dataclasses.replace(
            carried,
            sequence=carried.sequence.repeat_interleave(group),
            place=carried.place.repeat_interleave(group),
        )
        walked.values[CACHE] = Memory(repeated)
        return walked
