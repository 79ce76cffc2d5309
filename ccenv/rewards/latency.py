"""Reward on measured time: blocks kept in a layer and before it -> time over the dense network's.

A layer is timed with random masks, for a grid of numbers of kept blocks before and in it; values
in between are interpolated linearly. The last layer's time includes the head's. The table is cached
under a hash of all that it depends on.
"""

import hashlib
import inspect
import json
import math
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ccenv.base.checked_file import load_tree, save_tree
from ccenv.base.clock import calls_for, time_calls, wait_for
from ccenv.base.machine import user_cache
from ccenv.base.seeding import stream
from ccenv.base.values import check_at_least_zero, positive_ints
from ccenv.mdp.dynamics import StepOutcome
from ccenv.networks.core.protocol import (
    GatedNetwork,
    dense_forward,
    num_blocks_of,
    through,
)
from ccenv.networks.learning.bundled_weights import locked, store_in_cache, tell
from ccenv.rewards.bind import StatefulReward, Surroundings, describe
from ccenv.sparse.linear import block_sparse_linear

MAX_POINTS = 9
REPEATS = 7
SECONDS_PER_REPEAT = 1e-3


@dataclass(frozen=True)
class TimeTable:
    """Seconds of each gated layer over the dense network's, by blocks kept before and in it."""

    before: tuple[Tensor, ...]
    """for each layer: int64 [rows], numbers of blocks kept before it; [0] for the first layer."""
    kept: tuple[Tensor, ...]
    """for each layer: int64 [columns], numbers of blocks kept in it."""
    shares: tuple[Tensor, ...]
    """for each layer: float32 [rows, columns], its time over the dense network's."""

    def share(self, layer: int, in_mask: Tensor | None, out_mask: Tensor) -> Tensor:
        """Time of a layer's masks over the dense network's: float32 [batch]."""
        kept = out_mask.sum(dim=1)
        before = torch.zeros_like(kept) if in_mask is None else in_mask.sum(dim=1)
        row, down = position(self.before[layer], before)
        column, right = position(self.kept[layer], kept)
        table = self.shares[layer]
        below, beside = (row + 1).clamp(max=len(table) - 1), column + 1
        upper = torch.lerp(table[row, column], table[row, beside], right)
        lower = torch.lerp(table[below, column], table[below, beside], right)
        return torch.lerp(upper, lower, down)


def position(points: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Where values lie between grid points: index of the point below, and the share of the way.

    >>> position(torch.tensor([0, 2, 4]), torch.tensor([0, 3, 4]))
    (tensor([0, 1, 1]), tensor([0.0000, 0.5000, 1.0000]))
    """
    if len(points) == 1:
        return torch.zeros_like(values), torch.zeros(len(values), device=values.device)
    index = (torch.searchsorted(points, values, right=True) - 1).clamp(0, len(points) - 2)
    start, end = points[index], points[index + 1]
    return index, (values - start) / (end - start)


def time_table(network: GatedNetwork, inputs: Tensor) -> TimeTable:
    """Reads the table of this machine, or measures it once; a second process waits for the first.

    The network's sizes decide, not its weights; of `inputs` [batch, ...], where it lives, their
    number.
    """
    device = inputs.device
    name = times_fingerprint(network, inputs)
    path = user_cache() / "latency" / f"{name}.safetensors"
    with locked(path):
        layers = cached_times(path)
        if layers is None:
            layers = measured = measure_shares(network, inputs)
            store_in_cache(lambda: save_tree(path, measured), "measured times")

    def column(name: str, dtype: torch.dtype) -> tuple[Tensor, ...]:
        return tuple(torch.tensor(layer[name], dtype=dtype, device=device) for layer in layers)

    integers, floats = torch.int64, torch.float32
    return TimeTable(column("before", integers), column("kept", integers), column("shares", floats))


def cached_times(path: Path) -> list[dict[str, Any]] | None:
    """What `measure_shares` gave before; None, and why, where it must measure again."""
    try:
        layers: list[dict[str, Any]] = load_tree(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        tell(f"cached times cannot be used and are measured again: {error}")
        return None
    return layers


def times_fingerprint(network: GatedNetwork, inputs: Tensor) -> str:
    """Hash of all that measured times depend on: machine, threads, library, kernels, sizes."""
    machine = (platform.node(), platform.machine(), torch.__version__, torch.get_num_threads())
    shape, gates = (list(inputs.shape), str(inputs.dtype)), repr(network.gates)
    depends_on = [machine, str(inputs.device), shape, gates, network.dense_macs, repr(network)]
    digest = hashlib.sha256(json.dumps(depends_on).encode())
    for path in sorted(Path(inspect.getfile(block_sparse_linear)).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


@torch.no_grad()
def measure_shares(network: GatedNetwork, inputs: Tensor) -> list[dict[str, Any]]:
    """Times every gate on its grid, in shares of the dense network's time."""
    generator = stream(0, "time table")
    blocks = num_blocks_of(network)

    def dense() -> None:
        dense_forward(network, inputs)
        wait_for(inputs.device)

    whole = seconds_of(dense)
    layers: list[dict[str, Any]] = []
    for layer, count in enumerate(blocks):
        before = numbers_kept(blocks[layer - 1]) if layer else [0]
        columns = numbers_kept(count)
        shares = [
            [
                seconds_of(call(network, layer, row, kept, inputs, generator)) / whole
                for kept in columns
            ]
            for row in before
        ]
        layers.append({"before": before, "kept": columns, "shares": shares})
    return layers


def numbers_kept(blocks: int) -> list[int]:
    """At most `MAX_POINTS` numbers from 0 to all blocks, nearly evenly spaced.

    >>> numbers_kept(4), numbers_kept(16)
    ([0, 1, 2, 3, 4], [0, 2, 4, 6, 8, 10, 12, 14, 16])
    """
    points = min(blocks + 1, MAX_POINTS)
    return [round(i * blocks / (points - 1)) for i in range(points)]


def call(
    network: GatedNetwork,
    layer: int,
    before: int,
    kept: int,
    inputs: Tensor,
    generator: torch.Generator,
) -> Callable[[], object]:
    """One gate, the stem before the first and the head after the last, on random masks."""
    batch, device, blocks = len(inputs), inputs.device, num_blocks_of(network)

    def earlier(gate: int, _: Any) -> Tensor:
        count = before if gate == layer - 1 else blocks[gate]
        return masks_of(batch, blocks[gate], count, generator).to(device)

    hidden = through(network, inputs, earlier, num_gates=layer)
    mask = masks_of(batch, blocks[layer], kept, generator).to(device)

    def compute() -> None:
        output = network.step(layer, hidden if layer else network.start(inputs), mask)
        if layer == len(blocks) - 1:
            network.logits(output)
        wait_for(device)

    return compute


def masks_of(batch: int, blocks: int, kept: int, generator: torch.Generator) -> Tensor:
    """Random masks that keep exactly so many blocks: bool [batch, blocks]."""
    order = torch.rand(batch, blocks, generator=generator).argsort(dim=1)
    return order < kept


def seconds_of(function: Callable[[], object]) -> float:
    """Least mean seconds of a call after a warm-up: other work of the machine only adds to it."""
    calls = calls_for(function, SECONDS_PER_REPEAT)
    return min(time_calls(function, calls) for _ in range(REPEATS))


@describe(
    "correct - cost_weight * seconds of the masks / seconds of the dense network",
    low=-math.inf,
    high=1.0,
    deterministic=False,
    depends_on_machine=True,
)
class LatencyReward(StatefulReward):
    """Pays one for a correct answer and charges each gate its time on this machine.

    The time comes from a table measured once on this machine, without the policy. Masks may take
    longer than the dense network, so the charge may exceed `cost_weight`.
    """

    def __init__(self, cost_weight: float = 1.0, batch_size: int = 256) -> None:
        """Sets the weight of the dense network's time, and the batch size of the measurement."""
        check_at_least_zero(cost_weight=cost_weight)
        positive_ints([batch_size], "batch_size")
        self.cost_weight, self.batch_size = cost_weight, batch_size
        self.table: TimeTable | None = None

    def prepare(self, surroundings: Surroundings) -> None:
        """Reads this machine's table, or measures it."""
        split = surroundings.training_split()
        inputs, _ = split.batch(torch.arange(self.batch_size) % len(split))
        self.table = time_table(surroundings.network, inputs.to(surroundings.device))

    def __call__(self, outcome: StepOutcome) -> dict[str, Tensor]:
        """Terms `accuracy` and `latency`."""
        if self.table is None:
            raise RuntimeError("expected prepare(...) before the first step; call it once")
        share = self.table.share(outcome.layer, outcome.before.mask, outcome.mask)
        return {"accuracy": outcome.correct, "latency": -self.cost_weight * share}
