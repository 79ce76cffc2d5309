"""What a table is of: names, gates, menus of masks and checksums in a record <-> JSON.

Masks are numbered: a menu of masks for each gate gives every combination, and its number. The first
gate counts slowest. Where a gate's menu holds all its masks they stand in counting order, the first
block as the highest bit: nothing kept is number 0, everything kept the last one.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ccenv.base.files import DamagedFileError
from ccenv.base.given_files import check_content
from ccenv.base.values import shown

if TYPE_CHECKING:  # tables are read and played without torch
    from ccenv.networks.core.protocol import Gate

BITS = NDArray[np.bool_]
NUMBERS = NDArray[np.int64]


@dataclass(frozen=True)
class Menu:
    """The masks of one gate that a table holds."""

    num_blocks: int
    """bits of a mask."""
    masks: tuple[str, ...] | None = None
    """each as zeros and ones, such as "0110"; None for all of them."""

    def __post_init__(self) -> None:
        """Checks.

        Raises:
            ValueError: if a mask is not one of this gate, or occurs twice.
        """
        if self.masks is None:
            return
        wrong = [m for m in self.masks if len(m) != self.num_blocks or set(m) - {"0", "1"}]
        if wrong or not self.masks or len(set(self.masks)) < len(self.masks):
            raise ValueError(
                f"expected different masks of {self.num_blocks} zeros and ones, got "
                f"{wrong[0] if wrong else ', '.join(self.masks) or 'none'!r}"
            )

    def __len__(self) -> int:
        """Number of masks."""
        return 1 << self.num_blocks if self.masks is None else len(self.masks)

    def bits(self) -> BITS:
        """The masks: bool [count, num_blocks]."""
        if self.masks is not None:
            return np.array([[bit == "1" for bit in mask] for mask in self.masks])
        numbers = np.arange(len(self))[:, None]
        return (numbers >> np.arange(self.num_blocks - 1, -1, -1) & 1).astype(bool)


Menus = tuple[Menu, ...]


def menus_of(
    gates: "Sequence[Gate]", chosen: Sequence[Sequence[str] | None] | None = None
) -> Menus:
    """Menus of a network's gates.

    Args:
        gates: of the network.
        chosen: for each gate its masks as zeros and ones, or None for all; None: all of all gates.

    Raises:
        ValueError: if there is not one menu a gate, or a mask does not fit.
    """
    chosen = [None] * len(gates) if chosen is None else chosen
    if len(chosen) != len(gates):
        raise ValueError(f"expected a menu for each of {len(gates)} gates, got {len(chosen)}")
    return tuple(
        Menu(gate.num_blocks, None if masks is None else tuple(masks))
        for gate, masks in zip(gates, chosen, strict=True)
    )


def num_masks_of(menus: Menus) -> int:
    """All combinations."""
    return math.prod(len(menu) for menu in menus)


def has_all_masks(menus: Menus) -> bool:
    """Whether every mask is there."""
    return all(menu.masks is None for menu in menus)


def all_masks(menus: Menus) -> BITS:
    """Every mask in the order of its number: bool [num_masks, num_units]."""
    masks = np.zeros((1, 0), dtype=bool)
    for menu in menus:
        bits = menu.bits()
        left, right = np.repeat(masks, len(bits), axis=0), np.tile(bits, (len(masks), 1))
        masks = np.concatenate([left, right], axis=1)
    return masks


VERSION = 1
"""Of the format."""
MOST_UNITS, MOST_WHOLE = 10_000, 48
"""Blocks of all gates at most; blocks of a gate whose masks are all there."""


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
    """what its inputs go through."""
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
        return hashlib.sha256(header_text(plain).encode()).hexdigest()[:24]

    def executed(self) -> BITS:
        """What of each mask runs: bool [num_masks, num_units]; nothing behind an exit taken."""
        masks, first = all_masks(self.menus), 0
        for _, blocks, skipped in self.gates:
            if skipped == "stop":
                leaves = ~masks[:, first : first + blocks].any(axis=1)
                masks[leaves, first + blocks :] = False
            first += blocks
        return masks


def header_text(header: Header) -> str:
    """A header as JSON."""
    return json.dumps(dataclasses.asdict(header), sort_keys=True)


def is_object(value: Any) -> bool:
    """Whether it is values by name."""
    return isinstance(value, dict)


def is_text(value: Any) -> bool:
    """Whether it is a text that a terminal shows as it is."""
    return isinstance(value, str) and value.isprintable()


def is_count(value: Any, most: int = 2**63 - 1) -> bool:
    """Whether it is a whole number of at least 1."""
    return type(value) is int and 1 <= value <= most


def is_list(value: Any, of: Callable[[Any], bool]) -> bool:
    """Whether it is a list of such values."""
    return isinstance(value, list) and all(map(of, value))


def is_gate(value: Any) -> bool:
    """Whether it is [name, blocks, what a skipped block is]."""
    match value:
        case [name, blocks, "zero" | "identity" | "stop"]:
            return is_text(name) and is_count(blocks)
    return False


def is_menu(value: Any) -> bool:
    """Whether it is a `Menu`; no file holds all masks of a gate of more blocks."""
    match value:
        case {"num_blocks": blocks, "masks": None} if len(value) == 2:
            return is_count(blocks, MOST_WHOLE)
        case {"num_blocks": blocks, "masks": masks} if len(value) == 2:
            return is_count(blocks) and is_list(masks, is_text)
    return False


CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "network": (is_text, "a name"),
    "settings": (is_object, "plain settings by name"),
    "weights": (is_text, "a checksum"),
    "gates": (
        lambda value: is_list(value, is_gate) and is_count(sum(g[1] for g in value), MOST_UNITS),
        f"gates of a name, blocks (1..{MOST_UNITS} in all) and 'zero', 'identity' or 'stop'",
    ),
    "menus": (
        lambda value: is_list(value, is_menu),
        f"menus of masks, or of all masks of at most {MOST_WHOLE} blocks",
    ),
    "num_classes": (is_count, "a whole number of at least 1"),
    "dense_macs": (is_count, "a whole number of at least 1"),
    "dataset": (is_text, "a name"),
    "transforms": (lambda value: is_list(value, is_text), "names"),
    "split": (
        lambda value: value in ("", "train", "validation", "test"),
        "'train', 'validation', 'test' or nothing",
    ),
    "num_images": (is_count, "a whole number of at least 1"),
    "data": (is_text, "a checksum"),
    "made_with": (is_object, "versions by name"),
}
"""Field of JSON -> whether a value may stand there, and what is expected."""


def check_fields(fields: Mapping[str, Any]) -> None:
    """Refuses fields of another type or out of range (DamagedFileError)."""
    for name, value in fields.items():
        is_right, expected = CHECKS[name]
        if not is_right(value):
            raise DamagedFileError(
                f"expected {expected} as {name} of a table of masks, got {shown(value)}"
            )


def header_from(text: str) -> Header:
    """Reads `header_text`.

    Raises:
        DamagedFileError: if it is no header, or a field is of another type or out of range.
        ValueError: if it is of another version.
    """
    try:
        fields = json.loads(text)
        check_content(fields)
        version = fields.pop("version")
        unknown = {"made_with": {}, **fields}.keys() ^ CHECKS.keys()
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DamagedFileError(
            f"expected the header of a table of masks, got {type(error).__name__}: {error}"
        ) from error
    if type(version) is not int or version != VERSION:
        raise ValueError(
            f"expected a table of version {VERSION}, got {shown(version)}; build it again"
        )
    if unknown:
        raise DamagedFileError(
            f"expected {', '.join(CHECKS)} in the header of a table of masks, got another set: "
            f"{shown(sorted(unknown))}"
        )
    check_fields(fields)
    blocks, menus = [gate[1] for gate in fields["gates"]], fields["menus"]
    if [menu["num_blocks"] for menu in menus] != blocks:
        raise DamagedFileError("expected a menu for each gate of a table of masks, got others")
    fields["gates"] = tuple(map(tuple, fields["gates"]))
    fields["menus"] = tuple(
        Menu(m["num_blocks"], None if m["masks"] is None else tuple(m["masks"])) for m in menus
    )
    return Header(**{**fields, "transforms": tuple(fields["transforms"])})
