"""Protocol of networks: (inputs, masks gate by gate) -> logits, what is seen cheaply, and the bill.

A network owns its state, its look and its bill: nobody else knows what lies between its gates.
`ccenv.GatedMLP` and `ccenv.GatedSequential` are such networks;
`ccenv.check_network` tries the laws that hold for one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from ccenv.base.masks import check_mask
from ccenv.base.registry import check_names

SKIPPED = ("zero", "identity", "stop")
"""What a gate may do instead of computing a block."""


@dataclass(frozen=True)
class Gate:
    """A place where a mask is chosen: one step of an episode."""

    name: str
    """where in the network, such as "layer1.0.conv2"."""
    num_blocks: int
    """bits of its mask."""
    look_size: int
    """columns of what is cheap to see there."""
    skipped: str = "zero"
    """what a skipped block is: "zero", "identity" (its input goes on), or "stop" (an exit: the
    network answers here, and later gates are ignored and free)."""

    def __post_init__(self) -> None:
        """Checks.

        Raises:
            ValueError: if a number or the kind is impossible.
        """
        check_names([self.skipped], SKIPPED, "kind of skipped block")
        if self.num_blocks < 1 or self.look_size < 0:
            raise ValueError(
                f"expected a gate of at least one block and a look of at least 0 columns, got "
                f"{self.num_blocks} and {self.look_size} at {self.name!r}"
            )


class GatedNetwork(Protocol):
    """What the environment needs of a network, which is a `torch.nn.Module` too.

    Hidden states are the network's own: everybody else hands them on and never changes them. After
    `start` there is one row an input; the first mask may have a multiple of these rows, several
    neighbouring ones for each input, and from then on the hidden state has as many.

    Optional, used where a network has them:

    - `last_look_size`: columns of `look(len(gates), hidden)`, what is to be seen behind the last
      gate; without it there is nothing.
    - `least_macs(gate) -> int`: what gates from this one on cost an input at least, with all that
      always runs behind them; needed for budgets.
    - `executed(gate, hidden, mask) -> mask`: without what is ignored, as behind an exit.
    - `block_norms(gate, hidden)`: float [rows, num_blocks], the root mean square of each block that
      gate has just computed; for the observation `summary` and the agent `magnitude`. Beside it
      `tells_norms(gate)`: False where blocks cannot be told apart, as in a sum of contributions.
    - `block_macs(gate) -> int`: of one input, all blocks of a gate with everything kept before; for
      the agent `magnitude`, which computes them to choose.
    - `logits_everywhere(hidden)`: of language models, after the last gate: float [rows, length,
      num_classes], what would be answered behind each symbol of a window; the last is `logits`.
    - `every_answer(hidden, labels)`: of networks that answer several times on the way, after the
      last gate: answers float [rows, n, num_classes] and what was right, int64 [rows, n]. Errors,
      nll and rewards are then means over them; `logits` is the last one.
    - `own_loss(hidden, labels, label_smoothing)`: what it learns by, of the state after the last
      gate, in place of the cross-entropy of `logits`.
    - `gate_parameters(gate)`: weights that belong to a gate's blocks, for `check_network`.
    - `after_update(done)`: told after each update of co-training which share of the updates of its
      schedule is done, so that it may change as its training goes on; it needs `schedule_updates`.
    - `learn_beforehand(split)`: how frozen weights are learned, in place of random masks.
    - `open_lengths`: names of tensors of its state of which that decides how long they are.
    - `memory_bytes()`: see `ccenv.networks.core.parameters`.
    - `pack()`: promises that weights stay as they are, so that kernels may keep copies.
    """

    gates: tuple[Gate, ...]
    """what is decided, in order."""
    num_classes: int
    """columns of the logits."""
    dense_macs: int
    """multiply-accumulates of one input with everything kept, stem and head included."""

    def start(self, inputs: Tensor) -> Any:
        """Runs what comes before the first gate: [batch, ...] -> hidden."""

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

    def logits(self, hidden: Any, backend: str = "auto") -> Tensor:
        """The answers [rows, num_classes] after the last gate."""

    def look(self, gate: int, hidden: Any) -> Tensor:
        """What is cheap to see before a gate decides: float32 [rows, gates[gate].look_size]."""

    def macs(self, gate: int, hidden: Any, mask: Tensor) -> Tensor:
        """What `step` executes: int64 [rows of the mask].

        The first gate's include those of `start`, the last one's those of `logits`, so that they
        sum to what an input costs.
        """


def tells_norms(network: GatedNetwork, gate: int) -> bool:
    """Whether a network can tell how large each block of a gate is."""
    return hasattr(network, "block_norms") and (
        not hasattr(network, "tells_norms") or network.tells_norms(gate)
    )


def num_blocks_of(network: GatedNetwork) -> tuple[int, ...]:
    """Blocks of each gate."""
    return tuple(gate.num_blocks for gate in network.gates)


def forward(
    network: GatedNetwork, inputs: Tensor, masks: Sequence[Tensor], backend: str = "auto"
) -> Tensor:
    """Walks any gated network from inputs to logits.

    Args:
        network: the classifier.
        inputs: [batch, ...]; or a part of so many rows, each for as many neighbouring rows of the
            masks: several masks of one input.
        masks: one bool tensor [batch, num_blocks] for each gate.
        backend: see `ccenv.block_sparse_linear`.

    Returns:
        Logits [batch, num_classes].

    Raises:
        TypeError: if a mask is not a bool tensor.
        ValueError: if there is not one mask for each gate, with its number of blocks, or inputs do
            not divide the masks' rows.
    """
    for index, mask in enumerate(masks):
        check_mask(mask, len(masks[0]), f"masks[{index}]")
    shapes, blocks = [mask.shape[-1] for mask in masks], list(num_blocks_of(network))
    if shapes != blocks:
        raise ValueError(
            f"expected one mask for each gated layer with {blocks} blocks, "
            f"got {len(masks)} with {shapes}"
        )
    return walk(network, inputs, lambda gate, _: masks[gate], backend)


def walk(
    network: GatedNetwork,
    inputs: Tensor,
    choose: Callable[[int, Any], Tensor | None],
    backend: str = "auto",
    weights: Sequence[Tensor] | None = None,
) -> Tensor:
    """Walks through all gates to the logits: the one loop over a network's gates.

    Args:
        network: the classifier.
        inputs: [n, ...].
        choose: (gate, hidden) -> bool [batch, num_blocks[gate]]; None computes all.
        backend: see `ccenv.block_sparse_linear`.
        weights: float [batch, num_blocks[gate]] for each gate; see `GatedNetwork.step`.

    Returns:
        Logits [batch, num_classes].
    """
    hidden = network.start(inputs)
    for gate in range(len(network.gates)):
        scale = None if weights is None else weights[gate]
        hidden = network.step(gate, hidden, choose(gate, hidden), scale, backend)
    return network.logits(hidden, backend)


def dense_forward(network: GatedNetwork, inputs: Tensor, backend: str = "reference") -> Tensor:
    """Logits [batch, num_classes] with every block kept and no mask looked at: plain products."""
    return walk(network, inputs, lambda *_: None, backend)


def rows_each(num_inputs: int, num_rows: int) -> int:
    """Neighbouring rows of a mask that belong to each input.

    Raises:
        ValueError: if the rows are no multiple of the inputs.
    """
    if num_inputs == num_rows:
        return 1
    group, rest = divmod(num_rows, max(1, num_inputs))
    if rest or not group or not num_inputs:
        raise ValueError(
            f"expected masks for a multiple of {num_inputs} images, got {num_rows} rows"
        )
    return group
