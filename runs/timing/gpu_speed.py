"""Time of the GPU kernels beside dense products: cases as data -> timings, where a card is there.

Every pass takes other masks, and listing them is part of it. A card is asked for many passes before
it is waited for, as in training; or they are captured in a CUDA graph, which leaves out the time
that Python takes. Weights stay in the card's cache between passes where they fit, for all.
"""

import itertools
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from ccenv.base.seeding import stream
from ccenv.runs.timing.kernel_layers import kept_pairs
from ccenv.runs.timing.kernel_masks import draw_pool, mean_densities
from ccenv.runs.timing.kernel_timing import Case, Timing, measure, width_of_macs
from ccenv.runs.timing.turns import Pass
from ccenv.sparse.gpu.door import why_not
from ccenv.sparse.linear import block_sparse_linear
from ccenv.sparse.reference import reference_linear
from ccenv.sparse.routes import choose_route

PASSES = 32
"""of a burst, each with its own masks."""
# Tensor cores multiply in steps of eight numbers.
STEP = 8
Linear = Callable[..., Tensor]
"""x, weight, bias and the masks of both sides -> y."""
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True)
class GpuLayer:
    """A square layer with independent masks on both sides."""

    batch: int
    """rows of a pass."""
    density: float
    """share of blocks kept on each side."""
    is_training: bool
    """forward and the gradients of inputs, weights and bias; else forward alone."""
    is_captured: bool
    """whether the passes are captured in a CUDA graph."""
    width: int = 4096
    """units on each side."""
    num_blocks: int = 64
    """blocks on each side."""
    dtype: str = "bfloat16"
    """a name in `DTYPES`."""
    backend: str = "auto"
    """as given to `block_sparse_linear`; "gpu" forces the kernels."""

    @property
    def name(self) -> str:
        """As tables show it."""
        size = self.width // self.num_blocks
        parts = [f"{self.width} to {self.width}, {self.num_blocks} blocks of {size}", self.dtype]
        parts += ["forward and backward" if self.is_training else "forward"]
        parts += ["CUDA graph"] if self.is_captured else []
        return ", ".join([*parts, "kernels forced"] if self.backend == "gpu" else parts)


TARGETS = (
    ((8192,), (1 / 8,), (False,), 6.0),
    ((8192,), (1 / 16,), (False,), 10.0),
    ((8192,), (1 / 8,), (True,), 4.0),
    ((128, 256, 512), (1 / 8, 1 / 16), (False, True), 0.95),
)
"""Batches, densities, whether with gradients, and the least speed-up over the dense product there.

For bfloat16 as `backend="auto"` computes it, eager and captured."""
VALLEY = (128, 256, 512)
CASES = (
    *(
        GpuLayer(batch, density, is_training, is_captured)
        for is_training, density, batch, is_captured in itertools.product(
            (False, True), (1 / 8, 1 / 16), (*VALLEY, 8192), (False, True)
        )
    ),
    # Where a dense product is chosen, what the kernels would have taken; the choice is calculated.
    *(
        GpuLayer(batch, 1 / 16, is_training, is_captured, backend="gpu")
        for is_training, batch, is_captured in itertools.product(
            (False, True), VALLEY, (False, True)
        )
    ),
    # Without tensor cores what is skipped is expected to matter most.
    *(
        GpuLayer(8192, density, is_training, False, dtype="float32")
        for is_training, density in itertools.product((False, True), (1 / 8, 1 / 16))
    ),
)
QUICK = tuple(
    GpuLayer(64, 1 / 4, is_training, is_captured, width=256, num_blocks=4)
    for is_training, is_captured in itertools.product((False, True), (False, True))
)


@dataclass(frozen=True)
class GpuTiming(Timing):
    """One case on a card, with what was asked for."""

    route: str
    """how the sparse pass was computed, a name in `ccenv.sparse.routes.ROUTES`."""
    asked: dict[str, Any]
    """the case's settings, by the fields of `GpuLayer`."""


def dense_linear(x: Tensor, weight: Tensor, bias: Tensor, *masks: Tensor) -> Tensor:
    """All blocks, whatever the masks."""
    return torch.nn.functional.linear(x, weight, bias)


masked_linear: Linear = partial(reference_linear, activation=None)
"""A dense product times the masks."""


def make_burst(
    layer: GpuLayer, width: int, linear: Linear, pool: list[list[Tensor]], *, in_major: bool
) -> Pass:
    """A function that passes once with the masks of each entry of the pool, and then waits.

    Args:
        layer: the case.
        width: units on each side.
        linear: how a layer is computed.
        pool: masks of both sides, on the device that computes.
        in_major: whether the weights lie as a network of the package keeps them.
    """
    device, generator = pool[0][0].device, stream(0, "gpu operands")
    shapes = (layer.batch, width), (width, width), (width,), (layer.batch, width)
    x, weight, bias, grad_y = (
        torch.randn(shape, generator=generator).to(device, DTYPES[layer.dtype]) for shape in shapes
    )
    weight = weight / width**0.5
    if in_major:
        weight = weight.t().contiguous().t()
    leaves = [t.requires_grad_(layer.is_training) for t in (x, weight, bias)]

    def burst() -> object:
        last: object = None
        for masks in pool:
            y = linear(*leaves, *masks)
            last = torch.autograd.grad(y, leaves, grad_y) if layer.is_training else y
        return last

    run = captured(burst) if layer.is_captured else burst

    def waited() -> object:
        last = run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return last

    return waited


def captured(burst: Pass) -> Pass:
    """The same work as a CUDA graph, whose start takes microseconds."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        burst()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        burst()
    return graph.replay


def layer_case(layer: GpuLayer, device: str = "cuda", kernel: Linear | None = None) -> Case:
    """The passes to time, a burst each; MACs are those of a burst.

    Args:
        layer: the case.
        device: where.
        kernel: how the sparse pass is computed; None as the layer's backend does it.
    """
    drawn = draw_pool(layer.batch, (layer.num_blocks,) * 2, layer.density, passes=PASSES)
    pool = [[mask.to(device) for mask in masks] for masks in drawn]
    # Gradients of inputs and weights take as many MACs each as the layer itself.
    factor = PASSES * (3 if layer.is_training else 1)
    size = layer.width // layer.num_blocks
    macs = statistics.mean(kept_pairs(*pair) for pair in drawn) * size * size
    units = width_of_macs(macs, lambda n: layer.batch * n * n)
    units = max(STEP, round(units / STEP) * STEP)

    def burst(linear: Linear, width: int = layer.width, *, in_major: bool = False) -> Pass:
        return make_burst(layer, width, linear, pool, in_major=in_major)

    return Case(
        name=layer.name,
        masks="independent",
        batch=layer.batch,
        densities=mean_densities(drawn),
        macs=factor * macs,
        dense_macs=factor * layer.batch * layer.width**2,
        equal_macs=factor * layer.batch * units**2,
        sparse=burst(kernel or partial(block_sparse_linear, backend=layer.backend), in_major=True),
        dense=burst(dense_linear),
        masked_dense=burst(masked_linear),
        equal_dense=burst(dense_linear, units),
    )


def route_of(layer: GpuLayer, device: str) -> str:
    """The route of a case's passes, by its shape; as good as nothing is computed for it."""
    dtype = DTYPES[layer.dtype]
    x = torch.empty(layer.batch, layer.width, dtype=dtype, device=device)
    weight = torch.empty(layer.width, layer.width, dtype=dtype, device=device)
    mask = torch.zeros(layer.batch, layer.num_blocks, dtype=torch.bool, device=device)
    return choose_route(x, weight, mask, mask, layer.backend, is_training=layer.is_training)


def measure_layer(layer: GpuLayer, repeats: int, device: str = "cuda") -> GpuTiming:
    """Times bursts in turns; the milliseconds are those of one pass."""
    timing = measure(layer_case(layer, device), repeats)
    return GpuTiming(
        **asdict(replace(timing, milliseconds=timing.milliseconds / PASSES)),
        route=route_of(layer, device),
        asked=asdict(layer),
    )


def why_not_measured() -> str | None:
    """Why there is nothing to measure on this machine; None where there is."""
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    return why_not(torch.zeros(1, dtype=torch.bfloat16, device="cuda"))


def gpu_cases(repeats: int, layers: Sequence[GpuLayer] = CASES) -> Iterator[GpuTiming]:
    """Times every case in turn; operands are made when a case is reached.

    Args:
        repeats: rounds of each case, at least two.
        layers: the cases.

    Raises:
        RuntimeError: where the kernels cannot run; ask `why_not_measured` before.
    """
    reason = why_not_measured()
    if reason is not None:
        raise RuntimeError(f"expected a card to measure on, but {reason}; leave these cases out")
    for layer in layers:
        yield measure_layer(layer, repeats)


def card() -> dict[str, str]:
    """The card, its driver, CUDA and Triton: what a recorded result was measured with."""
    found = {"card": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}
    found["triton"] = version("triton")
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True)
        found["driver"] = done.stdout.strip().partition("\n")[0]
    return found


def misses(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Targets that were not met, in words.

    Args:
        rows: measured cases, `GpuTiming` as a mapping.
    """
    usual = {"dtype": "bfloat16", "backend": "auto", "width": 4096, "num_blocks": 64}
    return [
        f"{row['case']}, batch {row['batch']:,}, density {row['asked']['density']:g}: "
        f"{row['speedup']:.2f} times as fast as dense, target {least:g}"
        for row, (batches, densities, passes, least) in itertools.product(rows, TARGETS)
        if usual.items() <= row["asked"].items()
        and row["batch"] in batches
        and row["asked"]["density"] in densities
        and row["asked"]["is_training"] in passes
        and row["speedup"] < least
    ]
