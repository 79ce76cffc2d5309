"""Who keeps what: addresses of block masks -> lists of rows and blocks; inputs laid together."""

from typing import Any

import numpy as np
from numba import carray

from ccenv.sparse.panels import as_pointer, load_word, lowest_bit
from ccenv.sparse.tiles import compiled, copy_floats


@compiled
def rows_of_blocks(mask: int, batch: int, num_blocks: int, rows: Any, counts: Any) -> None:
    """Lists who keeps each block: rows int32 [num_blocks, batch], counts int64 [num_blocks].

    `mask` is the address of bool [batch, num_blocks], or 0 where everybody keeps the one block.
    """
    counts[:] = 0
    if mask == 0:
        for b in range(batch):
            rows[0, b] = b
        counts[0] = batch
        return
    bits = carray(as_pointer(mask), (batch * num_blocks,), np.uint8)
    words = num_blocks // 8 * 8
    for b in range(batch):
        for start in range(0, words, 8):
            word = load_word(mask + b * num_blocks + start)
            while word != np.uint64(0):
                j = start + (lowest_bit(word) >> 3)
                rows[j, counts[j]] = b
                counts[j] += 1
                word &= word - np.uint64(1)
        for j in range(words, num_blocks):
            if bits[b * num_blocks + j]:
                rows[j, counts[j]] = b
                counts[j] += 1


@compiled
def blocks_of_rows(mask: int, batch: int, num_blocks: int, blocks: Any, counts: Any) -> None:
    """Lists which blocks each row keeps: blocks int32 [batch, num_blocks], counts int64 [batch]."""
    if mask == 0:
        blocks[:, 0] = 0
        counts[:] = 1
        return
    bits = carray(as_pointer(mask), (batch * num_blocks,), np.uint8)
    words = num_blocks // 8 * 8
    for b in range(batch):
        n = 0
        for start in range(0, words, 8):
            word = load_word(mask + b * num_blocks + start)
            while word != np.uint64(0):
                blocks[b, n] = start + (lowest_bit(word) >> 3)
                n += 1
                word &= word - np.uint64(1)
        for i in range(words, num_blocks):
            if bits[b * num_blocks + i]:
                blocks[b, n] = i
                n += 1
        counts[b] = n


@compiled
def bucket(
    rows: Any,
    first: int,
    last: int,
    blocks: Any,
    slots: Any,
    counts: Any,
    pairs: Any,
    places: Any,
    sizes: Any,
) -> None:
    """Sorts rows[first:last] by the input blocks they keep.

    For each input block: `pairs` int32 [in_blocks, chunk] lists where the rows' inputs lie (their
    `slots`), `places` the rows' numbers within the chunk, `sizes` how many there are.
    """
    sizes[:] = 0
    for r in range(first, last):
        b = rows[r]
        for q in range(counts[b]):
            i = blocks[b, q]
            pairs[i, sizes[i]] = slots[b, q]
            places[i, sizes[i]] = r - first
            sizes[i] += 1


@compiled
def gather_inputs(
    x: int, batch: int, in_size: int, ldx: int, blocks: Any, counts: Any, slots: Any, starts: Any
) -> Any:
    """Copies the kept blocks of x together, block by block; slots become numbers within a block.

    Rows whose distance is a power of two fall on the same few lines of the cache, and so do their
    blocks; side by side they do not, and the processor sees the next one coming.
    """
    starts[:] = 0
    for b in range(batch):
        for q in range(counts[b]):
            slots[b, q] = starts[blocks[b, q]]
            starts[blocks[b, q]] += 1
    total = 0
    for i in range(len(starts)):
        here = starts[i]
        starts[i] = total
        total += here
    gathered = np.empty(max(1, total * in_size), np.float32)
    base = np.int64(gathered.ctypes.data)
    for b in range(batch):
        for q in range(counts[b]):
            i = np.int64(blocks[b, q])
            to = base + 4 * in_size * (starts[i] + slots[b, q])
            copy_floats(x + b * ldx + 4 * i * in_size, to, in_size)
    return gathered
