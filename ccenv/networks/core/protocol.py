"""Protocol of networks: (inputs, masks gate by gate) -> logits, features offered at gates, MACs.

A network owns its state, its look and its MACs: no other part knows what lies between its gates.
`ccenv.GatedMLP` and `ccenv.GatedSequential` are such networks;
`ccenv.check_network` tries the laws that hold for one.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ccenv.base.annotations import has_mark, marked
from ccenv.base.masks import check_mask
from ccenv.base.registry import check_names
from ccenv.base.values import positive_int, shown

Unread = list[tuple[Tensor, Tensor]]
"""Weights, and which of their entries nothing reads: bool of the weight's shape."""
Rule = Callable[[int, Any, Tensor], Tensor]
"""What is decided at the positions of windows: (gate, hidden state of positions, their
inputs [rows, window]) -> an action for each, see `ccenv.simulator.policy.Policy.act`."""
Abilities = tuple[type, ...]
SKIPPED = ("zero", "identity", "stop")
"""What a gate may do instead of computing a block."""


@dataclass(frozen=True)
class Gate:
    """A place where a mask is chosen: one step of an episode.

    >>> Gate("layer1.0.conv2", num_blocks=8, look_size=64)
    Gate(name='layer1.0.conv2', num_blocks=8, look_size=64, skipped='zero')
    """

    name: str
    """path in the network, such as "layer1.0.conv2"."""
    num_blocks: int
    """bits of its mask."""
    look_size: int
    """columns of the features offered there."""
    skipped: str = "zero"
    """output of a skipped block: "zero", "identity" (its input), or "stop" (an exit: the network
    answers here, and later gates are ignored and free)."""

    def __post_init__(self) -> None:
        """Refuses an impossible number or kind."""
        check_names([self.skipped], SKIPPED, "kind of skipped block")
        positive_int(self.num_blocks, f"num_blocks of gate {shown(self.name)}")
        positive_int(self.look_size, f"look_size of gate {shown(self.name)}", least=0)


class GatedNetwork(nn.Module):
    """A `torch.nn.Module` with the parts that the environment needs.

    A subclass defines the first eight parts; the others have defaults. What only some networks can
    do, as to stop at exits, is in `ccenv.networks.core.abilities`.

    A hidden state is opaque: other code passes it on and never changes it. After `start` it has one
    row per input. The first mask may have several neighbouring rows per input; from then on the
    hidden state has as many rows as the mask.

    A module that defines the eight parts need not be a subclass: `as_gated` adds the defaults.

    >>> import ccenv, torch
    >>> network = ccenv.GatedMLP(64, num_blocks=(4,), block_size=8)
    >>> isinstance(network, ccenv.GatedNetwork), network.dense_macs
    (True, 2368)
    >>> hidden = network.start(torch.zeros(2, 64))
    >>> mask = torch.tensor([[True, False, False, False], [True, True, True, True]])
    >>> network.macs(0, hidden, mask).tolist()
    [592, 2368]
    >>> network.logits(network.step(0, hidden, mask)).shape
    torch.Size([2, 10])
    """

    gates: tuple[Gate, ...]
    """what is decided, in order."""
    num_classes: int
    """columns of the logits."""
    dense_macs: int
    """multiply-accumulates of one input with everything kept, stem and head included."""

    @marked("is_missing")
    def start(self, inputs: Tensor) -> Any:
        """Runs what comes before the first gate: [batch, ...] -> hidden."""
        raise NotImplementedError

    @marked("is_missing")
    def step(
        self,
        gate: int,
        hidden: Any,
        mask: Tensor | None,
        weights: Tensor | None = None,
        backend: str = "auto",
    ) -> Any:
        """Runs the kept blocks of a gate, and what always runs before the next one.

        Args:
            gate: number of the gate.
            hidden: from `start` or the step before; not changed.
            mask: bool [rows, num_blocks], True = computed; None keeps everything.
            weights: float [rows, num_blocks]; outputs of kept blocks are multiplied with them.
            backend: see `ccenv.block_sparse_linear`; "reference" computes everything and masks.
        """
        raise NotImplementedError

    @marked("is_missing")
    def logits(self, hidden: Any, backend: str = "auto") -> Tensor:
        """The answers [rows, num_classes] after the last gate."""
        raise NotImplementedError

    @marked("is_missing")
    def look(self, gate: int, hidden: Any) -> Tensor:
        """Features offered at a gate: float32 [rows, gates[gate].look_size]."""
        raise NotImplementedError

    @marked("is_missing")
    def macs(self, gate: int, hidden: Any, mask: Tensor) -> Tensor:
        """What `step` executes: int64 [rows of the mask].

        The first gate's include those of `start`, the last one's those of `logits`, so that they
        sum to what an input costs.
        """
        raise NotImplementedError

    def add_macs(
        self, gate: int, hidden: Any, mask: Tensor, spent: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Adds what a mask, bool [rows, num_blocks] as executed, costs to the MACs spent before.

        Returns:
            MACs so far int64 [rows], and as shares of the dense network's this gate's and those so
            far, float32 [rows] each.
        """
        step_macs = self.macs(gate, hidden, mask)
        macs, total = spent + step_macs, self.dense_macs
        return macs, (step_macs / total).float(), (macs / total).float()

    def every_answer(self, hidden: Any, labels: Tensor) -> tuple[Tensor, Tensor]:
        """All answers and their labels after the last gate, see `answers_often`.

        Returns:
            Float [rows, n, num_classes] and what was right, int64 [rows, n]; `logits` is the last.
        """
        return self.logits(hidden)[:, None], labels[:, None]

    def answer_loss(
        self, hidden: Any, labels: Tensor, label_smoothing: float = 0.0, backend: str = "auto"
    ) -> Tensor:
        """What it learns by in co-training, of the state after the last gate: cross-entropy."""
        return loss_of(self.logits(hidden, backend), labels, label_smoothing)

    def after_update(self, done: float) -> None:
        """Called behind each update of a schedule, of which a share is done, see `is_scheduled`."""

    def memory_bytes(self) -> int:
        """Bytes of its parameters and buffers, each counted once."""
        return sum(tensor.nbytes for tensor in weights_of(self))

    abilities: Abilities = ()
    """what else it can do: classes of `ccenv.networks.core.abilities` whose parts it has."""
    answers_often: bool = False
    """whether it answers on the way, too: errors, nll and rewards are means over the answers."""
    is_scheduled: bool = False
    """whether it changes as its co-training goes on, which then needs `schedule_updates`."""
    features_read: int | None = None
    """numbers of an input that a network reads whatever their shape; None of others."""
    num_symbols: int | None = None
    """different symbols of a network of tokens; None of others."""
    symbols_read: int | None = None
    """symbols that inputs may hold where these are others than policies know; else None."""
    look_tokens: int = 4
    """last symbols of an input that `observation="symbols"` shows."""
    last_look_size: int = 0
    """columns of `look(len(gates), hidden)`, where there is a look behind the last gate, too."""
    repeats: int = 1
    """how often its layers run, with the same weights."""
    modelled_macs: int | None = None
    """MACs of the dense network that a small one is a model of, which the cost of choosing is
    compared with; None where it is no model."""
    has_own_weights: bool = False
    """whether its builder has set the weights, so that none are learned beforehand."""
    open_lengths: tuple[str, ...] = ()
    """names of tensors of its state whose length is learned."""

    @property
    def num_blocks(self) -> tuple[int, ...]:
        """Blocks of each gate."""
        return num_blocks_of(self)

    def executed(self, gate: int, hidden: Any, mask: Tensor) -> Tensor:
        """A mask without what is ignored, as behind an exit."""
        return mask

    def forward(self, inputs: Tensor, masks: Sequence[Tensor], backend: str = "auto") -> Tensor:
        """Classifies inputs under one mask for each gate.

        Args:
            inputs: [batch, ...].
            masks: one bool tensor [batch, num_blocks[gate]] for each gate.
            backend: see `ccenv.block_sparse_linear`.

        Returns:
            Logits [batch, num_classes].
        """
        return forward(self, inputs, masks, backend)


NEEDED = ("gates", "num_classes", "dense_macs", "start", "step", "logits", "look", "macs")
"""What every network defines itself."""


def undefined(network: Any) -> list[str]:
    """Which of `NEEDED` a network does not define."""
    parts = {name: getattr(network, name, None) for name in NEEDED}
    return [name for name, part in parts.items() if part is None or has_mark(part, "is_missing")]


def as_gated(network: nn.Module) -> GatedNetwork:
    """A network as a `GatedNetwork`: what is none gets defaults of all that is not needed.

    The same network, or one that shares its parts: of its own class, with `GatedNetwork` behind.
    """
    if isinstance(network, GatedNetwork):
        return network
    kind: Any = type(network)
    gated: GatedNetwork = sharing_parts(network, with_defaults(kind))
    return gated


def sharing_parts(network: nn.Module, kind: Any) -> Any:
    """A network of another class with the modules, parameters and attributes of one."""
    twin = object.__new__(kind)
    vars(twin).update(vars(network))
    return twin


@functools.cache
def with_defaults(kind: Any) -> Any:
    """A class of networks with the defaults of `GatedNetwork` behind what it defines."""

    def reduced(self: nn.Module) -> Any:
        return without_parts, (kind,), vars(self)

    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (kind, GatedNetwork), {**names, "__reduce__": reduced})


def without_parts(kind: Any) -> Any:
    """A network of `with_defaults(kind)` that pickle and deepcopy fill."""
    return object.__new__(with_defaults(kind))


def loss_of(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Mean cross-entropy in float32, whatever the products were computed in."""
    return cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)


def weights_of(network: GatedNetwork) -> list[Tensor]:
    """Parameters and buffers of its state, each once, in however many places it is read."""
    tensors = network.state_dict(keep_vars=True).values()
    return list({id(tensor): tensor for tensor in tensors}.values())


def num_blocks_of(network: GatedNetwork) -> tuple[int, ...]:
    """Blocks of each gate."""
    return tuple(gate.num_blocks for gate in network.gates)


def forward(
    network: GatedNetwork,
    inputs: Tensor,
    masks: Sequence[Tensor],
    backend: str = "auto",
    weights: Sequence[Tensor] | None = None,
    start: Any = None,
) -> Tensor:
    """Walks any gated network from inputs to logits; see `GatedNetwork.forward` and `through`.

    There may be fewer inputs than rows of the masks: several neighbouring masks of each.

    Raises:
        TypeError: if a mask is not a bool tensor.
        ValueError: if there is not one mask for each gate, with its number of blocks, or inputs do
            not divide the masks' rows.
    """
    if not isinstance(inputs, Tensor):
        raise TypeError(f"expected inputs as a tensor [batch, ...], got {shown(inputs)}")
    if not isinstance(masks, Sequence | Tensor) or not getattr(masks, "ndim", 1):
        raise TypeError(f"expected a list of masks, one for each gate, got {shown(masks)}")
    rows = len(masks[0]) if len(masks) and getattr(masks[0], "ndim", 0) else 0
    for index, mask in enumerate(masks):
        check_mask(mask, rows, f"masks[{index}]")
    shapes, blocks = [mask.shape[1] for mask in masks], [g.num_blocks for g in network.gates]
    if shapes != blocks:
        raise ValueError(
            f"expected one mask for each gated layer with {blocks} blocks, "
            f"got {len(masks)} with {shapes}"
        )
    return walk(network, inputs, lambda gate, _: masks[gate], backend, weights, start)


def walk(
    network: GatedNetwork,
    inputs: Tensor,
    choose: Callable[[int, Any], Tensor | None],
    backend: str = "auto",
    weights: Sequence[Tensor] | None = None,
    start: Any = None,
) -> Tensor:
    """Walks through all gates to the logits [batch, num_classes]; see `through`."""
    hidden = through(network, inputs, choose, backend, weights, start=start)
    return network.logits(hidden, backend)


def started(network: GatedNetwork, inputs: Tensor, state: Any = None) -> Any:
    """Starts inputs, behind a state if there is one."""
    return network.start(inputs) if state is None else cast(Any, network).read(inputs, state)


def through(
    network: GatedNetwork,
    inputs: Tensor,
    choose: Callable[[int, Any], Tensor | None],
    backend: str = "auto",
    weights: Sequence[Tensor] | None = None,
    num_gates: int | None = None,
    state: Any = None,
    start: Any = None,
) -> Any:
    """Walks a network's gates and returns the hidden state after the last one.

    Args:
        network: the classifier.
        inputs: [n, ...]; not read where the hidden state before the first gate is given as `start`.
        choose: (gate, hidden) -> bool [batch, num_blocks[gate]]; None computes all.
        backend: see `ccenv.block_sparse_linear`.
        weights: float [batch, num_blocks[gate]] for each gate; see `GatedNetwork.step`.
        num_gates: how many; None for all.
        state: of positions before, see `Continues.read`.
        start: see `inputs`.
    """
    if weights is not None and len(weights) != len(network.gates):
        raise ValueError(
            f"expected gate values at every one of {len(network.gates)} gates, or at none, got "
            f"{len(weights)}"
        )
    hidden = started(network, inputs, state) if start is None else start
    for gate in range(len(network.gates) if num_gates is None else num_gates):
        scale = None if weights is None else weights[gate]
        hidden = network.step(gate, hidden, choose(gate, hidden), scale, backend)
    return hidden


def dense_forward(network: GatedNetwork, inputs: Tensor, backend: str = "reference") -> Tensor:
    """Logits [batch, num_classes] with every block kept and no mask looked at: plain products."""
    return walk(network, inputs, lambda *_: None, backend)


def rows_each(num_inputs: int, num_rows: int) -> int:
    """Neighbouring rows of a mask that belong to each input; other numbers are refused."""
    if num_inputs == num_rows:
        return 1
    group, rest = divmod(num_rows, max(1, num_inputs))
    if rest or not group or not num_inputs:
        raise ValueError(
            f"expected masks for a multiple of {num_inputs} inputs, got {num_rows} rows"
        )
    return group


def group_of(num_inputs: int, mask: Tensor | None, weights: Tensor | None) -> int:
    """Rows of a step's mask, or of its weights, for each input."""
    values = mask if mask is not None else weights
    return 1 if values is None else rows_each(num_inputs, values.shape[0])


State = TypeVar("State")


def repeat_rows(state: State, group: int) -> State:
    """A dataclass of tensors [rows, ...] with each row for so many neighbours."""
    if group == 1:
        return state
    repeated: dict[str, Any] = {
        name: value.repeat_interleave(group, 0)
        for name, value in vars(state).items()
        if isinstance(value, Tensor)
    }
    return dataclasses.replace(cast(Any, state), **repeated)
