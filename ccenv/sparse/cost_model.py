"""Tells up to how many kept pairs of blocks the kernels are faster than one dense product.

Both ways are counted in MACs. A kept pair of blocks counts as if both sides were `EDGE` units
wider, because small blocks do not fill the vectors; forward, each block of each row counts as
`LISTED` more. The kernels are chosen where this is at most a share of the dense product's MACs.

The shares are fitted by `python -m ccenv.runs.lab route-rule` to recorded times. The six numbers do
not depend on the machine, so that results repeat. A wrong choice costs time alone.
"""

from ccenv.sparse.operands import Sizes

EDGE = 12
"""units that are added to both sides of a kept pair of blocks."""
LISTED = 200
"""MACs as which a row's block counts, kept or not, where no gradients follow."""
FORWARD = 1.35
"""share of a dense product's MACs up to which the kernels are chosen, without gradients."""
TRAINING = 1.05
"""the same with gradients, for many rows."""
FEW_TRAINING = 0.35
"""the same with gradients, for up to `FEW_ROWS` rows."""
FEW_ROWS = 32
"""rows up to which a dense product between masks runs in the kernels while training."""


def most_pairs(sizes: Sizes, *, is_training: bool) -> float:
    """Kept pairs of blocks, of all rows, up to which the kernels are expected to be faster.

    Args:
        sizes: rows, input blocks, units of one, output blocks, units of one.
        is_training: whether gradients follow.
    """
    rows, in_blocks, in_size, out_blocks, out_size = sizes
    dense_macs = rows * in_blocks * in_size * out_blocks * out_size
    if is_training:
        most = (FEW_TRAINING if rows <= FEW_ROWS else TRAINING) * dense_macs
    else:
        most = FORWARD * dense_macs - LISTED * rows * (in_blocks + out_blocks)
    return most / pair_macs(in_size, out_size)


def pair_macs(in_size: int, out_size: int) -> int:
    """MACs as which a kept pair of blocks of so many units counts.

    >>> pair_macs(16, 8)
    560
    """
    return (in_size + EDGE) * (out_size + EDGE)
