"""Numbers of masks: (a menu of masks for each gate) -> every combination, and its number.

The first gate counts slowest. Where a gate's menu holds all its masks they stand in counting order,
the first block as the highest bit: nothing kept is number 0, everything kept the last one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # tables are read and played without torch
    from ccenv.networks.core.protocol import Gate

MOST_BITS = 24
"""Of a number that a float32 holds exactly: float products are many times faster than int ones."""
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

    def number_of(self, masks: BITS) -> NUMBERS:
        """Which one a mask is: bool [rows, num_blocks] -> int64 [rows].

        Raises:
            ValueError: if one is not in the menu.
        """
        if self.masks is None:
            return numbers_of_bits(masks)
        places = {mask: place for place, mask in enumerate(self.masks)}
        words = ["".join("01"[bit] for bit in row) for row in masks.astype(int)]
        if missing := [word for word in words if word not in places]:
            raise ValueError(
                f"expected masks of the table's menu ({len(self)} masks), got {missing[0]}; "
                "build a table whose menu has it"
            )
        return np.array([places[word] for word in words], dtype=np.int64)


def numbers_of_bits(masks: BITS) -> NUMBERS:
    """Numbers whose bits these are, the first as the highest: [rows, bits] -> int64 [rows]."""
    powers = 1 << np.arange(masks.shape[1] - 1, -1, -1)
    if masks.shape[1] <= MOST_BITS:
        products: NDArray[np.float32] = masks.astype(np.float32) @ powers.astype(np.float32)
        return products.astype(np.int64)
    found: NUMBERS = masks @ powers
    return found


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
    found = np.zeros((1, 0), dtype=bool)
    for menu in menus:
        bits = menu.bits()
        left, right = np.repeat(found, len(bits), axis=0), np.tile(bits, (len(found), 1))
        found = np.concatenate([left, right], axis=1)
    return found


def number_of(menus: Menus, masks: BITS) -> NUMBERS:
    """Numbers of masks of all gates, side by side: bool [rows, num_units] -> int64 [rows].

    Raises:
        ValueError: if they do not have that many bits, or one is not in the table.
    """
    masks, blocks = np.asarray(masks), [menu.num_blocks for menu in menus]
    if masks.dtype != bool or masks.ndim != 2 or masks.shape[1] != sum(blocks):
        raise ValueError(
            f"expected bool masks [rows, {sum(blocks)}], got {masks.dtype} {list(masks.shape)}"
        )
    if has_all_masks(menus):
        return numbers_of_bits(masks)
    numbers = np.zeros(len(masks), dtype=np.int64)
    for menu, bits in zip(menus, np.split(masks, np.cumsum(blocks)[:-1], axis=1), strict=True):
        numbers = numbers * len(menu) + menu.number_of(bits)
    return numbers
