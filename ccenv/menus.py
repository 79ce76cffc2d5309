"""Menus of masks: number of blocks -> different masks to choose from, bool [size, num_blocks]."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

MAX_MENU = 4096
"""most masks on a menu; a value for each is learned."""


def prefix_menu(num_blocks: int) -> np.ndarray:
    """The first k blocks, for every k: bool [num_blocks + 1, num_blocks].

    >>> prefix_menu(2).astype(int).tolist()
    [[0, 0], [1, 0], [1, 1]]
    """
    return np.arange(num_blocks) < np.arange(num_blocks + 1)[:, None]


def single_menu(num_blocks: int) -> np.ndarray:
    """No block, each block alone, and all: bool [num_blocks + 2, num_blocks]; no mask twice."""
    none, every = np.zeros((1, num_blocks), dtype=bool), np.ones((1, num_blocks), dtype=bool)
    single = [np.eye(num_blocks, dtype=bool)] if num_blocks > 1 else []
    return np.concatenate([none, *single, every])


def full_menu(num_blocks: int) -> np.ndarray:
    """Every mask in binary order, block 0 the highest digit: bool [2 ** num_blocks, num_blocks].

    Raises:
        ValueError: if there are more than `MAX_MENU`.
    """
    if 2**num_blocks > MAX_MENU:
        raise ValueError(
            f"expected at most {MAX_MENU} masks on a menu, got 2 ** {num_blocks}; "
            "use menu='random' with a size, or 'prefixes'"
        )
    return np.array(list(itertools.product([False, True], repeat=num_blocks)))


def random_menu(num_blocks: int, size: int | None, seed: int) -> np.ndarray:
    """None, all, and different masks whose densities are uniform: bool [size, num_blocks].

    Raises:
        ValueError: if there are not so many masks, or fewer than two are asked for.
    """
    most = min(MAX_MENU, 2**num_blocks)
    size = min(64, most) if size is None else size
    if not 2 <= size <= most:
        raise ValueError(f"expected size in 2..{most} for {num_blocks} blocks, got {size}")
    rng = np.random.default_rng(seed)
    found = dict.fromkeys([(False,) * num_blocks, (True,) * num_blocks])
    while len(found) < size:
        found[tuple((rng.random(num_blocks) < rng.random()).tolist())] = None
    return np.array(list(found))


def given_menu(menu: Sequence[Sequence[int]], num_blocks: int) -> np.ndarray:
    """Reads a menu that a user wrote: rows of 0 and 1.

    Raises:
        ValueError: if the rows are no masks of that many blocks, or too many.
    """
    lengths = {len(row) for row in menu}
    if lengths != {num_blocks} or not 1 <= len(menu) <= MAX_MENU:
        raise ValueError(
            f"expected 1 to {MAX_MENU} masks of {num_blocks} bits, got {len(menu)} of "
            f"{sorted(lengths)} bits"
        )
    array = np.asarray(menu)
    if not bool(np.isin(array, (0, 1)).all()):
        raise ValueError(f"expected the bits of a menu to be 0 or 1, got {menu!r}")
    return array.astype(bool)


MENUS: dict[str, Callable[..., np.ndarray]] = {
    "prefixes": prefix_menu,
    "single": single_menu,
    "all": full_menu,
    "random": random_menu,
}
