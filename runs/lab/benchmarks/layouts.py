"""Layers by where their weights lie: nn.Linear's own, the package's -> rows of timings in turns.

`ccenv.block_sparse_linear` takes a weight [out, in] as it lies. Timed are weights whose rows of an
output lie side by side, as `torch.nn.Linear` makes them, weights as the package's networks keep
them (frozen ones panel by panel, trained ones input by input), and torch's own dense layer.
"""

import itertools
import statistics
from collections.abc import Iterator
from dataclasses import replace

from ccenv.base.clock import quartiles_of_ratio, seconds_in_turns, work_clock
from ccenv.runs.lab.benchmarks import laid
from ccenv.runs.lab.benchmarks.laid import Cell, Laid, side_masks
from ccenv.runs.speed.benchmark import benchmark
from ccenv.runs.speed.kernels import Row, ratio
from ccenv.runs.speed.masks import POOL, kept_pairs

WIDTH, BLOCKS = 1024, 32
BATCHES, DENSITIES = (1, 32, 128, 1024), (0.05, 0.2, 0.5)
NOTES = """\
Of input-major: time with weights as GatedMLP keeps them (of an input side by side, frozen ones
panel by panel) over time with weights as torch.nn.Linear keeps them, in the same round, median
[quartiles]. Over dense: time of torch's dense layer over time. All by the kernels (backend="cpu");
passes: forward, or forward and backward of inputs, weights and biases; masks are independent on
both sides, other ones in every pass. GFLOP/s of what is executed, a backward pass counted as two
forward ones."""
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


def layout_row(cell: Cell, rounds: int) -> Row:
    """Times a layer's passes with its weights both ways, and torch's dense layer."""
    pool = side_masks(cell, POOL)
    own, kept = (Laid(replace(cell, layout=layout), pool) for layout in reversed(laid.LAYOUTS))
    passes = {"contiguous": own.passes()["kernels"], "major": kept.passes()["kernels"]}
    times = seconds_in_turns(passes | {"dense": own.passes()["dense"]}, rounds, clock=work_clock())
    parts, width = 3 if cell.training else 1, cell.in_features
    macs = (
        parts
        * kept_pairs([[m for m in masks if m is not None] for masks in pool])
        * cell.block_size**2
    )
    medians = {name: statistics.median(found) for name, found in times.items()}
    return {
        "passes": "forward and backward" if cell.training else "forward",
        "batch": cell.batch,
        "density": cell.density,
        **ratio("share", times["major"], times["contiguous"]),
        "speedup": quartiles_of_ratio(times["dense"], times["contiguous"])[1],
        "major_speedup": quartiles_of_ratio(times["dense"], times["major"])[1],
        "milliseconds": 1e3 * medians["contiguous"],
        "dense_gflops": 2e-9 * parts * cell.batch * width * width / medians["dense"],
        "gflops": 2e-9 * macs / medians["contiguous"],
        "major_gflops": 2e-9 * macs / medians["major"],
    }


def measured(*, quick: bool, rounds: int) -> Iterator[Row]:
    """A layer of 1,024 units in 32 blocks; quick: a smaller one, a few cases."""
    width, blocks = (128, 4) if quick else (WIDTH, BLOCKS)
    batches, densities = ((1, 32), (0.2,)) if quick else (BATCHES, DENSITIES)
    for training, batch, density in itertools.product((False, True), batches, densities):
        cell = Cell(batch, width, width, width // blocks, density, "both", training)
        yield layout_row(cell, rounds)


LAYOUTS = benchmark(
    "layouts",
    "one layer with its weights as torch.nn.Linear keeps them and as GatedMLP does",
    measured,
    COLUMNS,
    kind="layouts",
    recorded_as="weight-layouts",
    notes=NOTES,
    names_machine=False,
)
