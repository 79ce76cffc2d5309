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
from numba import carray

from ccenv.deploy.fused.pooling import block_norms, gumbel_1, gumbel_16, pool_images
from ccenv.deploy.fused.tables import add_rows, keep_listed, look_up, sum_tables, symbols_fit
from ccenv.sparse.cpu.codegen.bits import highest_below, sort_keys
from ccenv.sparse.cpu.codegen.compiled import KERNELS, compiled, forget_stale
from ccenv.sparse.cpu.codegen.floats import copy_floats
from ccenv.sparse.cpu.codegen.micro_kernels import LOWER_HALF, as_pointer
from ccenv.sparse.cpu.kernels import forward

forget_stale(Path(__file__).parent, KERNELS)
LAYER, COPY, POOL, NORMS, TOP_K, LIKELY, DRAWN, GUMBEL, FILL, BLANK = range(10)
CHECK, LOOK_UP, SUM_TABLES, ADD_ROWS, LISTED = range(10, 15)
"""What is done with symbols."""
FIELDS = 14
"""op, source, target, and up to eleven numbers more; see `run_instruction`."""
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
def copy_columns(source: int, target: int, rows: int, ld: int, width: int) -> None:
    """Copies the first columns of rows that lie `ld` floats apart; the copies lie together."""
    for b in range(rows):
        copy_floats(source + 4 * b * ld, target + 4 * b * width, width)


@compiled
def blank_skipped(target: int, mask: int, rows: int, blocks: int, size: int) -> None:
    """Sets the units of skipped blocks to zero, in float32 [rows, blocks * size]."""
    units = carray(as_pointer(target), (rows, blocks, size), np.float32)
    bits = carray(as_pointer(mask), (rows, blocks), np.uint8)
    for b in range(rows):
        for j in range(blocks):
            for c in range(size):
                units[b, j, c] = units[b, j, c] if bits[b, j] else np.float32(0)


@compiled
def run_symbols(code: Any, symbols: int, target: int, masks: Any, first: int, rows: int) -> None:
    """One instruction that looks symbols up, at the address of the first of some rows.

    The numbers behind op, source and target are layer of the mask (or NO_MASK), number of blocks
    and length of a window; then, for LOOK_UP: first place, number of places, address of the table,
    floats of a row. For SUM_TABLES: first place, number of places, number of symbols, address,
    floats of a block, activation. For ADD_ROWS: number of keys and of symbols, address, floats of a
    block, activation. For LISTED: number of keys and of symbols, address, number of blocks kept.
    """
    op, length = code[0], code[5]
    mask = 0 if code[3] == NO_MASK else masks[code[3]] + first * code[4]
    if op == LOOK_UP:
        look_up(symbols, length, code[6], code[7], code[8], target, rows, code[9])
    elif op == SUM_TABLES:
        where = (symbols, length, code[6], code[7], code[8], code[9], target, mask, rows)
        sum_tables(*where, code[4], code[10], code[11])
    elif op == ADD_ROWS:
        where = (symbols, length, code[6], code[7], code[8], target, mask, rows)
        add_rows(*where, code[4], code[9], code[10])
    else:
        keep_listed(symbols, length, code[6], code[7], code[8], mask, rows, code[4], code[9])


@compiled
def run_instruction(
    code: Any, source: int, target: int, masks: Any, draws: Any, first: int, rows: int
) -> None:
    """One instruction on some rows; `first` is their place among all, for masks and draws.

    The numbers behind op, source and target are, for LAYER: layers of the masks on both sides (or
    NO_MASK), address, row distance and panel distance of the weights, address of the bias, blocks
    and size on both sides, activation; skipped blocks are not written, and nothing reads them. For
    FILL: address of a row, columns. For COPY: row distance, columns. For POOL: row distance,
    channels, height, width, window down and across. For NORMS: row distance, blocks, size, first
    column, floats from block to block, layer of the mask. For BLANK: layer of the mask, blocks,
    size. For the others: layer, blocks, row distance of the scores, and k of TOP_K or the lowest
    probability of DRAWN in millionths. Those of symbols are `run_symbols`.
    """
    op = code[0]
    if op == LAYER:
        forward(
            source,
            code[5],
            code[6],
            1,
            code[7],
            code[8],
            0 if code[3] == NO_MASK else masks[code[3]] + first * code[9],
            0 if code[4] == NO_MASK else masks[code[4]] + first * code[11],
            target,
            code[9],
            code[10],
            code[11],
            code[12],
            code[13],
            0,
            0,
            rows,
            0,
            code[11],
        )
    elif op >= LOOK_UP:
        run_symbols(code, source, target, masks, first, rows)
    elif op == FILL:
        for b in range(rows):
            copy_floats(code[3], target + 4 * b * code[4], code[4])
    elif op == COPY:
        copy_columns(source, target, rows, code[3], code[4])
    elif op == POOL:
        pool_images(source, target, rows, code[3], code[4], code[5], code[6], code[7], code[8])
    elif op == NORMS:
        mask = masks[code[8]] + first * code[4]
        block_norms(source, mask, target + 4 * code[6], rows, code[3], code[4], code[5], code[7])
    else:
        mask = masks[code[3]] + first * code[4]
        if op == TOP_K:
            keep_top(source, mask, rows, code[5], code[4], code[6])
        elif op == LIKELY:
            keep_likely(source, mask, rows, code[5], code[4])
        elif op == BLANK:
            blank_skipped(target, mask, rows, code[4], code[5])
        else:
            uniform = draws[code[3]] + 4 * first * code[4]
            if op == GUMBEL:
                add_gumbel(source, uniform, rows, code[5], code[4])
            else:
                keep_drawn(source, uniform, mask, rows, code[5], code[4], code[6] * 1e-6)


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
    table = carray(as_pointer(program), (1 + length, FIELDS), np.int64)
    mask_at = carray(as_pointer(job + 8 * JOB), (layers,), np.int64)
    draw_at = carray(as_pointer(job + 8 * (JOB + layers)), (layers,), np.int64)
    chunk = max(1, min(chunk, stop - start))
    work = np.empty(chunk * floats + 16, np.float32)
    # Vectors that straddle two cache lines take twice as long.
    base = (np.int64(work.ctypes.data) + 63) // 64 * 64
    wrong = 0
    for first in range(start, stop, chunk):
        rows = min(chunk, stop - first)
        for n in range(length):
            code = table[1 + n]
            # Places are multiples of whole cache lines.
            source = base + 4 * chunk * code[1]
            if code[1] == IMAGES:
                source = images + 4 * first * features
            target = base + 4 * chunk * code[2]
            if code[2] == LOGITS:
                target = logits + 4 * first * classes
            if code[0] == CHECK:
                if not symbols_fit(source, rows * features // 2, code[3]):
                    wrong = 1
                    break
            else:
                run_instruction(code, source, target, mask_at, draw_at, first, rows)
    # Numba frees an array after its last use, and an address is none.
    work[0] = 0
    return wrong
