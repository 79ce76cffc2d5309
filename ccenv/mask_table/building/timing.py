"""Measuring times of units: (frozen network, inputs) -> seconds of each block, and of all else."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ccenv.base.clock import seconds_in_turns, wait_for, work_clock
from ccenv.mask_table.building.checks import gates_of
from ccenv.mask_table.times import UnitTimes

ROUNDS = 15
"""In each of which everything is timed once; the least of them counts."""


@torch.no_grad()
def measured(
    network: Any, inputs: Tensor, machine: dict[str, Any], rounds: int = ROUNDS
) -> UnitTimes:
    """Times every gate with everything kept, and without each of its blocks.

    The least of some rounds counts, and of one thread its own processor time: other programs can
    only add to it.

    Args:
        network: frozen, packed where it can be.
        inputs: [batch, ...] of a pass.
        machine: what the times are said to be of.
        rounds: of measuring.
    """
    calls: dict[Any, Callable[[], object]] = {"start": lambda: network.start(inputs)}
    hidden, rows = network.start(inputs), len(inputs)
    for gate, one in enumerate(network.gates):
        whole = torch.ones(rows, one.num_blocks, dtype=torch.bool, device=inputs.device)
        for block in (None, *range(one.num_blocks)):
            mask = whole.clone()
            if block is not None:
                mask[:, block] = False
            calls[gate, block] = functools.partial(network.step, gate, hidden, mask)
        hidden = network.step(gate, hidden, whole)
    last = hidden
    calls["head"] = lambda: network.logits(last)
    timed = {name: awaited(call, inputs.device) for name, call in calls.items()}
    found = seconds_in_turns(timed, rounds, seconds=0.002, clock=work_clock())
    least = {name: min(seconds) / rows for name, seconds in found.items()}
    units, dense = [], least["start"] + least["head"]
    for gate, one in enumerate(network.gates):
        dense += least[gate, None]
        saved = [least[gate, None] - least[gate, block] for block in range(one.num_blocks)]
        units += [max(0.0, seconds) for seconds in saved]
    always = max(0.0, dense - sum(units))
    gates = gates_of(network)
    return UnitTimes(machine, gates, network.dense_macs, rows, always, tuple(units))


def awaited(call: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """A call that ends when a GPU has done its work."""

    def whole() -> None:
        call()
        wait_for(device)

    return whole
