"""Tables that come with the package: a name -> right or wrong of every mask, and first looks.

For each network there are two: one of validation images, to play and to learn by, and one of test
images, the judge's, which has no name for the environment: see `ccenv.mask_table.leaderboard`.
"""

import functools
from pathlib import Path

import numpy as np

from ccenv.base.registry import nearest
from ccenv.base.values import shown
from ccenv.mask_table.table import MaskTable, read_table

FOLDER = Path(__file__).parent / "tables"
SHIPPED = ("resnet20",)
"""ResNet-20 with the weights that come with the package, on CIFAR-10."""
MOST_BYTES = 2_000_000
"""Of a file; more does not belong into a package."""


def table_of(table: str | Path | MaskTable) -> MaskTable:
    """A table itself, one that comes with the package by its name, or a file's.

    Raises:
        FileNotFoundError, ValueError: see `read_table`.
    """
    if isinstance(table, MaskTable):
        return table
    if str(table) in SHIPPED:
        return shipped_table(str(table), "validation")
    try:
        is_file = Path(table).exists()
    except OSError:
        # Such as a name that is longer than a file's may be.
        is_file = False
    if not is_file:
        raise FileNotFoundError(
            "expected a file of ccenv table build, or a table of the package, got "
            f"{shown(str(table))}; "
            f"{nearest(str(table), SHIPPED)}"
        )
    return read_table(Path(table))


@functools.cache
def shipped_table(name: str, split: str) -> MaskTable:
    """One that comes with the package; of "test" only the judge asks."""
    return read_table(FOLDER / f"{name}-{split}.safetensors")


def small(table: MaskTable) -> MaskTable:
    """What fits into a package: bits, first looks rounded to 16 bits, bills."""
    look = None if table.look is None else table.look.astype(np.float16)
    return MaskTable(table.header, table.right, None, table.macs, look, table.bills)
