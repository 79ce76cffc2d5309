"""All that a step says beside activations, compiled: (bits, sizes) -> masks, bills, rewards.

One call does what some sixty small calls of torch and numpy do otherwise, and the numbers are the
same by bits. Rows of `whole` and `shares` are named below.
"""

from typing import Any

import numpy as np

from ccenv.mdp.step_kernels import bill
from ccenv.sparse.cpu.codegen.compiled import compiled

MACS, SPENT, LAYER, VERSION, LABEL, PREDICTION = range(6)
"""Rows of `whole`: MACs so far twice (one for the state), the gate, updates, class and answer."""
LAYER_COST, COMPUTE_COST, COST, ACCURACY, PAID, REWARD = range(6)
"""Rows of `shares`: costs, the first of them twice, the reward's two terms and their sum."""
FIRST = np.zeros((0, 0), dtype=np.bool_)
"""The mask before the first gate."""


@compiled
def settle(
    given: Any,
    own: Any,
    padded: Any,
    before: Any,
    size: int,
    before_size: int,
    head: int,
    fixed: int,
    total: int,
    layer: int,
    version: int,
    price: float,
    spent: Any,
    whole: Any,
    shares: Any,
) -> int:
    """Reads a mask and settles its bill; returns where the first number is no bit, or -1.

    Args:
        given: uint8 [rows, width]; what the caller chose.
        own: bool [rows, blocks of the gate], written.
        padded: bool [rows, width], written: the same, False beyond the gate's blocks.
        before: bool [rows, blocks of the gate before], or `FIRST`.
        size: units of a block.
        before_size: of the gate before; the number of inputs where there is none.
        head: units that read each unit which is kept, beside the layer.
        fixed: MACs that are always executed.
        total: of the dense network.
        layer: number of the gate.
        version: of the network.
        price: of the dense network's MACs, in the reward `accuracy_minus_cost`.
        spent: int64 [rows]; MACs before.
        whole: int64 [6, rows], the first four written.
        shares: float32 [6, rows], written for answers that are not right, or not there yet.
    """
    (rows, width), blocks = given.shape, own.shape[1]
    for row in range(rows):
        for block in range(width):
            bit = given[row, block]
            if bit > 1:
                return row * width + block
            padded[row, block] = bit and block < blocks
        own[row] = padded[row, :blocks]
    bill(
        np.int64(own.ctypes.data),
        blocks,
        blocks,
        size,
        np.int64(before.ctypes.data) if before.size > 0 else 0,
        before.shape[1],
        before.shape[1],
        before_size,
        head,
        fixed,
        total,
        np.int64(spent.ctypes.data),
        rows,
        np.int64(whole.ctypes.data),
        np.int64(shares.ctypes.data),
    )
    charge = np.float32(-price)
    for row in range(rows):
        whole[SPENT, row] = whole[MACS, row]
        whole[LAYER, row], whole[VERSION, row] = layer, version
        shares[COST, row] = shares[LAYER_COST, row]
        shares[ACCURACY, row] = np.float32(0)
        shares[PAID, row] = charge * shares[LAYER_COST, row]
        shares[REWARD, row] = shares[ACCURACY, row] + shares[PAID, row]
    return -1


@compiled
def judge(logits: Any, labels: Any, whole: Any, shares: Any, right: Any) -> bool:
    """Pays right answers; returns whether all logits are finite.

    Args:
        logits: float32 [rows, classes].
        labels: int64 [rows].
        whole: as in `settle`; the last two rows are written.
        shares: as in `settle`.
        right: bool [rows], written.
    """
    rows, classes = logits.shape
    are_finite = True
    for row in range(rows):
        best = 0
        for answer in range(classes):
            are_finite &= np.isfinite(logits[row, answer])
            if logits[row, answer] > logits[row, best]:
                best = answer
        whole[LABEL, row], whole[PREDICTION, row] = labels[row], best
        right[row] = best == labels[row]
        shares[ACCURACY, row] = np.float32(right[row])
        shares[REWARD, row] = shares[ACCURACY, row] + shares[PAID, row]
    return are_finite
