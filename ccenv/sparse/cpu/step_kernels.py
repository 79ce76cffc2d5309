"""Compiled kernels of a step: its MACs, its answers and its observations.

Each call does the work of some ten small calls of torch, whose own time is that of a small layer;
numbers are the same by bits. Addresses are int64, as in the CPU kernels.
"""

import numpy as np
from numba import carray

from ccenv.sparse.cpu.codegen.compiled import as_pointer, compiled


@compiled
def kept_blocks(mask: int, row: int, blocks: int, ld: int) -> int:
    """Number of blocks that a row keeps; rows lie `ld` bytes apart."""
    kept = carray(as_pointer(mask + row * ld), (blocks,), np.uint8)
    count = 0
    for bit in kept:
        count += bit
    return count


@compiled
def add_layer_macs(
    mask: int,
    blocks: int,
    ld: int,
    size: int,
    before: int,
    before_blocks: int,
    before_ld: int,
    before_size: int,
    head: int,
    fixed: int,
    total: int,
    spent: int,
    rows: int,
    macs: int,
    layer_cost: int,
    compute_cost: int,
) -> None:
    """Writes MACs so far, and as shares of all MACs what the layer costs and the costs so far.

    `mask` is bool [rows, blocks], rows `ld` bytes apart, blocks of `size` units; `before` is that
    of the layer before, or 0 where all `before_size` inputs are read. `head` units more read each
    unit that is kept; `fixed` MACs are always executed, of the dense network's `total`. `spent` and
    `macs` (written) are int64 [rows], both costs (written) float32 [rows].
    """
    old = carray(as_pointer(spent), (rows,), np.int64)
    new = carray(as_pointer(macs), (rows,), np.int64)
    now = carray(as_pointer(layer_cost), (rows,), np.float32)
    so_far = carray(as_pointer(compute_cost), (rows,), np.float32)
    every = np.float32(total)
    for row in range(rows):
        inputs = before_size
        if before != 0:
            inputs *= kept_blocks(before, row, before_blocks, before_ld)
        kept = kept_blocks(mask, row, blocks, ld) * size
        step = kept * (inputs + head) + fixed
        new[row] = old[row] + step
        now[row] = np.float32(step) / every
        so_far[row] = np.float32(new[row]) / every


@compiled
def compare(
    logits: int, labels: int, rows: int, classes: int, prediction: int, right: int, chosen: int
) -> int:
    """Compares logits float32 [rows, classes] with labels int64 [rows].

    Writes `prediction` int64 [rows], the first of the largest, `right` float32 [rows], 1 where that
    is the label, and `chosen` float32 [rows], the label's logit. Returns 1 where all logits are
    finite, 0 where one is not, and -1 where a label is no class.
    """
    scores = carray(as_pointer(logits), (rows, classes), np.float32)
    true = carray(as_pointer(labels), (rows,), np.int64)
    answer = carray(as_pointer(prediction), (rows,), np.int64)
    is_right = carray(as_pointer(right), (rows,), np.float32)
    of_label = carray(as_pointer(chosen), (rows,), np.float32)
    are_finite = 1
    for row in range(rows):
        if not 0 <= true[row] < classes:
            return -1
        best = 0
        for place in range(classes):
            if not np.isfinite(scores[row, place]):
                are_finite = 0
            if scores[row, place] > scores[row, best]:
                best = place
        answer[row] = best
        is_right[row] = np.float32(best == true[row])
        of_label[row] = scores[row, true[row]]
    return are_finite


@compiled
def write_looks(
    looks: int, ld: int, width: int, rows: int, columns: int, shown: int, observation: int
) -> None:
    """Writes observations: looks, rows `ld` floats apart, then zeros, and a one at `shown`.

    Looks are float32 [rows, width], observations float32 [rows, columns]; -1 shows no one.
    """
    for row in range(rows):
        target = observation + 4 * row * columns
        look = carray(as_pointer(looks + 4 * row * ld), (width,), np.float32)
        to = carray(as_pointer(target), (columns,), np.float32)
        # Slices of arrays: numba would compile a message of their shapes, for seconds.
        for column in range(columns):
            to[column] = look[column] if column < width else np.float32(0)
        if shown >= 0:
            to[shown] = np.float32(1)
