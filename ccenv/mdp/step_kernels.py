"""Bills, answers, observations, compiled: what a step costs, what came of it, what is seen.

Each call does the work of some ten small calls of torch, whose own time is that of a small layer;
numbers are the same by bits. Addresses are int64, as in the CPU kernels.
"""

from pathlib import Path

import numpy as np
from numba import carray

from ccenv.sparse.cpu.codegen.compiled import KERNELS, compiled, forget_stale
from ccenv.sparse.cpu.codegen.micro_kernels import as_pointer

forget_stale(Path(__file__).parent, KERNELS)


@compiled
def count_kept(mask: int, row: int, blocks: int, ld: int) -> int:
    """Number of blocks that a row keeps; rows lie `ld` bytes apart."""
    kept = carray(as_pointer(mask + row * ld), (blocks,), np.uint8)
    count = 0
    for bit in kept:
        count += bit
    return count


@compiled
def bill(
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

    Args:
        mask: bool [rows, blocks], rows `ld` bytes apart.
        blocks: of the layer.
        ld: see above.
        size: units of a block.
        before: the mask of the layer before, or 0: all `before_size` inputs are read.
        before_blocks: of the layer before.
        before_ld: bytes between rows of that mask.
        before_size: units of a block of the layer before.
        head: units that read each unit which is kept, beside the layer.
        fixed: MACs that are always executed.
        total: of the dense network.
        spent: int64 [rows], MACs before.
        rows: number of rows.
        macs: int64 [rows], written.
        layer_cost: float32 [rows], written.
        compute_cost: float32 [rows], written.
    """
    old = carray(as_pointer(spent), (rows,), np.int64)
    new = carray(as_pointer(macs), (rows,), np.int64)
    now = carray(as_pointer(layer_cost), (rows,), np.float32)
    so_far = carray(as_pointer(compute_cost), (rows,), np.float32)
    every = np.float32(total)
    for row in range(rows):
        inputs = before_size
        if before != 0:
            inputs *= count_kept(before, row, before_blocks, before_ld)
        kept = count_kept(mask, row, blocks, ld) * size
        step = kept * (inputs + head) + fixed
        new[row] = old[row] + step
        now[row] = np.float32(step) / every
        so_far[row] = np.float32(new[row]) / every


@compiled
def judge(
    logits: int, labels: int, rows: int, classes: int, prediction: int, right: int, chosen: int
) -> int:
    """Writes answers, whether they are right, and logits of labels.

    Returns 1 where all logits are finite, 0 where one is not, and -1 where a label is no class.

    Args:
        logits: float32 [rows, classes].
        labels: int64 [rows].
        rows: number of rows.
        classes: of an answer.
        prediction: int64 [rows], written: the first of the largest.
        right: float32 [rows], written: 1 where that is the label, else 0.
        chosen: float32 [rows], written: the label's logit.
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
def show(
    looks: int, ld: int, width: int, rows: int, columns: int, shown: int, observation: int
) -> None:
    """Writes observations float32 [rows, columns]: looks, then zeros, and a one at `shown`.

    Args:
        looks: float32 [rows, width], rows `ld` floats apart.
        ld: see above.
        width: columns of the looks.
        rows: number of rows.
        columns: of an observation.
        shown: column of the one; -1 for none.
        observation: written.
    """
    for row in range(rows):
        target = observation + 4 * row * columns
        found = carray(as_pointer(looks + 4 * row * ld), (width,), np.float32)
        to = carray(as_pointer(target), (columns,), np.float32)
        to[:width] = found
        to[width:] = np.float32(0)
        if shown >= 0:
            to[shown] = np.float32(1)
