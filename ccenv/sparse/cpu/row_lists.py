"""Index lists of kept blocks: addresses of block masks -> lists of rows and blocks; packed inputs.

Two numbers that are read together are kept together, in the halves of one int64.
"""

from typing import Any

import numpy as np
from numba import carray

from ccenv.sparse.cpu.codegen.compiled import as_pointer, compiled
from ccenv.sparse.cpu.codegen.floats import copy_floats
from ccenv.sparse.cpu.codegen.micro_kernels import LOWER_HALF
from ccenv.sparse.cpu.codegen.vectors import count_bits, lowest_bit, make_load_bits

load_8, load_16, load_32 = make_load_bits(8), make_load_bits(16), make_load_bits(32)


@compiled
def mask_word(mask: int, count: int) -> Any:
    """Up to 64 bytes of a mask at an address as the bits of a number."""
    word = np.uint64(0)
    b = 0
    while count - b >= 32:
        word |= load_32(mask + b) << np.uint64(b)
        b += 32
    if count - b >= 16:
        word |= load_16(mask + b) << np.uint64(b)
        b += 16
    if count - b >= 8:
        word |= load_8(mask + b) << np.uint64(b)
        b += 8
    if b < count:
        bits = carray(as_pointer(mask), (count,), np.uint8)
        while b < count:
            word |= np.uint64(bits[b]) << np.uint64(b)
            b += 1
    return word


@compiled
def list_block_rows(mask: int, batch: int, num_blocks: int, rows: Any, counts: Any) -> None:
    """Lists the rows of each block: rows int32 [num_blocks, batch], counts int64 [num_blocks].

    `mask` is the address of bool [batch, num_blocks], or 0 if all rows keep the one block.
    """
    counts[:] = 0
    if mask == 0:
        for b in range(batch):
            rows[0, b] = b
        counts[0] = batch
        return
    for b in range(batch):
        for start in range(0, num_blocks, 64):
            word = mask_word(mask + b * num_blocks + start, min(64, num_blocks - start))
            while word != np.uint64(0):
                j = start + lowest_bit(word)
                rows[j, counts[j]] = b
                counts[j] += 1
                word &= word - np.uint64(1)


@compiled
def blocks_of_rows(mask: int, batch: int, num_blocks: int, entries: Any, counts: Any) -> None:
    """Lists which blocks each row keeps: entries int64 [batch, num_blocks], counts int64 [batch].

    An entry's upper half is the block, its lower half says where the block of x lies: in row b.
    """
    if mask == 0:
        for b in range(batch):
            entries[b, 0] = b
        counts[:] = 1
        return
    for b in range(batch):
        n = 0
        for start in range(0, num_blocks, 64):
            word = mask_word(mask + b * num_blocks + start, min(64, num_blocks - start))
            while word != np.uint64(0):
                entries[b, n] = (start + lowest_bit(word)) << 32 | b
                n += 1
                word &= word - np.uint64(1)
        counts[b] = n


@compiled
def bucket(
    rows: Any, first: int, last: int, entries: Any, counts: Any, pairs: Any, sizes: Any
) -> None:
    """Sorts rows[first:last] by the input blocks they keep.

    For each input block: `pairs` int64 [in_blocks, chunk] lists the rows' numbers within the chunk
    (upper half) and where their inputs lie (lower half), `sizes` how many there are.
    """
    sizes[:] = 0
    for r in range(first, last):
        b = rows[r]
        place = (r - first) << 32
        for q in range(counts[b]):
            entry = entries[b, q]
            i = entry >> 32
            n = sizes[i]
            pairs[i, n] = place | (entry & LOWER_HALF)
            sizes[i] = n + 1


@compiled
def gather_inputs(
    x: int, batch: int, in_size: int, ldx: int, entries: Any, counts: Any, starts: Any
) -> Any:
    """Copies the kept blocks of x side by side, block by block; entries then hold their addresses.

    Rows at a distance of a power of two share a few cache lines, and so do their blocks; side by
    side they do not, and the processor prefetches the next one.
    """
    starts[:] = 0
    for b in range(batch):
        for q in range(counts[b]):
            i = entries[b, q] >> 32
            entries[b, q] = i << 32 | starts[i]
            starts[i] += 1
    total = 0
    for i in range(len(starts)):
        here = starts[i]
        starts[i] = total
        total += here
    gathered = np.empty(max(1, total * in_size), np.float32)
    base = np.int64(gathered.ctypes.data)
    for b in range(batch):
        for q in range(counts[b]):
            i = entries[b, q] >> 32
            to = base + 4 * in_size * (starts[i] + (entries[b, q] & LOWER_HALF))
            copy_floats(x + b * ldx + 4 * i * in_size, to, in_size)
    return gathered


@compiled
def mark_kept(mask: int, row: int, num_blocks: int, used: Any) -> int:
    """Counts the blocks that a row keeps, and marks them in `used`, 64 blocks a word."""
    if mask == 0:
        used[0] = np.uint64(1)
        return 1
    kept = 0
    for start in range(0, num_blocks, 64):
        word = mask_word(mask + row * num_blocks + start, min(64, num_blocks - start))
        used[start // 64] |= word
        kept += count_bits(word)
    return kept


@compiled
def count_kept_blocks(
    in_mask: int, out_mask: int, batch: int, in_blocks: int, out_blocks: int
) -> tuple[int, int, int, int]:
    """Blocks that rows keep on either side, and pairs of them, of all rows; blocks ever kept.

    Arguments are the addresses of bool [batch, blocks], or 0 if all rows keep the one block.
    """
    used_in = np.zeros(-(-in_blocks // 64), np.uint64)
    used_out = np.zeros(-(-out_blocks // 64), np.uint64)
    ins, outs, pairs, used = 0, 0, 0, 0
    for b in range(batch):
        kept_in = mark_kept(in_mask, b, in_blocks, used_in)
        kept_out = mark_kept(out_mask, b, out_blocks, used_out)
        ins += kept_in
        outs += kept_out
        pairs += kept_in * kept_out
    for word in used_in:
        used += count_bits(word)
    for word in used_out:
        used += count_bits(word)
    return ins, outs, pairs, used


@compiled
def count_pairs(in_mask: int, out_mask: int, batch: int, in_blocks: int, out_blocks: int) -> int:
    """Counts pairs of blocks that a row keeps, over all rows; -1 if some block is in no row."""
    _, _, pairs, used = count_kept_blocks(in_mask, out_mask, batch, in_blocks, out_blocks)
    return pairs if used == in_blocks + out_blocks else -1
