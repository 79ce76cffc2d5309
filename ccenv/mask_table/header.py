"""What a table is of: (network, split, what a user calls them) -> a record, compared before use."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ccenv.base.checked_file import content_digest
from ccenv.data import Split
from ccenv.mask_table.menus import BITS, Menu, Menus, all_masks, num_masks_of

VERSION = 1
"""Of the format."""
DRAWN = 512
"""Inputs that are hashed at once."""


@dataclass(frozen=True)
class Header:
    """What a table is of."""

    network: str
    """name of the network, as the environment takes it; empty for a module without one."""
    settings: dict[str, Any]
    """of the environment: sizes of the network, its weights; plain values."""
    weights: str
    """SHA-256 of names and values of the network's state, its start."""
    gates: tuple[tuple[str, int, str], ...]
    """(name, blocks, what a skipped block is) of each gate."""
    menus: Menus
    """masks of each gate."""
    num_classes: int
    """of the data set."""
    dense_macs: int
    """of one input with everything kept."""
    dataset: str
    """name of the data set."""
    transforms: tuple[str, ...]
    """what its images go through."""
    split: str
    """"train", "validation" or "test"."""
    num_images: int
    """the first so many inputs of the split."""
    data: str
    """SHA-256 of these inputs as they are drawn, and of their labels, its start."""
    version: int = VERSION
    """of the format."""
    made_with: dict[str, str] = field(default_factory=dict, compare=False)
    """versions of libraries, machine; said, not compared."""

    @property
    def num_masks(self) -> int:
        """Masks in the table."""
        return num_masks_of(self.menus)

    @property
    def num_units(self) -> int:
        """Blocks of all gates."""
        return sum(blocks for _, blocks, _ in self.gates)

    @property
    def digest(self) -> str:
        """SHA-256 of all that is compared, its start."""
        plain = dataclasses.replace(self, made_with={})
        return hashlib.sha256(as_text(plain).encode()).hexdigest()[:24]

    def executed(self) -> BITS:
        """What of each mask runs: bool [num_masks, num_units]; nothing behind an exit taken."""
        masks, first = all_masks(self.menus), 0
        for _, blocks, skipped in self.gates:
            if skipped == "stop":
                leaves = ~masks[:, first : first + blocks].any(axis=1)
                masks[leaves, first + blocks :] = False
            first += blocks
        return masks


def as_text(header: Header) -> str:
    """A header as JSON."""
    return json.dumps(dataclasses.asdict(header), sort_keys=True)


def from_text(text: str) -> Header:
    """Reads `as_text`.

    Raises:
        ValueError: if it is no header, or of another version.
    """
    try:
        found = json.loads(text)
        if found["version"] != VERSION:
            raise ValueError(
                f"expected a table of version {VERSION}, got {found['version']}; build it anew"
            )
        found["gates"] = tuple((str(n), int(b), str(s)) for n, b, s in found["gates"])
        found["menus"] = tuple(
            Menu(m["num_blocks"], None if m["masks"] is None else tuple(m["masks"]))
            for m in found["menus"]
        )
        found["transforms"] = tuple(found["transforms"])
        return Header(**found)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"expected the header of a table of masks, got {type(error).__name__}: {error}"
        ) from error


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
