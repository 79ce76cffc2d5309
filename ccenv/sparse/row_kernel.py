"""Products row by row, for masks so sparse that rows hardly share a weight: one row's sums at once.

Sorting rows by pairs of blocks costs more than it saves where a pair has one row or two. Here a
row's output block is summed in registers over all input blocks that the row keeps; output blocks
come one after the other, so that the weights of one are in cache for all of its rows.
"""

from typing import Any

import numpy as np

from ccenv.sparse.panels import LOWER_HALF, make_row
from ccenv.sparse.tiles import activate, compiled

row_64, row_32, row_16 = make_row(64), make_row(32), make_row(16)
row_8, row_4, row_1 = make_row(8), make_row(4), make_row(1)


@compiled
def multiply_rows(
    inputs: Any,
    x: int,
    ldx: int,
    in_size: int,
    entries: Any,
    kept: Any,
    starts: Any,
    w: int,
    ldw: int,
    panel: int,
    bias: int,
    rows: Any,
    counts: Any,
    y: int,
    out_size: int,
    activation: int,
) -> None:
    """As `multiply_blocks` of the kernels, without sorting rows by the blocks they share."""
    out_blocks = len(rows)
    places = np.empty(len(starts), np.int64)
    weights = np.empty(len(starts), np.int64)
    at_places, at_weights = np.int64(places.ctypes.data), np.int64(weights.ctypes.data)
    zeros = np.zeros(out_size if bias == 0 else 0, np.float32)
    for j in range(out_blocks):
        begin = np.int64(zeros.ctypes.data) if bias == 0 else bias + 4 * j * out_size
        for r in range(counts[j]):
            b = np.int64(rows[j, r])
            num = kept[b]
            for q in range(num):
                i = entries[b, q] >> 32
                places[q] = x + 4 * in_size * starts[i] + (entries[b, q] & LOWER_HALF) * ldx
                weights[q] = w + 4 * (j * panel + i * in_size * ldw)
            to = y + 4 * (b * out_blocks + j) * out_size
            c = 0
            while c < out_size:
                left, shift = out_size - c, 4 * c
                if left >= 64:
                    row_64(at_places, at_weights, num, in_size, ldw, begin + shift, to + shift)
                    step = 64
                elif left >= 32:
                    row_32(at_places, at_weights, num, in_size, ldw, begin + shift, to + shift)
                    step = 32
                elif left >= 16:
                    row_16(at_places, at_weights, num, in_size, ldw, begin + shift, to + shift)
                    step = 16
                elif left >= 8:
                    row_8(at_places, at_weights, num, in_size, ldw, begin + shift, to + shift)
                    step = 8
                elif left >= 4:
                    row_4(at_places, at_weights, num, in_size, ldw, begin + shift, to + shift)
                    step = 4
                else:
                    row_1(at_places, at_weights, num, in_size, ldw, begin + shift, to + shift)
                    step = 1
                c += step
                if c < out_size:
                    for q in range(num):
                        weights[q] += 4 * step
            activate(to, out_size, activation)
