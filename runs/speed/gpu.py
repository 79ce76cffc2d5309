"""Times GPU kernels and dense products: cases as data -> timings, where a card is there.

Every pass takes other masks, and listing them is part of it. A card is asked for many passes before
it is waited for, as in training; or they are captured in a CUDA graph, which leaves out the time
that Python takes. Weights stay in the card's cache between passes where they fit, for all.
"""

import itertools
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version

import torch
from torch import Tensor
from torch.nn import functional

from ccenv.base.seeding import stream
from ccenv.runs.speed import ABOUT
from ccenv.runs.speed.benchmark import (
    COLUMNS,
    NOTES,
    Case,
    Pass,
    Row,
    benchmark,
    densities,
    time_case,
)
from ccenv.runs.speed.masks import draw_pool, executed_pairs, mean_densities
from ccenv.runs.store.provenance import machine
from ccenv.sparse.gpu.routes import reason_against
from ccenv.sparse.linear import block_sparse_linear
from ccenv.sparse.routes import choose_route

PASSES = 32
"""of a burst, each with its own masks."""
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


EITHER = (False, True)
VALLEY, LOW = (128, 256, 512), (1 / 8, 1 / 16)
CASES = (
    *itertools.starmap(GpuLayer, itertools.product((*VALLEY, 8192), LOW, EITHER, EITHER)),
    # Where a dense product is chosen, what the kernels would have taken; the choice is calculated.
    *(
        GpuLayer(*asked, backend="gpu")
        for asked in itertools.product(VALLEY, LOW[1:], EITHER, EITHER)
    ),
    # Without tensor cores what is skipped is expected to matter most.
    *(GpuLayer(8192, *asked, False, dtype="float32") for asked in itertools.product(LOW, EITHER)),
)
QUICK = tuple(
    GpuLayer(64, 1 / 4, *asked, width=256, num_blocks=4)
    for asked in itertools.product(EITHER, EITHER)
)


def make_burst(layer: GpuLayer, pool: list[list[Tensor]], linear: Linear | None = None) -> Pass:
    """A function that passes once with the masks of each entry of the pool, and then waits.

    `linear` computes kept blocks; None for all blocks, by torch's own layer.
    """
    device, generator = pool[0][0].device, stream(0, "gpu operands")
    width = layer.width
    shapes = (layer.batch, width), (width, width), (width,), (layer.batch, width)
    x, weight, bias, grad_y = (
        torch.randn(shape, generator=generator).to(device, DTYPES[layer.dtype]) for shape in shapes
    )
    weight = weight / width**0.5
    if linear is not None:
        # As a network of the package keeps them.
        weight = weight.t().contiguous().t()
    leaves = [t.requires_grad_(layer.is_training) for t in (x, weight, bias)]

    def burst() -> object:
        last: object = None
        for masks in pool:
            y = functional.linear(*leaves) if linear is None else linear(*leaves, *masks)
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


def gpu_case(layer: GpuLayer, device: str = "cuda") -> Case:
    """The passes to time, a burst each; MACs are those of a burst."""
    drawn = draw_pool(layer.batch, (layer.num_blocks,) * 2, layer.density, passes=PASSES)
    pool = [[mask.to(device) for mask in masks] for masks in drawn]
    # Gradients of inputs and weights take as many MACs each as the layer itself.
    factor = PASSES * (3 if layer.is_training else 1)
    return Case(
        name=layer.name,
        batch=layer.batch,
        densities=mean_densities(drawn),
        macs=factor * executed_pairs(drawn) * (layer.width // layer.num_blocks) ** 2,
        dense_macs=factor * layer.batch * layer.width**2,
        sparse=make_burst(layer, pool, partial(block_sparse_linear, backend=layer.backend)),
        dense=make_burst(layer, pool),
    )


def route_of(layer: GpuLayer, device: str) -> str:
    """The route of a case's passes, by its shape; as good as nothing is computed for it."""
    dtype = DTYPES[layer.dtype]
    x = torch.empty(layer.batch, layer.width, dtype=dtype, device=device)
    weight = torch.empty(layer.width, layer.width, dtype=dtype, device=device)
    mask = torch.zeros(layer.batch, layer.num_blocks, dtype=torch.bool, device=device)
    operands = x, weight, None, mask, mask
    return choose_route(operands, layer.backend, is_training=layer.is_training)


def measure_layer(layer: GpuLayer, rounds: int, device: str = "cuda") -> Row:
    """Times bursts in turns: a row with the milliseconds of one pass, route and settings."""
    row = time_case(gpu_case(layer, device), rounds)
    own = {"route": route_of(layer, device), "asked": asdict(layer)}
    return row | {"milliseconds": row["milliseconds"] / PASSES} | own


def why_not_measured() -> str | None:
    """Why there is nothing to measure on this machine; None where there is."""
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    return reason_against(torch.device("cuda"), torch.bfloat16)


def gpu_rows(*, quick: bool, rounds: int) -> Iterator[Row]:
    """Every case in turn; a ValueError where there is no card that the kernels run on."""
    if (reason := why_not_measured()) is not None:
        raise ValueError(f"nothing was measured: {reason}")
    return (measure_layer(layer, rounds) for layer in (QUICK if quick else CASES))


def card_facts() -> dict[str, str]:
    """The card, its driver, CUDA and Triton: what a recorded result was measured with."""
    found = {"card": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}
    found["triton"] = version("triton")
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True)
        found["driver"] = done.stdout.strip().partition("\n")[0]
    return found


GPU = benchmark(
    "gpu",
    ABOUT["gpu"],
    gpu_rows,
    COLUMNS,
    kind="gpu-kernels",
    recorded_as="gpu-speed",
    on_card=True,
    names_machine=False,
    shown=densities,
    notes=NOTES,
    head=lambda options, before: {"machine": machine() | card_facts()},
)
