"""Costs with memory: (blocks kept, what lies in fast memory) -> bytes that have to be loaded.

Two settings of an environment, for networks whose weights do not all lie where they are used:

- `fast_memory=S`: of each gate S blocks lie in fast memory, empty at first; a kept block that does
  not is loaded, and the least recently used one makes room.
- `shared="batch"`: a batch loads each block that one of its rows keeps once, and these rows share
  its bytes.

Of one mask the blocks that lie in memory are used first, then the others are loaded, each by rising
number: a block that lies there is never loaded again, in whatever order blocks are numbered. If a
mask keeps more than fit, all missing ones are loaded, and the last of them stay. `fast_memory` is
for episodes over sequences, where what a position loads lies there for the next ones; observations
show it before all else, a column for each block. A reward charges loads by its `load_weight`, as a
share of the bytes of all blocks of the network; `info` has `bytes_loaded` and `misses`.

Experts in a fast memory: Eliseev and Mazur 2023, "Fast inference of mixture-of-experts language
models with offloading" (arXiv 2312.17238). Routing that prefers what lies there: Skliar et al.
2024, "Mixture of cache-conditional experts for efficient mobile device inference" (arXiv
2412.00099).
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ccenv.base.registry import check_names
from ccenv.base.values import positive_int
from ccenv.mdp.dynamics import EpisodeState, StepOutcome
from ccenv.mdp.observations import Observer
from ccenv.networks.core.abilities import Owns, ability
from ccenv.simulator.step import Extension, SimulatorParts


def block_bytes(network: Any) -> list[int]:
    """Bytes of one block of each gate; ValueError of a network that does not say which it has."""
    owner = ability(network, Owns)
    if owner is None:
        raise ValueError(
            "expected a network that says which weights belong to which blocks (the ability Owns), "
            f"for a cost of loading them, got {type(network).__name__}"
        )
    weights = (owner.gate_parameters(gate) for gate in range(len(network.gates)))
    sizes = (sum(one.numel() * one.element_size() for one in parts) for parts in weights)
    return [size // gate.num_blocks for size, gate in zip(sizes, network.gates, strict=True)]


def use(used: Tensor, mask: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Uses the kept blocks of a mask in a memory of `size` blocks, those that lie there first.

    Args:
        used: int64 [rows, blocks]; when each block was used last, -1 where it is not in memory.
        mask: bool [rows, blocks].
        size: blocks that fit in.

    Returns:
        `used` afterwards, and which blocks were loaded: bool [rows, blocks].

    >>> used = torch.tensor([[-1, 0, 1]])
    >>> used, loaded = use(used, torch.tensor([[True, True, False]]), size=2)
    >>> used.tolist(), loaded.tolist()
    ([[5, 3, -1]], [[True, False, False]])
    """
    blocks, loaded = mask.shape[1], mask & (used < 0)
    order = torch.arange(blocks, device=mask.device) + blocks * loaded
    used = torch.where(mask, used.amax(dim=1, keepdim=True) + 1 + order, used)
    # Whatever is loaded when, the last `size` that were used are in memory.
    last = used.topk(min(size, blocks), dim=1).values[:, -1:]
    return used.masked_fill(used < last, -1), loaded


class Loads(Extension):
    """What both settings share: bytes of blocks, and what the reward and `info` say of them."""

    over_sequences = True
    loads = True

    def attach(self, simulator: SimulatorParts) -> None:
        """Takes the bytes of the network's blocks."""
        self.bytes = block_bytes(simulator.network)
        self.max_blocks, self.num_blocks = simulator.max_blocks, simulator.num_blocks
        pairs = zip(self.bytes, self.num_blocks, strict=True)
        self.all_bytes = sum(one * count for one, count in pairs)

    def charged(self, outcome: StepOutcome, loaded: Tensor) -> StepOutcome:
        """The outcome with its loads: blocks, or shares of them, float [rows, blocks]."""
        share = loaded.sum(dim=1) * (self.bytes[outcome.layer] / self.all_bytes)
        return dataclasses.replace(outcome, loads=share.float())

    def after_gate(self, simulator: SimulatorParts, outcome: StepOutcome) -> dict[str, Tensor]:
        """See `Extension`."""
        assert outcome.loads is not None
        misses = outcome.loads * (self.all_bytes / self.bytes[outcome.layer])
        return {"bytes_loaded": outcome.loads * self.all_bytes, "misses": misses}


@dataclass(frozen=True)
class MemoryObserver(Observer):
    """Looks at states, and first at which blocks of the gate lie in fast memory."""

    base: Observer = field(kw_only=True)
    """how the rest is looked at."""
    memory: "FastMemory" = field(kw_only=True)
    """of the same simulator."""

    def __call__(self, state: EpisodeState) -> Tensor:
        """Observation of each row: float32 [batch, obs_size], a fresh tensor."""
        return torch.cat([self.memory.shown(state), self.base(state)], dim=1)


class FastMemory(Loads):
    """Of each gate the blocks used last lie in a fast memory; see the module."""

    name = "fast_memory"

    def __init__(self, size: int) -> None:
        """Takes the setting: blocks of a gate that fit in (else ValueError)."""
        self.size = positive_int(size, "fast_memory")

    def attach(self, simulator: SimulatorParts) -> None:
        """Puts columns before the observations; ValueError of a memory that holds every block."""
        super().attach(simulator)
        if not simulator.is_sequence:
            raise ValueError(
                "expected episode='sequence' with fast_memory, of which an episode of one input "
                "uses nothing twice; set it, or leave fast_memory out"
            )
        if self.size > self.max_blocks:
            raise ValueError(
                f"expected fast_memory of at most the {self.max_blocks} blocks of a gate, got "
                f"{self.size}"
            )
        base = simulator.observe
        simulator.observe = MemoryObserver(
            base.kind,
            tuple(length + self.max_blocks for length in base.lengths),
            base.network,
            base.function,
            base=base,
            memory=self,
        )

    def begin(self, simulator: SimulatorParts, num_inputs: int) -> None:
        """Empties the memory."""
        rows = num_inputs * simulator.group_size
        shape = rows, self.max_blocks
        nothing = torch.full(shape, -1, dtype=torch.int64, device=simulator.device)
        self.used = [nothing[:, :count] for count in self.num_blocks]
        # A copy that judges has a memory of its own.
        looking: Any = simulator.observe
        simulator.observe = dataclasses.replace(looking, memory=self)

    def shown(self, state: EpisodeState) -> Tensor:
        """Which blocks of the next gate lie in memory: float32 [rows, max_blocks]."""
        in_memory = torch.zeros(len(state.labels), self.max_blocks, device=state.labels.device)
        if state.layer < len(self.num_blocks):
            in_memory[:, : self.num_blocks[state.layer]] = self.used[state.layer] >= 0
        return in_memory

    def before_pay(self, simulator: SimulatorParts, outcome: StepOutcome) -> StepOutcome:
        """Loads what the mask keeps and is not there."""
        gate = outcome.layer
        self.used[gate], loaded = use(self.used[gate], outcome.mask, self.size)
        return self.charged(outcome, loaded)


class Shared(Loads):
    """A batch loads each block once, for all of its rows; see the module."""

    name = "shared"

    def __init__(self, among: str) -> None:
        """Takes the setting, "batch" (else ValueError)."""
        check_names([among], ["batch"], "value of shared")

    def check_beside(self, others: Any) -> None:
        """Refuses a fast memory, which each row has of its own."""
        if any(isinstance(other, FastMemory) for other in others):
            raise ValueError("expected fast_memory or shared, got both; leave one out")

    def attach(self, simulator: SimulatorParts) -> None:
        """Refuses a batch of one row, which has none to share with."""
        super().attach(simulator)
        if simulator.num_images == 1:
            raise ValueError(
                "expected a batch of two rows at least with shared='batch', got one; take the "
                "vector environment"
            )

    def before_pay(self, simulator: SimulatorParts, outcome: StepOutcome) -> StepOutcome:
        """Gives each row its share of the blocks that it keeps."""
        kept = outcome.mask.float()
        return self.charged(outcome, kept / kept.sum(dim=0).clamp(min=1))
