"""A whole network, policy included, in one compiled call: (program, inputs) -> masks and logits.

For one input the calls between layers take longer than the layers. A program is a table of int64,
one row an instruction, which `fused.writer` writes. Inputs go through it some rows at
a time, so that what lies between two layers never leaves the cache. Windows of symbols, int64, lie
where inputs do, as twice as many floats.

Numbers between instructions lie in a workspace: "place p" starts p floats times the rows at once.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import carray, types

from ccenv.annexes.deploy.fused.parts import (
    WORD,
    add_noise,
    block_norms,
    kept_blocks,
    key_of_window,
    log_sum,
    pool_images,
    softplus,
    sum_of_rows,
    symbols_fit,
)
from ccenv.sparse.cpu.codegen.compiled import KERNELS, as_pointer, compiled, forget_stale, make_call
from ccenv.sparse.cpu.codegen.floats import add_floats, call_activate, copy_floats, walk_copy
from ccenv.sparse.cpu.codegen.micro_kernels import LOWER_HALF
from ccenv.sparse.cpu.codegen.vectors import highest_below, lowest_bit, sort_keys
from ccenv.sparse.cpu.kernels import call_multiply_kept

forget_stale(Path(__file__).parent, KERNELS)
FIELDS = 14
"""Numbers of a line of a program, zeros behind its own."""
IMAGES, LOGITS, NO_MASK = -1, -2, -1
JOB = 3
"""Addresses of a job before those of its masks: program, inputs, logits."""
HIGHEST = np.int64(2**63 - 1)


def fields_of(names: str) -> np.dtype[Any]:
    """A line of int64, by its names in order: `code_line` writes it, `numbers_at` reads it."""
    return np.dtype([(name, np.int64) for name in names.split()])


def code_line(names: np.dtype[Any], **numbers: int) -> list[int]:
    """A line of a program; TypeError where numbers are missing or have other names."""
    wanted = names.names or ()
    if {*numbers} != {*wanted}:
        raise TypeError(f"expected the numbers {wanted}, got {[*numbers]}")
    return [numbers[name] for name in wanted] + [0] * (FIELDS - len(wanted))


HEADER = fields_of("length layers features classes chunk floats")
"""First line: instructions, gated layers, features of an input, logits, most rows at once, floats
of one row's workspace."""
HEAD = "op source target "
"""First numbers of an instruction: address of the op, places; then its own, by the op."""
INSTRUCTION = fields_of(HEAD)
NAMES: dict[Any, np.dtype[Any]] = {}
"""Op -> names of its numbers."""


OP = types.int64(*[types.int64] * 7)
"""A kernel (code, x, y, masks, draws, first, rows) -> 0, or 1 where a symbol is wrong.

`code` is the address of the instruction: the op's own address, the places of x and y, then its
numbers. It reads from the address x of the first of some rows, and writes to y; masks and draws are
addresses of lists of addresses, one a gated layer; `first` is the rows' place among all.
"""
call_op = make_call(OP)


def operation(names: np.dtype[Any]) -> Callable[[Callable[..., int]], Any]:
    """Compiles an op whose instructions have such numbers."""

    def kept(function: Callable[..., int]) -> Any:
        op = compiled(function)
        NAMES[op] = names
        return op

    return kept


@compiled
def numbers_at(code: int, names: Any) -> Any:
    """What a line holds, by names."""
    return carray(as_pointer(code), (1,), names)[0]


@compiled
def rows_of_mask(masks: int, layer: int, skipped: int) -> int:
    """Address of a layer's mask behind its first bytes, 0 where there is no mask."""
    if layer == NO_MASK:
        return 0
    return carray(as_pointer(masks + 8 * layer), (1,), np.int64)[0] + skipped


LAYER = fields_of(
    HEAD + "in_gate gate weights row panel bias in_blocks in_size blocks size activation"
)
"""Gates are those of the masks on both sides, or NO_MASK; rows and panels lie so far apart."""


@operation(LAYER)
def layer(code: int, x: int, y: int, masks: int, draws: int, first: int, rows: int) -> int:
    """A block-sparse layer; skipped blocks are not written, and nothing reads them."""
    c = numbers_at(code, LAYER)
    call_multiply_kept(
        x,
        c.weights,
        c.row,
        1,
        c.panel,
        c.bias,
        rows_of_mask(masks, c.in_gate, first * c.in_blocks),
        rows_of_mask(masks, c.gate, first * c.blocks),
        y,
        c.in_blocks,
        c.in_size,
        c.blocks,
        c.size,
        c.activation,
        0,
        0,
        rows,
        0,
        c.blocks,
    )
    return 0


FILL = fields_of(HEAD + "row columns")


@operation(FILL)
def fill_rows(code: int, x: int, y: int, masks: int, draws: int, first: int, rows: int) -> int:
    """The same floats in every row."""
    c = numbers_at(code, FILL)
    for b in range(rows):
        copy_floats(c.row, y + 4 * b * c.columns, c.columns)
    return 0


COPY = fields_of(HEAD + "row_distance columns")


@operation(COPY)
def copy(code: int, x: int, y: int, masks: int, draws: int, first: int, rows: int) -> int:
    """The first columns of rows, side by side."""
    c = numbers_at(code, COPY)
    for b in range(rows):
        copy_floats(x + 4 * b * c.row_distance, y + 4 * b * c.columns, c.columns)
    return 0


POOL = fields_of(HEAD + "row_distance channels height width down across")


@operation(POOL)
def pool_windows(code: int, x: int, y: int, masks: int, draws: int, first: int, rows: int) -> int:
    """Averages of windows."""
    c = numbers_at(code, POOL)
    sizes = c.row_distance, c.channels, c.height, c.width, c.down, c.across
    pool_images(x, y, rows, *sizes)
    return 0


NORMS = fields_of(HEAD + "gate blocks size apart column row_distance")
"""Blocks lie `apart` floats from one another."""


@operation(NORMS)
def norms(code: int, x: int, y: int, masks: int, draws: int, first: int, rows: int) -> int:
    """Norms of blocks, written from a column on."""
    c = numbers_at(code, NORMS)
    mask = rows_of_mask(masks, c.gate, first * c.blocks)
    sizes = c.row_distance, c.blocks, c.size, c.apart
    block_norms(x, mask, y + 4 * c.column, rows, *sizes)
    return 0


BLANK = fields_of(HEAD + "gate blocks size")


@operation(BLANK)
def blank_skipped(code: int, x: int, y: int, masks: int, draws: int, first: int, rows: int) -> int:
    """Zeros in the units of skipped blocks."""
    c = numbers_at(code, BLANK)
    units = carray(as_pointer(y), (rows, c.blocks, c.size), np.float32)
    mask = rows_of_mask(masks, c.gate, first * c.blocks)
    bits = carray(as_pointer(mask), (rows, c.blocks), np.uint8)
    for b in range(rows):
        for j in range(units.shape[1]):
            for k in range(units.shape[2]):
                units[b, j, k] = units[b, j, k] if bits[b, j] else np.float32(0)
    return 0


RULE = fields_of(HEAD + "gate blocks row_distance num_kept millionths")
"""Rows of scores are whole vectors: multiples of 16. The lowest probability is in millionths."""


@operation(RULE)
def top_k(code: int, x: int, y: int, masks: int, draws: int, first: int, rows: int) -> int:
    """Keeps the blocks of highest score, the first of equal ones; NaN counts as highest."""
    c = numbers_at(code, RULE)
    mask = rows_of_mask(masks, c.gate, first * c.blocks)
    bits = carray(as_pointer(mask), (rows, c.blocks), np.uint8)
    ld, blocks, num_kept = c.row_distance, c.blocks, c.num_kept
    vectors = ld // 16
    keys = np.empty(ld, np.int64)
    at_keys = np.int64(keys.ctypes.data)
    for b in range(rows):
        bits[b, :] = 0
        # The highest of many whole numbers is found in vectors, which no compiler does with floats.
        sort_keys(x + 4 * b * ld, vectors, blocks, at_keys)
        key = HIGHEST
        for _ in range(num_kept):
            # No two are equal, so nothing has to be taken out of memory that is just being read.
            key = highest_below(at_keys, vectors, key)
            bits[b, -key & LOWER_HALF] = 1
    # Numba frees an array after its last use, and does not see addresses.
    keys[0] = 0
    return 0


@operation(RULE)
def greedy(code: int, x: int, y: int, masks: int, draws: int, first: int, rows: int) -> int:
    """Keeps blocks of positive score: those kept with a probability above one half."""
    c = numbers_at(code, RULE)
    mask = rows_of_mask(masks, c.gate, first * c.blocks)
    bits = carray(as_pointer(mask), (rows, c.blocks), np.uint8)
    scores = carray(as_pointer(x), (rows, c.row_distance), np.float32)
    for b in range(rows):
        for j in range(bits.shape[1]):
            bits[b, j] = scores[b, j] > 0
    return 0


@operation(RULE)
def one_or_coins(code: int, x: int, y: int, masks: int, draws: int, first: int, rows: int) -> int:
    """Keeps the best block, none, or those of positive coins: `ccenv.mdp.choosers.mixed_mode`."""
    c = numbers_at(code, RULE)
    mask = rows_of_mask(masks, c.gate, first * c.blocks)
    bits = carray(as_pointer(mask), (rows, c.blocks), np.uint8)
    scores = carray(as_pointer(x), (rows, c.row_distance), np.float32)
    blocks = bits.shape[1]
    for b in range(rows):
        # The number behind that of the last block stands for none of them.
        best, positive, last = 0, 0, blocks
        # Log-probabilities by the coins, of their own mode and of the best block alone.
        tossed, alone, total = 0.0, 0.0, 0.0
        for j in range(blocks):
            best = j if scores[b, j] > scores[b, best] else best
            coin = scores[b, blocks + 1 + j] + scores[b, j]
            tossed -= softplus(-abs(coin))
            alone -= softplus(coin)
            bits[b, j] = coin > 0
            positive += bits[b, j]
            last = j if bits[b, j] else last
        best = blocks if scores[b, blocks] > scores[b, best] else best
        if best < blocks:
            alone += scores[b, blocks + 1 + best] + scores[b, best]
        for j in range(blocks + 1):
            total += math.exp(scores[b, j] - scores[b, best])
        weight = scores[b, 2 * blocks + 1]
        coins, one = -softplus(weight), -softplus(-weight) - math.log(total)
        tossed += coins
        if positive <= 1:
            tossed = log_sum(tossed, one + scores[b, last] - scores[b, best])
        if log_sum(alone + coins, one) > tossed:
            for j in range(blocks):
                bits[b, j] = j == best
    return 0


@operation(RULE)
def draw_blocks(code: int, x: int, y: int, masks: int, draws: int, first: int, rows: int) -> int:
    """Keeps a block if its uniform number is below low + (1 - 2 low) sigmoid(score)."""
    c = numbers_at(code, RULE)
    mask = rows_of_mask(masks, c.gate, first * c.blocks)
    bits = carray(as_pointer(mask), (rows, c.blocks), np.uint8)
    scores = carray(as_pointer(x), (rows, c.row_distance), np.float32)
    uniform = rows_of_mask(draws, c.gate, 4 * first * c.blocks)
    numbers = carray(as_pointer(uniform), (rows, c.blocks), np.float32)
    low = c.millionths * 1e-6
    for b in range(rows):
        for j in range(bits.shape[1]):
            probability = low + (1 - 2 * low) / (1 + math.exp(-scores[b, j]))
            bits[b, j] = numbers[b, j] < probability
    return 0


@operation(RULE)
def gumbel(code: int, x: int, y: int, masks: int, draws: int, first: int, rows: int) -> int:
    """Gumbel noise on scores, in place."""
    c = numbers_at(code, RULE)
    uniform = rows_of_mask(draws, c.gate, 4 * first * c.blocks)
    # The best k are then k draws without replacement.
    for b in range(rows):
        add_noise(uniform + 4 * b * c.blocks, x + 4 * b * c.row_distance, c.blocks)
    return 0


CHECK = fields_of(HEAD + "num_symbols window")


@operation(CHECK)
def check(code: int, x: int, y: int, masks: int, draws: int, first: int, rows: int) -> int:
    """Whether all symbols are in the vocabulary."""
    c = numbers_at(code, CHECK)
    return 0 if symbols_fit(x, rows * c.window, c.num_symbols) else 1


LOOK_UP = fields_of(HEAD + "window place places table size")
"""The first place of a window that is looked up, and how many are."""


@operation(LOOK_UP)
def look_up_rows(code: int, x: int, y: int, masks: int, draws: int, first: int, rows: int) -> int:
    """Rows of a table float32 [num_symbols, size] side by side: [rows, places * size]."""
    c = numbers_at(code, LOOK_UP)
    places, size = c.places, c.size
    values = carray(as_pointer(x), (rows, c.window), np.int64)
    for b in range(rows):
        for place in range(places):
            to = y + 4 * (b * places + place) * size
            row = c.table + 4 * values[b, c.place + place] * size
            if size == 8:
                walk_copy(row, to, 8)
            else:
                copy_floats(row, to, size)
    return 0


SUM = fields_of(HEAD + "gate blocks window place places num_symbols table size activation")
"""As LOOK_UP, of tables float32 [blocks, places, num_symbols, size]."""


@operation(SUM)
def add_up_rows(code: int, x: int, y: int, masks: int, draws: int, first: int, rows: int) -> int:
    """Writes activation(sum over places of a row of each place's table), on kept blocks alone."""
    c = numbers_at(code, SUM)
    mask = rows_of_mask(masks, c.gate, first * c.blocks)
    blocks, size, places = c.blocks, c.size, c.places
    apart = c.num_symbols * size
    for b in range(rows):
        at = x + 8 * (b * c.window + c.place)
        for start in range(0, blocks, WORD):
            kept = kept_blocks(mask, b, blocks, start)
            while kept != np.uint64(0):
                j = start + lowest_bit(kept)
                kept &= kept - np.uint64(1)
                to = y + 4 * (b * blocks + j) * size
                sum_of_rows(at, places, c.table + 4 * j * places * apart, apart, size, to)
                call_activate(to, size, c.activation)
    return 0


ENTRIES = fields_of(HEAD + "gate blocks window num_keys num_symbols table size activation")
"""The last symbols name a row together, of float32 [num_symbols ** num_keys, blocks, size]."""


@operation(ENTRIES)
def add_entries(code: int, x: int, y: int, masks: int, draws: int, first: int, rows: int) -> int:
    """Adds what the last symbols say to kept blocks, then applies the activation in place."""
    c = numbers_at(code, ENTRIES)
    mask = rows_of_mask(masks, c.gate, first * c.blocks)
    blocks, size = c.blocks, c.size
    for b in range(rows):
        entry = key_of_window(x + 8 * b * c.window, c.window, c.num_keys, c.num_symbols)
        for start in range(0, blocks, WORD):
            kept = kept_blocks(mask, b, blocks, start)
            while kept != np.uint64(0):
                j = start + lowest_bit(kept)
                kept &= kept - np.uint64(1)
                to = y + 4 * (b * blocks + j) * size
                add_floats(c.table + 4 * (entry * blocks + j) * size, to, size)
                call_activate(to, size, c.activation)
    return 0


LISTED = fields_of(HEAD + "gate blocks window num_keys num_symbols table num_kept")


@operation(LISTED)
def listed(code: int, x: int, y: int, masks: int, draws: int, first: int, rows: int) -> int:
    """Keeps the blocks that a table int64 [num_symbols ** num_keys, num_kept] lists."""
    c = numbers_at(code, LISTED)
    mask = rows_of_mask(masks, c.gate, first * c.blocks)
    bits = carray(as_pointer(mask), (rows, c.blocks), np.uint8)
    num_kept = c.num_kept
    for b in range(rows):
        bits[b, :] = 0
        entry = key_of_window(x + 8 * b * c.window, c.window, c.num_keys, c.num_symbols)
        listed = carray(as_pointer(c.table + 8 * entry * num_kept), (num_kept,), np.int64)
        for q in range(num_kept):
            bits[b, listed[q]] = 1
    return 0


@compiled
def run_program(job: int, start: int, stop: int) -> int:
    """Runs a program on the rows from start to stop; 0, or 1 where CHECK has found a wrong symbol.

    Everything else lies behind one address, because each argument of a call takes its time. Nothing
    is looked up of rows with a wrong symbol.

    Args:
        job: address of int64 addresses: of the program, which is int64 [1 + length, FIELDS] with
            its `HEADER` in the first line; of the inputs, float32 [rows, features]; of the
            logits, float32 [rows, classes], written; then one a gated layer, each of bool [rows,
            blocks], read, or written where an instruction chooses; then, if an instruction draws,
            the same for uniform numbers, float32.
        start: first row.
        stop: row behind the last one.
    """
    addresses = carray(as_pointer(job), (JOB,), np.int64)
    program, inputs, logits = addresses[0], addresses[1], addresses[2]
    head = numbers_at(program, HEADER)
    masks = job + 8 * JOB
    draws = masks + 8 * head.layers
    chunk = max(1, min(head.chunk, stop - start))
    work = np.empty(chunk * head.floats + 16, np.float32)
    # Vectors that straddle two cache lines take twice as long.
    base = (np.int64(work.ctypes.data) + 63) // 64 * 64
    wrong = 0
    for first in range(start, stop, chunk):
        rows = min(chunk, stop - first)
        for n in range(head.length):
            at = program + 8 * (1 + n) * FIELDS
            code = numbers_at(at, INSTRUCTION)
            # Places are multiples of whole cache lines.
            source = base + 4 * chunk * code.source
            if code.source == IMAGES:
                source = inputs + 4 * first * head.features
            target = base + 4 * chunk * code.target
            if code.target == LOGITS:
                target = logits + 4 * first * head.classes
            if call_op(code.op, at, source, target, masks, draws, first, rows) != 0:
                wrong = 1
                break
    # Numba frees an array after its last use, and does not see addresses.
    work[0] = 0
    return wrong
