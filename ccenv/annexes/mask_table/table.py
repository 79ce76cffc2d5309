"""The table of masks: (inputs, numbers of masks) -> right or wrong, nll, MACs; a checked file.

Some come with the package, for each network two: one of validation inputs, to play and to learn by,
and one of test inputs, by which tasks of the suite judge; the environment has no name
for the latter.
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccenv.annexes.mask_table.exact import Outcomes
from ccenv.annexes.mask_table.header import (
    NUMBERS,
    Header,
    has_all_masks,
    header_from,
    header_text,
    num_masks_of,
)
from ccenv.base.files import DamagedFileError, read_parts, write_arrays
from ccenv.base.registry import check_names, nearest
from ccenv.base.values import shown

KIND = "ccenv table of masks"
SCORES = ("right", "log_likelihood")
NEEDED, OPTIONAL = ("right", "macs", "look", "bills"), ("nll",)
"""arrays of a file."""
LOOK_TYPES = (np.float32, np.float16)
FOLDER = Path(__file__).parent / "tables"
"""Policies that were recorded on these tables."""
SHIPPED = ("resnet20", "efficientnet", "mlp", "text")
"""ResNet-20 and EfficientNet-Lite0 on CIFAR-10, an MLP on MNIST, the next byte of Python code."""
MOST_BYTES = 2_000_000
"""Of a file; more does not belong into a package."""


@dataclass(frozen=True)
class MaskTable:
    """What every mask of a menu answers for every input."""

    header: Header
    """what it is of."""
    right: NDArray[np.uint8]
    """[num_images, ceil(num_masks / 8)]; bits, the first mask as the highest of the first byte."""
    nll: NDArray[np.float16] | None
    """[num_images, num_masks] in nats; None: a table of bits alone."""
    macs: NUMBERS
    """[num_masks]; of one input, stem, head and exits that are looked at included."""
    look: NDArray[np.float32] | NDArray[np.float16]
    """[num_images, look_size]; features offered at the first gate, float16 where a file has
    to be small."""
    bills: NUMBERS
    """[num_prefixes]; MACs so far after the masks of the first gate, of the first two, and so on,
    each in counting order; the last `num_masks` are `macs`."""

    def bills_of(self, gate: int) -> NUMBERS:
        """MACs so far once a gate is decided, for every prefix of masks: int64 [prefixes]."""
        counts = num_prefixes(self.header)
        first = sum(counts[:gate])
        return self.bills[first : first + counts[gate]]

    def is_right(self) -> NDArray[np.bool_]:
        """All bits: bool [num_images, num_masks]."""
        return np.unpackbits(self.right, axis=1, count=self.header.num_masks).view(bool)

    def outcomes(self, score: str = "right") -> Outcomes:
        """For the exact tools.

        Args:
            score: "right" (1 or 0) or "log_likelihood" (minus nll, in nats).

        Raises:
            ValueError: if the table lacks the score.
        """
        check_names([score], SCORES, "score")
        self.check_has(score)
        whole = self.header.num_units if has_all_masks(self.header.menus) else None
        return Outcomes(
            scores=self.is_right()
            if self.nll is None or score == "right"
            else -self.nll.astype(np.float32),
            costs=self.macs / self.header.dense_macs,
            kept=self.header.executed().sum(axis=1),
            num_units=whole,
        )

    def check_has(self, score: str) -> None:
        """Refuses a score that bits alone do not have."""
        if score == "log_likelihood" and self.nll is None:
            raise ValueError(
                "expected a table with nll for the score 'log_likelihood', got one of bits alone; "
                "use 'right', or build the table: ccenv table build"
            )


def num_prefixes(header: Header) -> list[int]:
    """How many prefixes of masks there are once each gate is decided."""
    return [num_masks_of(header.menus[: gate + 1]) for gate in range(len(header.menus))]


def check_arrays(table: MaskTable) -> None:
    """Refuses arrays that do not fit the header."""
    inputs, masks = table.header.num_images, table.header.num_masks
    wanted: dict[str, tuple[tuple[int, ...], tuple[type, ...]]] = {
        "right": ((inputs, -(-masks // 8)), (np.uint8,)),
        "nll": ((inputs, masks), (np.float16,)),
        "macs": ((masks,), (np.int64,)),
        "look": ((inputs, *table.look.shape[1:2]), LOOK_TYPES),
        "bills": ((sum(num_prefixes(table.header)),), (np.int64,)),
    }
    for name, array in arrays_of(table).items():
        shape, dtypes = wanted[name]
        if array.shape != shape or array.dtype not in dtypes:
            names = " or ".join(dtype.__name__ for dtype in dtypes)
            raise DamagedFileError(
                f"expected {name} {names} {list(shape)}, got {array.dtype} "
                f"{list(array.shape)}: not the table that its header tells of"
            )
    if not np.array_equal(table.bills[-masks:], table.macs):
        raise DamagedFileError("expected costs that end with the MACs of all masks, got others")


def arrays_of(table: MaskTable) -> dict[str, NDArray[Any]]:
    """Arrays of a table that are there."""
    arrays = {name: getattr(table, name) for name in (*NEEDED, *OPTIONAL)}
    return {name: array for name, array in arrays.items() if array is not None}


def write_table(path: Path, table: MaskTable) -> None:
    """Writes a safetensors file: the arrays, a JSON header, and a checksum of all.

    Raises:
        OSError: if it cannot be written.
    """
    check_arrays(table)
    write_arrays(path, arrays_of(table), {"kind": KIND, "header": header_text(table.header)})


def read_table(path: Path) -> MaskTable:
    """Reads what `write_table` wrote; runs no code of the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ccenv.base.files.DamagedFileError: if it is damaged, or another kind of file.
        ValueError: if it is of another version.
    """
    arrays, texts = read_parts(path)
    is_table = texts.get("kind") == KIND and "header" in texts
    if not is_table or set(arrays) - set(OPTIONAL) != set(NEEDED):
        raise DamagedFileError(f"expected a table of masks in {path}, got another kind of file")
    parts: dict[str, Any] = {"nll": None} | arrays
    table = MaskTable(header_from(texts["header"]), **parts)
    check_arrays(table)
    return table


def table_path(table: str | Path) -> Path:
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
            f"{shown(str(table))}; {nearest(str(table), SHIPPED)}"
        )
    return Path(table)


def opened_table(table: str | Path | MaskTable) -> MaskTable:
    """A table itself, one that comes with the package by its name, or a file's.

    Raises:
        FileNotFoundError, ValueError: see `read_table`.
    """
    if isinstance(table, MaskTable):
        return table
    return shipped_table(str(table)) if str(table) in SHIPPED else read_table(table_path(table))


@functools.cache
def shipped_table(name: str, split: str = "validation") -> MaskTable:
    """A table that comes with the package: inputs to learn from; any other split is refused."""
    check_names([name], SHIPPED, "table")
    if split != "validation":
        raise ValueError(
            f"expected split='validation', the inputs to learn from, got {split!r}: the answers of "
            "test inputs are those of the suite's tasks, and no policy sees them"
        )
    return read_table(table_path(name))


@functools.cache
def judging_table(name: str) -> MaskTable:
    """The test inputs of a network, for the suite alone."""
    check_names([name], SHIPPED, "table")
    return read_table(FOLDER / f"{name}-test.safetensors")


def small(table: MaskTable) -> MaskTable:
    """What fits into a package: bits, first features rounded to 16 bits, MACs."""
    return dataclasses.replace(table, nll=None, look=table.look.astype(np.float16))
