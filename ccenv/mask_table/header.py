"""What a table is of: names, gates and checksums in a record <-> JSON."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from ccenv.mask_table.menus import BITS, Menu, Menus, all_masks, num_masks_of

VERSION = 1
"""Of the format."""


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
