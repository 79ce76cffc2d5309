"""What loading costs: products of weights that lie in the processor's cache, and of others.

The extension `fast_memory` charges the bytes of blocks that were not used last. Here one block's
weights are multiplied again and again, and beside it those of so many blocks in turn that each has
left the cache when its turn comes.
"""

import statistics
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ccenv.base.clock import seconds_in_turns, work_clock
from ccenv.base.seeding import stream
from ccenv.runs.lab.benchmarks.cases import Pass, Row, benchmark, ratio

WIDTH = 256
"""Numbers that a block reads."""
UNITS = (4, 16, 64, 256, 1024, 4096)
"""Of a block: 4 KiB to 4 MiB of weights."""
POOL_BYTES = 2**28
"""Of all blocks that take turns: more than a last-level cache holds."""
NOTES = """\
One row times a block of 256 inputs, by torch, float32. Warm: the same block again and again; cold:
blocks in random order, 256 MiB in all, each once a pass. Seconds of a product, medians, calls
included; ratio: cold over warm in the same round, median [quartiles]; GB/s: bytes of a block over
its seconds cold."""
COLUMNS = {
    "bytes": ">{bytes:,}",
    "seconds warm": ">{seconds_warm:.2e}",
    "seconds cold": ">{seconds_cold:.2e}",
    "ratio": "<{ratio:.2f} [{ratio_low:.2f}, {ratio_high:.2f}]",
    "GB/s": ">{gigabytes_per_second:.1f}",
}


def products(blocks: Sequence[Tensor]) -> Pass:
    """One row times each of some blocks, [units, WIDTH] each, one behind the other."""
    row = torch.ones(WIDTH)
    result = torch.empty(len(blocks[0]))

    def multiply() -> None:
        for block in blocks:
            torch.mv(block, row, out=result)

    return multiply


def measured(*, quick: bool, rounds: int) -> Iterator[Row]:
    """Blocks of several sizes; quick: two, and so few of them that they stay in the cache."""
    for units in UNITS[:2] if quick else UNITS:
        size = 4 * WIDTH * units
        count = 2**20 // size if quick else POOL_BYTES // size
        blocks = torch.rand(count, units, WIDTH, generator=stream(0, "blocks"))
        order = torch.randperm(count, generator=stream(0, "order of blocks")).tolist()
        # Tensors are objects too: as many of them, whose memory is one block's.
        kinds = {"warm": blocks[:1].expand_as(blocks).unbind(), "cold": blocks.unbind()}
        passes = {
            name: products([blocks[number] for number in order]) for name, blocks in kinds.items()
        }
        times = seconds_in_turns(passes, rounds, 0.0, work_clock())
        warm, cold = (statistics.median(times[name]) / count for name in ("warm", "cold"))
        yield {
            "bytes": size,
            "seconds_warm": warm,
            "seconds_cold": cold,
            **ratio("ratio", times["cold"], times["warm"]),
            "gigabytes_per_second": size / cold / 1e9,
        }


LOADS = benchmark(
    "loads",
    "products of weights in the processor's cache and of others",
    measured,
    COLUMNS,
    notes=NOTES,
)
