"""Before a table is built or used: whether a network can have one, and whether it is its own."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ccenv.annexes.mask_table.header import Menus, num_masks_of
from ccenv.base.files import arrays_digest
from ccenv.base.machine import check_fits
from ccenv.data import Split

MOST_BYTES = 2**29
"""Of a table, unless more is asked for: half a GiB are 25,000 masks of 10,000 inputs."""


def check_frozen(network: Any) -> None:
    """Refuses a network that learns: its table would be wrong after the next update."""
    if network.answers_often:
        raise ValueError(
            "expected a network that answers once, got a stream: a table would hold its last answer"
        )
    if network.training:
        raise ValueError("expected a frozen network, got one in training mode; call eval() first")
    learning = [name for name, one in network.named_parameters() if one.requires_grad]
    if learning:
        raise ValueError(
            f"expected a frozen network, got one that learns ({learning[0]} has gradients); "
            "use weights='frozen' or 'shipped', or requires_grad_(False)"
        )


def num_rows(split: Split, limit: int | None) -> int:
    """How many inputs a table has."""
    rows = len(split) if limit is None else limit
    if not 1 <= rows <= len(split):
        raise ValueError(f"expected a limit of 1..{len(split):,} inputs, got {rows:,}")
    return rows


def table_bytes(menus: Menus, num_images: int) -> int:
    """Size of a table's arrays in bytes: bits, float16 and MACs."""
    masks = num_masks_of(menus)
    return num_images * (-(-masks // 8) + 2 * masks) + 8 * masks


def check_size(menus: Menus, num_images: int, most_bytes: int) -> None:
    """Refuses a table that is too large, and says how large it would be."""
    size = table_bytes(menus, num_images)
    masks, units = num_masks_of(menus), sum(menu.num_blocks for menu in menus)
    what = f"a table of {masks:,} masks ({units} blocks) of {num_images:,} inputs"
    advice = "limit the inputs, or give menus of fewer masks a gate"
    if size > most_bytes:
        raise ValueError(
            f"expected at most {most_bytes / 1e6:,.1f} MB, got {what}, {size / 1e6:,.1f} MB; "
            f"{advice}, or allow more bytes"
        )
    check_fits(size, what, advice)


DRAWN = 512
"""Inputs that are hashed at once."""


def network_digest(network: Any) -> str:
    """SHA-256 of a network's state, its start."""
    state = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    return arrays_digest(state, {})[:24]


def batches(split: Split, num_images: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and labels of the first rows of a split, in order."""
    for places in torch.arange(num_images, device=split.labels.device).split(size):
        yield split.batch(places)


def data_digest(split: Split, num_images: int) -> str:
    """SHA-256 of the first inputs of a split as they are drawn, and of labels, its start."""
    digest = hashlib.sha256()
    for inputs, labels in batches(split, num_images, DRAWN):
        for tensor in (inputs, labels):
            digest.update(f"{tensor.dtype} {list(tensor.shape[1:])}".encode())
            digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
    return digest.hexdigest()[:24]


def gates_of(network: Any) -> tuple[tuple[str, int, str], ...]:
    """Name, blocks and kind of each gate."""
    return tuple((gate.name, gate.num_blocks, gate.skipped) for gate in network.gates)
