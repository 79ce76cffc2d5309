"""Measured time: (simulator, policy) -> milliseconds, and the dense network's in turns."""

import functools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ccenv.annexes.deploy.fused.classifier import FusedClassifier, reads_symbols, why_not_written
from ccenv.annexes.deploy.short_walk import OneRow, fuse_policy, has_single_rows, look_and_compute
from ccenv.base.clock import quartiles_of_ratio, seconds_in_turns, wait_for
from ccenv.base.seeding import stream
from ccenv.networks.core.lowering import Affine, Embed, Operation, operations_of
from ccenv.networks.core.protocol import dense_forward
from ccenv.simulator.policy import Policy, as_policy
from ccenv.simulator.rollout import simulator_of

IN_PLACE = {"tanh": torch.tanh_, "relu": torch.relu_}


@dataclass(frozen=True)
class Latency:
    """Time of one pass, policy included, and the dense network's; depends on the machine."""

    batch_size: int
    """inputs of a pass."""
    milliseconds: float
    """median with the policy's masks, looking and choosing included."""
    dense_milliseconds: float
    """median of the dense network, in the way that is fastest."""
    speedup: float
    """median over repeats of dense time over time."""
    speedup_low: float
    """lower quartile."""
    speedup_high: float
    """upper quartile."""
    num_threads: int
    """torch's threads."""
    dense_ways: dict[str, float] = field(default_factory=dict)
    """milliseconds of the dense network in each way, see `plain_passes`."""


def measure_latency(env: Any, policy: Policy, batch_size: int, *, repeats: int = 15) -> Latency:
    """Times a policy's pass and the dense network's in turns, on the same inputs.

    Args:
        env: any view of the environment, or a `Simulator`.
        policy: chooses the masks; those of one draw of the generator in every repeat.
        batch_size: inputs of a pass, of the test split.
        repeats: pairs of timings, at least 2; each is long enough for the clock.
    """
    simulator, policy = simulator_of(env).on_split("test", batch_size), as_policy(policy)
    generator = stream(0, "latency masks")

    shape = simulator.data.image_shape
    fused = fuse_policy(simulator.network, policy, simulator.observe, shape, deterministic=False)

    def sparse() -> None:
        if fused is not None:
            fused(images, generator=generator)
            return
        # Neither drawing inputs nor rewards: what a user of the trained network would run.
        look_and_compute(policy, simulator, images, generator, None)
        wait_for(simulator.device)

    def dense(plain: Callable[[Tensor], object]) -> None:
        plain(images)
        wait_for(simulator.device)

    plain = plain_passes(simulator.network, batch_size)
    ways = {way: functools.partial(dense, one) for way, one in plain.items()}
    indices = torch.arange(batch_size) % len(simulator.data)
    images, _ = simulator.data.batch(indices)
    with torch.no_grad():
        times = seconds_in_turns(ways | {"sparse": sparse}, repeats)
    dense_ways = {way: 1e3 * statistics.median(times[way]) for way in ways}
    fastest = min(dense_ways, key=lambda way: dense_ways[way])
    low, middle, high = quartiles_of_ratio(times[fastest], times["sparse"])
    return Latency(
        batch_size=batch_size,
        milliseconds=1e3 * statistics.median(times["sparse"]),
        dense_milliseconds=dense_ways[fastest],
        speedup=middle,
        speedup_low=low,
        speedup_high=high,
        num_threads=torch.get_num_threads(),
        dense_ways=dense_ways,
    )


def plain_passes(network: Any, batch_size: int) -> dict[str, Callable[[Tensor], object]]:
    """Ways to compute every block: "torch", and "compiled", in one call, where symbols are read."""
    operations = operations_of(network)
    in_torch = plain_pass(operations, batch_size) or functools.partial(dense_forward, network)
    ways: dict[str, Callable[[Tensor], object]] = {"torch": in_torch}
    if reads_symbols(operations):
        ways["compiled"] = FusedClassifier(network, keep_all=True)
    return ways


def plain_pass(
    operations: Sequence[Operation], batch_size: int
) -> Callable[[Tensor], Tensor] | None:
    """Every block kept, with less between layers than the network's own walk has; None of others.

    One row of stages; linear layers on weights as torch keeps them.
    """
    if batch_size == 1 and has_single_rows(operations):
        return functools.partial(OneRow(operations), decide=lambda *_: True)
    if why_not_written(operations) is not None:
        return None
    first, maps = operations[0], [layer for layer in operations if isinstance(layer, Affine)]
    if any(layer.tables for layer in maps):
        return None
    layers = [
        (
            layer.weight.detach().contiguous(),
            None if layer.bias is None else layer.bias.detach(),
            layer.activation,
        )
        for layer in maps
    ]

    def run(inputs: Tensor) -> Tensor:
        x = inputs
        if isinstance(first, Embed):
            x = first.rows(x[:, -first.places :])
        x = x.flatten(1)
        for weight, bias, activation in layers:
            x = torch.nn.functional.linear(x, weight, bias)
            if activation is not None:
                x = IN_PLACE[activation](x)
        return x

    return run
