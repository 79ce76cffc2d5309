"""Tables that come with the package: a name -> right or wrong of every mask, and first looks.

For each network there are two: one of validation images, to play and to learn by, and one of test
images, by which `ccenv.mask_table.challenge` judges; the environment has no name for the latter.
"""

import functools
from pathlib import Path

import numpy as np

from ccenv.base.registry import check_names, nearest
from ccenv.base.values import shown
from ccenv.mask_table.table import MaskTable, read_table

FOLDER = Path(__file__).parent / "tables"
ENTRIES = FOLDER / "entries"
"""Policies that were recorded on these tables."""
SHIPPED = ("resnet20", "efficientnet", "mlp", "text")
"""ResNet-20 and EfficientNet-Lite0 on CIFAR-10, an MLP on MNIST, the next byte of Python code."""
MOST_BYTES = 2_000_000
"""Of a file; more does not belong into a package."""


def path_of(table: str | Path) -> Path:
    """The file of a table that comes with the package, by its name, or of another one.

    Raises:
        FileNotFoundError: if there is no such table.
    """
    if str(table) in SHIPPED:
        return FOLDER / f"{table}-validation.safetensors"
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
    return Path(table)


def table_of(table: str | Path | MaskTable) -> MaskTable:
    """A table itself, one that comes with the package by its name, or a file's.

    Raises:
        FileNotFoundError, ValueError: see `read_table`.
    """
    if isinstance(table, MaskTable):
        return table
    return shipped_table(str(table)) if str(table) in SHIPPED else read_table(path_of(table))


@functools.cache
def shipped_table(name: str, split: str = "validation") -> MaskTable:
    """A table that comes with the package: inputs to learn from.

    Args:
        name: one of `SHIPPED`.
        split: "validation"; the test inputs judge the challenge and are refused.

    Raises:
        ValueError: if the name is unknown, or another split is asked for.
    """
    check_names([name], SHIPPED, "table")
    if split != "validation":
        raise ValueError(
            f"expected split='validation', the inputs to learn from, got {split!r}: the answers of "
            "test inputs judge the challenge, and no policy sees them"
        )
    return read_table(path_of(name))


@functools.cache
def judging_table(name: str) -> MaskTable:
    """The test inputs of a network, for the challenge alone."""
    check_names([name], SHIPPED, "table")
    return read_table(FOLDER / f"{name}-test.safetensors")


def small(table: MaskTable) -> MaskTable:
    """What fits into a package: bits, first features rounded to 16 bits, MACs."""
    look = None if table.look is None else table.look.astype(np.float16)
    return MaskTable(table.header, table.right, None, table.macs, look, table.bills)
