"""Layers by where their weights lie: nn.Linear's own, input by input -> rows of timings in turns.

`ccenv.block_sparse_linear` takes a weight [out, in] as it lies. Timed are weights whose rows of an
output lie side by side, as `torch.nn.Linear` makes them, weights of an input side by side, as
`GatedMLP` keeps them, and torch's own dense layer; forward, and forward and backward of all
operands, with other masks in every pass.
"""

import itertools
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ccenv.base.clock import quartiles_of_ratio, seconds_in_turns, work_clock
from ccenv.base.seeding import stream
from ccenv.runs.speed.benchmark import benchmark
from ccenv.runs.speed.kernels import Row
from ccenv.runs.speed.masks import draw_pool, kept_pairs
from ccenv.runs.tables.sweep_table import formatted
from ccenv.sparse.linear import block_sparse_linear

WIDTH, BLOCKS = 1024, 32
BATCHES, DENSITIES = (1, 32, 128, 1024), (0.05, 0.2, 0.5)
NOTES = """\
Of input-major: time with weights as GatedMLP keeps them (of an input side by side) over time with
weights as torch.nn.Linear keeps them, in the same round, median [quartiles]. Over dense: time of
torch's dense layer over time. All by the kernels (backend="cpu"); passes: forward, or forward and
backward of inputs, weights and biases; masks are independent on both sides, other ones in every
pass. GFLOP/s of what is executed, a backward pass counted as two forward ones."""
COLUMNS = {
    "passes": "<{passes}",
    "batch": ">{batch:,}",
    "density": ">{density:.2f}",
    "of input-major": "<{share:.2f} [{share_low:.2f}, {share_high:.2f}]",
    "over dense": ">{speedup:.2f}",
    "input-major over dense": ">{major_speedup:.2f}",
    "ms": ">{milliseconds:.3f}",
    "dense GFLOP/s": ">{dense_gflops:.0f}",
    "GFLOP/s": ">{gflops:.1f}",
    "input-major GFLOP/s": ">{major_gflops:.1f}",
}


def layout_row(width: int, blocks: int, density: float, batch: int, rounds: int, way: str) -> Row:
    """Times a square layer's passes with its weights both ways, and torch's dense layer.

    Args:
        width: units on each side.
        blocks: blocks on each side.
        density: share of blocks kept on each side.
        batch: rows.
        rounds: of all three, in turns.
        way: "forward" or "training".
    """
    generator, is_training = stream(0, "layouts"), way == "training"
    weight = torch.randn(width, width, generator=generator) / width**0.5
    bias = torch.randn(width, generator=generator).requires_grad_(is_training)
    x, incoming = (torch.randn(batch, width, generator=generator) for _ in range(2))
    x.requires_grad_(is_training)
    contiguous = weight.clone().requires_grad_(is_training)
    major = weight.t().contiguous().t().requires_grad_(is_training)
    pool = draw_pool(batch, (blocks, blocks), density, "independent")

    def run(w: Tensor, masks: Iterator[Any] | None) -> None:
        if masks is None:
            y = torch.nn.functional.linear(x, w, bias)
        else:
            y = block_sparse_linear(x, w, bias, *next(masks), backend="cpu")
        if is_training:
            torch.autograd.grad(y, (x, w, bias), incoming)

    first, second = itertools.cycle(pool), itertools.cycle(pool)
    passes = {
        "dense": lambda: run(contiguous, None),
        "contiguous": lambda: run(contiguous, first),
        "major": lambda: run(major, second),
    }
    times = seconds_in_turns(passes, rounds, clock=work_clock())
    size, parts = width // blocks, 3 if is_training else 1
    macs = parts * kept_pairs(pool) * size * size
    low, middle, high = quartiles_of_ratio(times["major"], times["contiguous"])
    medians = {name: statistics.median(found) for name, found in times.items()}
    return {
        "passes": "forward and backward" if is_training else "forward",
        "batch": batch,
        "density": density,
        "share": middle,
        "share_low": low,
        "share_high": high,
        "speedup": quartiles_of_ratio(times["dense"], times["contiguous"])[1],
        "major_speedup": quartiles_of_ratio(times["dense"], times["major"])[1],
        "milliseconds": 1e3 * medians["contiguous"],
        "dense_gflops": 2e-9 * parts * batch * width * width / medians["dense"],
        "gflops": 2e-9 * macs / medians["contiguous"],
        "major_gflops": 2e-9 * macs / medians["major"],
    }


def measured(*, quick: bool, rounds: int) -> Iterator[Row]:
    """A layer of 1,024 units in 32 blocks; quick: a smaller one, a few cases."""
    width, blocks = (128, 4) if quick else (WIDTH, BLOCKS)
    batches, densities = ((1, 32), (0.2,)) if quick else (BATCHES, DENSITIES)
    for way, batch, density in itertools.product(("forward", "training"), batches, densities):
        yield layout_row(width, blocks, density, batch, rounds, way)


def table(rows: Sequence[Row]) -> str:
    """Timings in Markdown."""
    return formatted(COLUMNS, rows)


LAYOUTS = benchmark(
    "layouts",
    "one layer with its weights as torch.nn.Linear keeps them and as GatedMLP does",
    measured,
    table,
    kind="layouts",
    recorded_as="weight-layouts",
    notes=NOTES,
    names_machine=False,
)
