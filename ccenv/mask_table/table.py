"""The table of masks: (inputs, numbers of masks) -> right or wrong, nll, MACs; a checked file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ccenv.base.checked_file import DamagedFileError, read_checked, write_checked
from ccenv.base.registry import check_names
from ccenv.mask_table.exact import Outcomes
from ccenv.mask_table.header import Header, as_text, from_text
from ccenv.mask_table.menus import NUMBERS, is_whole

KIND = "ccenv table of masks"
SCORES = ("right", "log_likelihood")


@dataclass(frozen=True)
class MaskTable:
    """What every mask of a menu answers for every input."""

    header: Header
    """what it is of."""
    right: NDArray[np.uint8]
    """[num_images, ceil(num_masks / 8)]; bits, the first mask as the highest of the first byte."""
    nll: NDArray[np.float16]
    """[num_images, num_masks] in nats."""
    macs: NUMBERS
    """[num_masks]; of one input, stem, head and exits that are looked at included."""
    look: NDArray[np.float32] | None = None
    """[num_images, look_size]; what is cheap to see before the first gate; None: not stored."""

    def look_up(
        self, images: NUMBERS, numbers: NUMBERS
    ) -> tuple[NDArray[np.bool_], NDArray[np.float16], NUMBERS]:
        """Outcomes of masks: int64 [rows] twice -> right, nll, MACs, each [rows].

        Raises:
            IndexError: if an image or a mask is not in the table.
        """
        if numbers.size and (numbers.min() < 0 or numbers.max() >= self.header.num_masks):
            raise IndexError(
                f"expected numbers of masks in 0..{self.header.num_masks - 1}, got "
                f"{numbers.min()}..{numbers.max()}"
            )
        if images.size and (images.min() < 0 or images.max() >= self.header.num_images):
            raise IndexError(
                f"expected images in 0..{self.header.num_images - 1}, got "
                f"{images.min()}..{images.max()}"
            )
        bits = self.right[images, numbers >> 3] >> (7 - (numbers & 7)) & 1
        return bits.astype(bool), self.nll[images, numbers], self.macs[numbers]

    def is_right(self) -> NDArray[np.bool_]:
        """All bits: bool [num_images, num_masks]."""
        return np.unpackbits(self.right, axis=1, count=self.header.num_masks).view(bool)

    def outcomes(self, score: str = "right") -> Outcomes:
        """For the exact tools.

        Args:
            score: "right" (1 or 0) or "log_likelihood" (minus nll, in nats).
        """
        check_names([score], SCORES, "score")
        whole = self.header.num_units if is_whole(self.header.menus) else None
        return Outcomes(
            scores=self.is_right() if score == "right" else -self.nll.astype(np.float32),
            costs=self.macs / self.header.dense_macs,
            kept=self.header.executed().sum(axis=1),
            num_units=whole,
        )


def check_parts(table: MaskTable) -> None:
    """Refuses arrays that do not fit the header.

    Raises:
        DamagedFileError: naming the array.
    """
    images, masks = table.header.num_images, table.header.num_masks
    wanted: dict[str, tuple[tuple[int, ...], type]] = {
        "right": ((images, -(-masks // 8)), np.uint8),
        "nll": ((images, masks), np.float16),
        "macs": ((masks,), np.int64),
    }
    if table.look is not None:
        wanted["look"] = ((images, table.look.shape[-1]), np.float32)
    for name, (shape, dtype) in wanted.items():
        array = getattr(table, name)
        if array.shape != shape or array.dtype != dtype:
            raise DamagedFileError(
                f"expected {name} {dtype.__name__} {list(shape)}, got {array.dtype} "
                f"{list(array.shape)}: not the table that its header tells of"
            )


def write_table(path: Path, table: MaskTable) -> None:
    """Writes a safetensors file: the arrays, a JSON header, and a checksum of all.

    Raises:
        OSError: if it cannot be written.
    """
    check_parts(table)
    arrays = {"right": table.right, "nll": table.nll, "macs": table.macs}
    if table.look is not None:
        arrays["look"] = table.look
    tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}
    write_checked(path, tensors, {"kind": KIND, "header": as_text(table.header)})


def read_table(path: Path) -> MaskTable:
    """Reads what `write_table` wrote; runs no code of the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ccenv.base.checked_file.DamagedFileError: if it is damaged, or another kind of file.
        ValueError: if it is of another version.
    """
    tensors, texts, has_checksum = read_checked(path)
    names = {"right", "nll", "macs"}
    if texts.get("kind") != KIND or "header" not in texts or set(tensors) - {"look"} != names:
        raise DamagedFileError(f"expected a table of masks in {path}, got another kind of file")
    if not has_checksum:
        raise DamagedFileError(f"expected a checksum in {path}, got none: it was edited")
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    table = MaskTable(from_text(texts["header"]), **arrays)
    check_parts(table)
    return table
