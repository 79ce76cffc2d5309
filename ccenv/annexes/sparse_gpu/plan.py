"""Tiles of the GPU kernels: (widths, blocks, batch, dtype) -> how work is cut; and their start.

Nothing here looks at a mask or at a clock: the same shapes are always cut in the same way.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch

# A tensor core multiplies at least 16 x 16 x 16; smaller blocks are padded with zeros.
SMALLEST_TILE = 16
# Widest tile of summed units and of output units, by bytes of a number.
INNER_UNITS = {2: 64, 4: 32}
OUTER_UNITS = {2: 128, 4: 64}
MAX_MERGED = 16
# Widest tile of summed units of one block, by bytes of a number.
BLOCK_UNITS = {2: 128, 4: 64}
# Most rows whose products are sums over vectors, without tensor cores.
VECTOR_ROWS = 16
VECTOR_OUTER, VECTOR_INNER = 16, 128
# Every card from compute capability 8.0 on lends a program this much shared memory.
SHARED_BYTES = 96 * 1024
# Rows of pairs of blocks that are listed at once for the weight gradient.
PAIR_ENTRIES = 1 << 24
# Fewest neighbouring bytes that are copied to shared memory while others are multiplied.
LOADED_BYTES = 8
# With so few blocks, rows are sorted by what they keep: a tile then needs few blocks.
SORTED_BLOCKS, SORTED_ROWS = 16, 512


@dataclass(frozen=True)
class Cut:
    """How the units of one side of a layer fall into tiles."""

    width: int
    """units of the side."""
    block: int
    """units of a block; a tile's worth of them where no mask makes blocks."""
    merged: int
    """neighbouring blocks of one group."""
    pieces: int
    """tiles of one group."""
    step: int
    """units of a tile, a power of two; more than a group has are padding."""

    @property
    def num_blocks(self) -> int:
        """Blocks of the side, the last one perhaps not full where no mask makes blocks."""
        return math.ceil(self.width / self.block)

    @property
    def group(self) -> int:
        """Units of a group."""
        return self.merged * self.block

    @property
    def num_groups(self) -> int:
        """Groups of the side, the last one perhaps not full."""
        return math.ceil(self.width / self.group)

    @property
    def num_tiles(self) -> int:
        """Tiles of the side."""
        return self.num_groups * self.pieces

    @property
    def is_even(self) -> bool:
        """Whether no tile has padding."""
        return self.group == self.pieces * self.step and self.width % self.group == 0


@dataclass(frozen=True)
class Tile:
    """How one program of a product works."""

    rows: int
    """rows of a tile, a power of two."""
    warps: int
    """groups of 32 threads."""
    stages: int
    """steps of the sum whose loads are under way at once."""


def power_of_two(number: int) -> int:
    """The smallest power of two that is not smaller."""
    return 1 << (number - 1).bit_length()


@functools.lru_cache(maxsize=1024)
def cut_inner(width: int, num_blocks: int | None, itemsize: int) -> Cut:
    """Cuts the side that is summed over; small blocks share a tile. Numbers have 2 or 4 bytes.

    >>> cut_inner(40, 8, itemsize=2)
    Cut(width=40, block=5, merged=8, pieces=1, step=64)
    """
    limit = INNER_UNITS[itemsize]
    if num_blocks is None:
        return Cut(width, limit, 1, 1, limit)
    block = width // num_blocks
    merged = max(1, min(limit // block, num_blocks, MAX_MERGED))
    step = min(limit, max(SMALLEST_TILE, power_of_two(merged * block)))
    return Cut(width, block, merged, math.ceil(merged * block / step), step)


def cut_blocks(width: int, num_blocks: int, itemsize: int) -> Cut:
    """Cuts the side that is summed over, so that a tile never holds two blocks.

    >>> cut_blocks(40, 8, itemsize=2)
    Cut(width=40, block=5, merged=1, pieces=1, step=16)
    """
    return cut_outer(width, num_blocks, BLOCK_UNITS[itemsize])


@functools.lru_cache(maxsize=1024)
def cut_outer(width: int, num_blocks: int | None, limit: int) -> Cut:
    """Cuts a side whose units are results: a tile lies within one block, of `limit` units at most.

    >>> cut_outer(768, 4, limit=128)
    Cut(width=768, block=192, merged=1, pieces=2, step=128)
    """
    if num_blocks is None:
        step = min(64, limit, max(SMALLEST_TILE, power_of_two(width)))
        return Cut(width, step, 1, 1, step)
    block = width // num_blocks
    step = min(limit, max(SMALLEST_TILE, power_of_two(block)))
    return Cut(width, block, 1, math.ceil(block / step), step)


@functools.lru_cache(maxsize=1024)
def choose_tile(batch: int, inner: Cut, outer: Cut, itemsize: int, *, is_listed: bool) -> Tile:
    """Tile of the product of rows with weights.

    As many rows as an eighth of the batch, the density where sparse layers begin to pay: a tile of
    more rows would mostly be padding, one of fewer would read the weights more often. `is_listed`:
    whether a list says which input blocks are summed.
    """
    most = 128 if itemsize == 2 and outer.step < 128 else 64
    if inner.block * itemsize % LOADED_BYTES:
        # Numbers are then loaded one by one, and their addresses take all registers.
        most = 32
    rows = min(most, max(SMALLEST_TILE, power_of_two(batch // 8 + 1) // 2))
    warps = 8 if itemsize * rows * outer.step >= 16384 else 4
    buffers = count_buffers(itemsize * inner.step * (rows + outer.step))
    # The place in the list and what the rows keep are loaded before a block is: half of the steps
    # under way are at that.
    return Tile(rows, warps, 2 * buffers if is_listed else buffers)


@functools.lru_cache(maxsize=1024)
def choose_pair_tile(in_cut: Cut, out_cut: Cut, itemsize: int) -> Tile:
    """Tile of the weight gradient: `rows` of a pair of blocks are summed at a time."""
    rows = 32 if itemsize == 4 or in_cut.step + out_cut.step > 128 else 64
    warps = 8 if itemsize * in_cut.step * out_cut.step >= 16384 else 4
    return Tile(rows, warps, 1 + count_buffers(itemsize * rows * (in_cut.step + out_cut.step)))


def count_buffers(size: int) -> int:
    """Steps of a sum whose operands, `size` bytes each, fit in shared memory, at most three."""
    return max(1, min(3, SHARED_BYTES // size))


def product_precision(dtype: torch.dtype) -> str:
    """How float32 is multiplied: exactly, or in tf32 where torch's own products are."""
    matmul = torch.backends.cuda.matmul
    # Newer versions of torch refuse to answer by the old name once the new one was set.
    if hasattr(matmul, "fp32_precision"):
        is_fast = matmul.fp32_precision == "tf32"
    else:
        is_fast = matmul.allow_tf32
    return "tf32" if is_fast and dtype == torch.float32 else "ieee"


def launch(
    kernel: Any, programs: int, *args: Any, warps: int = 4, stages: int = 1, **constants: Any
) -> None:
    """Starts `programs` programs of a kernel; returns before they have run.

    The constants are what the kernel is compiled for; warps and stages as in `Tile`.
    """
    # Fused multiply-adds are named because Triton is about to change its default.
    kernel[(programs,)](
        *args, num_warps=warps, num_stages=stages, enable_fp_fusion=True, **constants
    )
