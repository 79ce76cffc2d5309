"""A residual sum of some rows, compiled: (base, added, rows) -> base with sums in these rows."""

import numpy as np

from ccenv.sparse.cpu.codegen.compiled import compiled


@compiled
def merge(base: np.ndarray, added: np.ndarray, rows: np.ndarray, y: np.ndarray) -> None:
    """Writes base [n, size], and base + added [kept, size] in the given rows, which rise."""
    place = 0
    for row in range(base.shape[0]):
        if place < rows.shape[0] and rows[place] == row:
            for i in range(base.shape[1]):
                y[row, i] = base[row, i] + added[place, i]
            place += 1
        else:
            for i in range(base.shape[1]):
                y[row, i] = base[row, i]


@compiled
def merge_relu(base: np.ndarray, added: np.ndarray, rows: np.ndarray, y: np.ndarray) -> None:
    """The same, and ReLU of the sums; what is no number stays so, as in torch."""
    place = 0
    for row in range(base.shape[0]):
        if place < rows.shape[0] and rows[place] == row:
            for i in range(base.shape[1]):
                value = base[row, i] + added[place, i]
                y[row, i] = np.float32(0.0) if value < 0 else value
            place += 1
        else:
            for i in range(base.shape[1]):
                y[row, i] = base[row, i]
