"""Whether a table is of a network and a split: (header, network, split) -> nothing, or refused."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ccenv.base.checked_file import content_digest
from ccenv.data import Split
from ccenv.mask_table.header import Header

DRAWN = 512
"""Inputs that are hashed at once."""


def weights_digest(network: Any) -> str:
    """SHA-256 of a network's state, its start."""
    state = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    return content_digest(state, {})[:24]


def batches(split: Split, num_images: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and labels of the first rows of a split, in order."""
    for places in torch.arange(num_images, device=split.labels.device).split(size):
        yield split.batch(places)


def data_digest(split: Split, num_images: int) -> str:
    """SHA-256 of the first inputs of a split as they are drawn, and of labels, its start."""
    digest = hashlib.sha256()
    for images, labels in batches(split, num_images, DRAWN):
        for tensor in (images, labels):
            digest.update(f"{tensor.dtype} {list(tensor.shape[1:])}".encode())
            digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
    return digest.hexdigest()[:24]


def gates_of(network: Any) -> tuple[tuple[str, int, str], ...]:
    """Name, blocks and kind of each gate."""
    return tuple((gate.name, gate.num_blocks, gate.skipped) for gate in network.gates)


def check_is_of(
    header: Header, network: Any = None, split: Split | None = None, said: Mapping[str, Any] = {}
) -> None:
    """Refuses a table of something else.

    Args:
        header: of the table.
        network: that it should be of; None: not compared.
        split: whose first inputs it should be of; None: not compared.
        said: fields of the header and what they should be, such as `dataset`.

    Raises:
        ValueError: saying what differs.
    """
    wanted = dict(said)
    if network is not None:
        wanted |= {"gates": gates_of(network), "weights": weights_digest(network)}
    if split is not None:
        if len(split) < header.num_images:
            wanted["num_images"] = len(split)
        else:
            wanted["data"] = data_digest(split, header.num_images)
    for name, expected in wanted.items():
        if (got := getattr(header, name)) != expected:
            raise ValueError(
                f"expected a table whose {name} is {expected!r}, got {got!r}: it is of another "
                "network or data set; build one: ccenv table build"
            )
