"""Masks of a run: (its folder, masks and gate values of all test inputs) <-> a checked file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ccenv.base.checked_file import read_checked, write_checked
from ccenv.base.mask_words import in_files
from ccenv.runs.store.folder import CHECKPOINT, MASKS


def save_masks(
    folder: Path,
    masks: Mapping[bool | None, Sequence[Tensor]],
    gate_values: Mapping[bool | None, Sequence[Tensor]] | None = None,
) -> None:
    """Writes the masks of all test inputs, eight blocks a byte, so that they can be replayed.

    Args:
        folder: the run's.
        masks: `deterministic` -> for each gated layer bool [num_images, num_blocks].
        gate_values: the same for what kept blocks were multiplied with, float32, as they are; of
            agents that give masks empty.
    """
    packed = {
        f"{in_files(kind)}/{layer}": torch.from_numpy(np.packbits(mask.cpu().numpy(), axis=1))
        for kind, layers in masks.items()
        for layer, mask in enumerate(layers)
    }
    values = {
        f"{in_files(kind)}/values/{layer}": value.detach().float().cpu().contiguous()
        for kind, layers in (gate_values or {}).items()
        for layer, value in enumerate(layers)
    }
    write_checked(folder / CHECKPOINT / MASKS, packed | values, {})


def load_gate_values(
    folder: Path, deterministic: bool, num_blocks: Sequence[int], num_images: int
) -> list[Tensor] | None:
    """Gate values stored with the masks that `save_masks` wrote; None where the run has none.

    Returns:
        For each gated layer float32 [num_images, num_blocks] in [0, 1].
    """
    path = folder / CHECKPOINT / MASKS
    try:
        stored, _ = read_checked(path)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"expected gate values in {path}, got none ({error!r})") from error
    if not any(name.startswith(f"{in_files(deterministic)}/values/") for name in stored):
        return None
    name = in_files(deterministic)
    values = [stored.get(f"{name}/values/{layer}") for layer in range(len(num_blocks))]
    for value, blocks in zip(values, num_blocks, strict=True):
        is_right = value is not None and value.shape == (num_images, blocks)
        if value is None or not is_right or value.dtype != torch.float32:
            got = "none" if value is None else (value.dtype, list(value.shape))
            raise ValueError(
                f"expected gate values float32 {[num_images, blocks]} in {path}, got {got}"
            )
        if not bool(((value >= 0) & (value <= 1)).all()):
            raise ValueError(f"expected gate values in [0, 1] in {path}, got others")
    return [value for value in values if value is not None]


def load_masks(
    folder: Path, deterministic: bool, num_blocks: Sequence[int], num_images: int | None = None
) -> list[Tensor]:
    """Reads what `save_masks` wrote: for each gated layer bool [num_images, num_blocks]."""
    path, word = folder / CHECKPOINT / MASKS, in_files(deterministic)
    try:
        packed, _ = read_checked(path)
        layers = [packed[f"{word}/{layer}"].numpy() for layer in range(len(num_blocks))]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ValueError(f"expected the {word} masks in {path}, got none ({error!r})") from error
    rows = len(layers[0]) if num_images is None and layers[0].ndim else num_images
    expected = [("uint8", (rows, -(-n // 8))) for n in num_blocks]
    # Looked at before they are unpacked, which takes eight times the memory.
    if expected != (got := [(str(m.dtype), m.shape) for m in layers]):
        raise ValueError(
            f"expected masks of {list(num_blocks)} blocks as {expected} in {path}, got {got}"
        )
    bits = [np.unpackbits(m, axis=1, count=n) for m, n in zip(layers, num_blocks, strict=True)]
    return [torch.from_numpy(b.astype(bool)) for b in bits]
