"""A whole network, policy included, in one compiled call: (program, images) -> masks and logits.

For one image the calls between layers take longer than the layers. A program is a table of int64,
one row an instruction, which `ccenv.deploy.fused.writer` writes. Images go through it some rows at
a time, so that what lies between two layers never leaves the cache. Windows of symbols, int64, lie
where images do, as twice as many floats.

Numbers between instructions lie in a workspace: "place p" starts p floats times the rows at once.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numba import carray, types

from ccenv.deploy.fused.pooling import block_norms, gumbel_1, gumbel_16, pool_images
from ccenv.deploy.fused.tables import add_rows, keep_listed, look_up, sum_tables, symbols_fit
from ccenv.sparse.cpu.codegen.bits import highest_below, sort_keys
from ccenv.sparse.cpu.codegen.compiled import KERNELS, compiled, entry, forget_stale, make_call
from ccenv.sparse.cpu.codegen.floats import copy_floats
from ccenv.sparse.cpu.codegen.micro_kernels import LOWER_HALF, as_pointer
from ccenv.sparse.cpu.kernels import call_forward

forget_stale(Path(__file__).parent, KERNELS)
FIELDS = 14
"""Address of the op, source, target, and up to eleven numbers more."""
IMAGES, LOGITS, NO_MASK = -1, -2, -1
JOB = 3
"""Addresses of a job before those of its masks: program, images, logits."""
HIGHEST = np.int64(2**63 - 1)


@compiled
def keep_top(source: int, mask: int, rows: int, ld: int, blocks: int, num_kept: int) -> None:
    """Keeps the blocks of highest score, the first of equal ones; NaN counts as highest.

    Rows of scores are whole vectors: `ld` is a multiple of 16.
    """
    bits = carray(as_pointer(mask), (rows, blocks), np.uint8)
    vectors = ld // 16
    keys = np.empty(ld, np.int64)
    at_keys = np.int64(keys.ctypes.data)
    for b in range(rows):
        bits[b, :] = 0
        # The highest of many whole numbers is found in vectors, which no compiler does with floats.
        sort_keys(source + 4 * b * ld, vectors, blocks, at_keys)
        key = HIGHEST
        for _ in range(num_kept):
            # No two are equal, so nothing has to be taken out of memory that is just being read.
            key = highest_below(at_keys, vectors, key)
            bits[b, -key & LOWER_HALF] = 1
    # Numba frees an array after its last use, and an address is none.
    keys[0] = 0


@compiled
def keep_likely(source: int, mask: int, rows: int, ld: int, blocks: int) -> None:
    """Keeps blocks of positive score: those kept with a probability above one half."""
    scores = carray(as_pointer(source), (rows, ld), np.float32)
    bits = carray(as_pointer(mask), (rows, blocks), np.uint8)
    for b in range(rows):
        for j in range(blocks):
            bits[b, j] = scores[b, j] > 0


@compiled
def keep_drawn(
    source: int, uniform: int, mask: int, rows: int, ld: int, blocks: int, low: float
) -> None:
    """Keeps a block if its uniform number is below low + (1 - 2 low) sigmoid(score)."""
    scores = carray(as_pointer(source), (rows, ld), np.float32)
    draws = carray(as_pointer(uniform), (rows, blocks), np.float32)
    bits = carray(as_pointer(mask), (rows, blocks), np.uint8)
    for b in range(rows):
        for j in range(blocks):
            probability = low + (1 - 2 * low) / (1 + math.exp(-scores[b, j]))
            bits[b, j] = draws[b, j] < probability


@compiled
def add_gumbel(source: int, uniform: int, rows: int, ld: int, blocks: int) -> None:
    """Adds Gumbel noise to scores: the best k are then k draws without replacement."""
    for b in range(rows):
        to, draws = source + 4 * b * ld, uniform + 4 * b * blocks
        j = 0
        while blocks - j >= 16:
            gumbel_16(draws + 4 * j, to + 4 * j)
            j += 16
        while j < blocks:
            gumbel_1(draws + 4 * j, to + 4 * j)
            j += 1


@compiled
def blank_skipped(target: int, mask: int, rows: int, blocks: int, size: int) -> None:
    """Sets the units of skipped blocks to zero, in float32 [rows, blocks * size]."""
    units = carray(as_pointer(target), (rows, blocks, size), np.float32)
    bits = carray(as_pointer(mask), (rows, blocks), np.uint8)
    for b in range(rows):
        for j in range(blocks):
            for c in range(size):
                units[b, j, c] = units[b, j, c] if bits[b, j] else np.float32(0)


OP = types.int64(*[types.int64] * 7)
"""A kernel (code, source, target, masks, draws, first, rows) -> 0, or 1 where a symbol is wrong.

`code` is the address of the instruction: the op's own address, the places of source and target,
then its numbers. Source and target are addresses of the first of some rows; masks and draws those
of lists of addresses, one a gated layer; `first` is the rows' place among all.
"""


call_op = make_call(OP)


def address_of(op: Any) -> int:
    """Where a program finds an op, which is compiled or loaded now."""
    return entry(op, OP)


@compiled
def numbers_of(code: int) -> Any:
    """What an instruction holds, int64 [FIELDS]."""
    return carray(as_pointer(code), (FIELDS,), np.int64)


@compiled
def rows_of_mask(masks: int, layer: int, skipped: int) -> int:
    """Address of a layer's mask behind its first bytes, 0 where there is no mask."""
    if layer == NO_MASK:
        return 0
    return carray(as_pointer(masks + 8 * layer), (1,), np.int64)[0] + skipped


@compiled
def layer(
    code: int, source: int, target: int, masks: int, draws: int, first: int, rows: int
) -> int:
    """A block-sparse layer; skipped blocks are not written, and nothing reads them.

    Numbers: layers of the masks on both sides (or NO_MASK), address, row distance and panel
    distance of the weights, address of the bias, blocks and size on both sides, activation.
    """
    c = numbers_of(code)
    call_forward(
        source,
        c[5],
        c[6],
        1,
        c[7],
        c[8],
        rows_of_mask(masks, c[3], first * c[9]),
        rows_of_mask(masks, c[4], first * c[11]),
        target,
        c[9],
        c[10],
        c[11],
        c[12],
        c[13],
        0,
        0,
        rows,
        0,
        c[11],
    )
    return 0


@compiled
def fill(code: int, source: int, target: int, masks: int, draws: int, first: int, rows: int) -> int:
    """The same floats in every row. Numbers: address of a row, columns."""
    c = numbers_of(code)
    for b in range(rows):
        copy_floats(c[3], target + 4 * b * c[4], c[4])
    return 0


@compiled
def copy(code: int, source: int, target: int, masks: int, draws: int, first: int, rows: int) -> int:
    """The first columns of rows, side by side. Numbers: row distance, columns."""
    c = numbers_of(code)
    for b in range(rows):
        copy_floats(source + 4 * b * c[3], target + 4 * b * c[4], c[4])
    return 0


@compiled
def pool(code: int, source: int, target: int, masks: int, draws: int, first: int, rows: int) -> int:
    """Averages of windows. Numbers: row distance, channels, height, width, window down, across."""
    c = numbers_of(code)
    pool_images(source, target, rows, c[3], c[4], c[5], c[6], c[7], c[8])
    return 0


@compiled
def norms(
    code: int, source: int, target: int, masks: int, draws: int, first: int, rows: int
) -> int:
    """Norms of blocks.

    Numbers: row distance, blocks, size, first column, floats from block to block, layer of the
    mask.
    """
    c = numbers_of(code)
    mask = rows_of_mask(masks, c[8], first * c[4])
    block_norms(source, mask, target + 4 * c[6], rows, c[3], c[4], c[5], c[7])
    return 0


@compiled
def blank(
    code: int, source: int, target: int, masks: int, draws: int, first: int, rows: int
) -> int:
    """Zeros in the units of skipped blocks. Numbers: layer of the mask, blocks, size."""
    c = numbers_of(code)
    blank_skipped(target, rows_of_mask(masks, c[3], first * c[4]), rows, c[4], c[5])
    return 0


@compiled
def top_k(
    code: int, source: int, target: int, masks: int, draws: int, first: int, rows: int
) -> int:
    """A mask of the highest scores. Numbers: layer, blocks, row distance of the scores, k."""
    c = numbers_of(code)
    keep_top(source, rows_of_mask(masks, c[3], first * c[4]), rows, c[5], c[4], c[6])
    return 0


@compiled
def likely(
    code: int, source: int, target: int, masks: int, draws: int, first: int, rows: int
) -> int:
    """A mask of the positive scores. Numbers: layer, blocks, row distance of the scores."""
    c = numbers_of(code)
    keep_likely(source, rows_of_mask(masks, c[3], first * c[4]), rows, c[5], c[4])
    return 0


@compiled
def drawn(
    code: int, source: int, target: int, masks: int, draws: int, first: int, rows: int
) -> int:
    """A mask that is drawn. Numbers as `likely`, and the lowest probability in millionths."""
    c = numbers_of(code)
    mask = rows_of_mask(masks, c[3], first * c[4])
    uniform = rows_of_mask(draws, c[3], 4 * first * c[4])
    keep_drawn(source, uniform, mask, rows, c[5], c[4], c[6] * 1e-6)
    return 0


@compiled
def gumbel(
    code: int, source: int, target: int, masks: int, draws: int, first: int, rows: int
) -> int:
    """Gumbel noise on scores, in place. Numbers as `likely`."""
    c = numbers_of(code)
    add_gumbel(source, rows_of_mask(draws, c[3], 4 * first * c[4]), rows, c[5], c[4])
    return 0


@compiled
def check(
    code: int, source: int, target: int, masks: int, draws: int, first: int, rows: int
) -> int:
    """Whether all symbols are in the vocabulary. Numbers: symbols of it, of a window."""
    c = numbers_of(code)
    return 0 if symbols_fit(source, rows * c[4], c[3]) else 1


@compiled
def look_up_rows(
    code: int, source: int, target: int, masks: int, draws: int, first: int, rows: int
) -> int:
    """Embeddings side by side.

    Numbers of this and the next three: layer of the mask (or NO_MASK), number of blocks, length of
    a window; then first place, number of places, address of the table, floats of a row.
    """
    c = numbers_of(code)
    look_up(source, c[5], c[6], c[7], c[8], target, rows, c[9])
    return 0


@compiled
def sum_rows(
    code: int, source: int, target: int, masks: int, draws: int, first: int, rows: int
) -> int:
    """Sums of rows of tables.

    Then: first place, number of places, number of symbols, address, floats of a block, activation.
    """
    c = numbers_of(code)
    mask = rows_of_mask(masks, c[3], first * c[4])
    where = (source, c[5], c[6], c[7], c[8], c[9], target, mask, rows)
    sum_tables(*where, c[4], c[10], c[11])
    return 0


@compiled
def add_entries(
    code: int, source: int, target: int, masks: int, draws: int, first: int, rows: int
) -> int:
    """Adds rows of a table.

    Then: number of keys and of symbols, address, floats of a block, activation.
    """
    c = numbers_of(code)
    mask = rows_of_mask(masks, c[3], first * c[4])
    where = (source, c[5], c[6], c[7], c[8], target, mask, rows)
    add_rows(*where, c[4], c[9], c[10])
    return 0


@compiled
def listed(
    code: int, source: int, target: int, masks: int, draws: int, first: int, rows: int
) -> int:
    """A mask that a table lists. Then: number of keys and of symbols, address, blocks kept."""
    c = numbers_of(code)
    mask = rows_of_mask(masks, c[3], first * c[4])
    keep_listed(source, c[5], c[6], c[7], c[8], mask, rows, c[4], c[9])
    return 0


def header(
    length: int, layers: int, features: int, classes: int, chunk: int, floats: int
) -> list[int]:
    """The first line of a program.

    Args:
        length: number of instructions.
        layers: number of gated layers.
        features: of an image.
        classes: number of logits.
        chunk: most rows at once.
        floats: of one row's workspace.
    """
    found = [length, layers, features, classes, chunk, floats]
    return found + [0] * (FIELDS - len(found))


@compiled
def header_of(program: int) -> tuple[int, int, int, int, int, int]:
    """What `header` wrote."""
    line = carray(as_pointer(program), (FIELDS,), np.int64)
    return line[0], line[1], line[2], line[3], line[4], line[5]


@compiled
def run_program(job: int, start: int, stop: int) -> int:
    """Runs a program on the rows from start to stop; 0, or 1 where CHECK has found a wrong symbol.

    Everything else lies behind one address, because each argument of a call takes its time. Nothing
    is looked up of rows with a wrong symbol.

    Args:
        job: address of int64 addresses: of the program, which is int64 [1 + length, FIELDS] with
            its `header` in the first line; of the images, float32 [rows, features]; of the
            logits, float32 [rows, classes], written; then one a gated layer, each of bool [rows,
            blocks], read, or written where an instruction chooses; then, if an instruction draws,
            the same for uniform numbers, float32.
        start: first row.
        stop: row behind the last one.
    """
    given = carray(as_pointer(job), (JOB,), np.int64)
    program, images, logits = given[0], given[1], given[2]
    length, layers, features, classes, chunk, floats = header_of(program)
    masks = job + 8 * JOB
    draws = masks + 8 * layers
    chunk = max(1, min(chunk, stop - start))
    work = np.empty(chunk * floats + 16, np.float32)
    # Vectors that straddle two cache lines take twice as long.
    base = (np.int64(work.ctypes.data) + 63) // 64 * 64
    wrong = 0
    for first in range(start, stop, chunk):
        rows = min(chunk, stop - first)
        for n in range(length):
            at = program + 8 * (1 + n) * FIELDS
            code = numbers_of(at)
            # Places are multiples of whole cache lines.
            source = base + 4 * chunk * code[1]
            if code[1] == IMAGES:
                source = images + 4 * first * features
            target = base + 4 * chunk * code[2]
            if code[2] == LOGITS:
                target = logits + 4 * first * classes
            if call_op(code[0], at, source, target, masks, draws, first, rows) != 0:
                wrong = 1
                break
    # Numba frees an array after its last use, and an address is none.
    work[0] = 0
    return wrong
