"""Times a block-sparse layer and torch's dense one on this machine: ccenv benchmark -> a table.

Both are timed in turns, with masks drawn beforehand: a ratio compares neighbouring timings, so that
other work on the machine slows both. `python -m ccenv.runs.lab kernels` of a checkout times whole
networks.
"""

import argparse
import itertools
import statistics
from collections.abc import Sequence
from typing import Any

from ccenv.runs.commands.frame import Parser, positive, print_json, program
from ccenv.runs.stats.intervals import Interval
from ccenv.runs.tables.short_table import print_text
from ccenv.runs.tables.sweep_table import Columns, markdown, read_columns

BATCHES, DENSITIES = (1, 32, 1024), (0.05, 0.1, 0.3, 0.5, 0.9)
PASSES = 8
"""Masks that are drawn for a case; a timed call passes once with each."""
COLUMNS: Columns = {
    "batch": ("right ,d", "batch"),
    "density": ("right .2f", "density"),
    "speed-up": (
        "right .2f",
        lambda row: Interval(row["speedup"], None, row["low"], row["high"]),
    ),
    "limit": ("right .1f", "limit"),
    "ms": ("right .3f", "milliseconds"),
    "dense ms": ("right .3f", "dense_milliseconds"),
}
NOTES = """\
Speed-up: time of torch's dense layer over that of the block-sparse one, median [quartiles] of the
rounds; more is better. Limit: dense MACs over executed MACs. Density: share of blocks kept on both
sides of the layer. Every pass takes other masks, drawn block by block for each row."""


def timed(batch: int, density: float, options: argparse.Namespace) -> dict[str, Any]:
    """Times one batch and density: the numbers of `COLUMNS`."""
    import torch

    from ccenv.base.clock import quartiles_of_ratio, seconds_in_turns, wait_for
    from ccenv.base.seeding import stream
    from ccenv.networks.core.mlp import linear_at, linear_stack
    from ccenv.sparse.buffers import keep_panels
    from ccenv.sparse.linear import block_sparse_linear

    generator, device = stream(0, "benchmark"), torch.device(options.device)
    width, sides = options.width, (PASSES, 2, batch, options.blocks)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = linear_at(linear_stack([width, width]), 0).requires_grad_(False).to(device)
    masks = torch.rand(sides, generator=generator).lt(density).to(device)
    x = torch.randn(batch, width, generator=generator).to(device)
    plain = layer.weight.contiguous()
    if device.type == "cpu":
        keep_panels(layer)

    def sparse() -> None:
        for kept in masks:
            block_sparse_linear(x, layer.weight, layer.bias, *kept)
        wait_for(device)

    def dense() -> None:
        for _ in masks:
            torch.nn.functional.linear(x, plain, layer.bias)
        wait_for(device)

    times = seconds_in_turns({"dense": dense, "sparse": sparse}, options.rounds)
    low, middle, high = quartiles_of_ratio(times["dense"], times["sparse"])
    pairs = masks.sum(dim=-1).prod(dim=1).sum().item()
    ours, theirs = (1e3 * statistics.median(times[name]) / PASSES for name in ("sparse", "dense"))
    return {
        "batch": batch,
        "density": masks.float().mean().item(),
        "speedup": middle,
        "low": low,
        "high": high,
        "limit": PASSES * batch * options.blocks**2 / max(1, pairs),
        "milliseconds": ours,
        "dense_milliseconds": theirs,
    }


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(
        prog="ccenv benchmark",
        description="Times a block-sparse layer and torch's dense one on this machine.",
    )
    add = parser.add_argument
    add("--width", type=positive, default=1024, help="units on each side of the layer")
    add("--blocks", type=positive, default=32, help="blocks on each side")
    add("--device", default="cpu", help="cpu, or a CUDA device")
    add("--rounds", type=positive, default=5, help="timings of each case, two or more")
    add("--json", action="store_true", help="print the rows as JSON only")
    return parser


@program("ccenv benchmark")
def main(arguments: Sequence[str] | None = None) -> int:
    """Times the layer; see --help."""
    options = make_parser().parse_args(arguments)
    import torch

    from ccenv.networks.core.arguments import check_device
    from ccenv.runs.store.provenance import machine

    check_device(options.device)
    if options.width % options.blocks or options.rounds < 2:
        raise ValueError(
            "expected --width to be a multiple of --blocks and --rounds of at least 2, got "
            f"{options.width}, {options.blocks} and {options.rounds}"
        )
    torch.set_num_threads(1)
    rows = [timed(*case, options) for case in itertools.product(BATCHES, DENSITIES)]
    if options.json:
        print_json({"rows": rows, "machine": machine()})
    else:
        print_text(f"{markdown(*read_columns(COLUMNS, rows))}\n\n{NOTES}\n\n{machine()}")
    return 0
