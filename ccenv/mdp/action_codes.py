"""Actions of other spaces: (MultiDiscrete, Box or Discrete action) -> block masks, bool arrays.

Algorithms that cannot act with `MultiBinary` choose masks through a code: `multi_discrete` (A2C,
PPO and others), `box` (SAC, TD3, DDPG), `menu` (DQN and others). `ccenv.envs.actions` and
`ccenv.envs.stable_baselines` wrap environments with them; a code of yours is a class like
these, used by `module:name`.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from ccenv.base.registry import check_names, resolve
from ccenv.base.values import shown

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
    """Every mask in binary order, block 0 the highest digit; ValueError of more than `MAX_MENU`."""
    if 2**num_blocks > MAX_MENU:
        raise ValueError(
            f"expected at most {MAX_MENU} masks on a menu, got 2 ** {num_blocks}; "
            "use menu='random' with a size, or 'prefixes'"
        )
    return np.array(list(itertools.product([False, True], repeat=num_blocks)))


def random_menu(num_blocks: int, size: int | None, seed: int) -> np.ndarray:
    """None, all, and different masks of uniform density: bool [size, num_blocks]."""
    most = min(MAX_MENU, 2**num_blocks)
    size = min(64, most) if size is None else size
    if not 2 <= size <= most:
        raise ValueError(f"expected size in 2..{most} for {num_blocks} blocks, got {size}")
    rng = np.random.default_rng(seed)
    menu = dict.fromkeys([(False,) * num_blocks, (True,) * num_blocks])
    while len(menu) < size:
        menu[tuple((rng.random(num_blocks) < rng.random()).tolist())] = None
    return np.array(list(menu))


def given_menu(menu: Sequence[Sequence[int]], num_blocks: int) -> np.ndarray:
    """Reads a user's menu, rows of 0 and 1; ValueError if they are no masks of those blocks."""
    try:
        lengths = {len(row) for row in menu}
    except TypeError:
        raise ValueError(f"expected a menu of masks, rows of 0 and 1, got {shown(menu)}") from None
    if lengths != {num_blocks} or not 1 <= len(menu) <= MAX_MENU:
        raise ValueError(
            f"expected 1 to {MAX_MENU} masks of {num_blocks} bits, got {len(menu)} of "
            f"{sorted(lengths)} bits"
        )
    array = np.asarray(menu)
    if not bool(np.isin(array, (0, 1)).all()):
        raise ValueError(f"expected the bits of a menu to be 0 or 1, got {shown(menu)}")
    return array.astype(bool)


MENUS: dict[str, Callable[..., np.ndarray]] = {
    "prefixes": prefix_menu,
    "single": single_menu,
    "all": full_menu,
    "random": random_menu,
}


class ActionCode(Protocol):
    """How actions of a space say which blocks are computed."""

    space: gym.Space[Any]
    """of one input's action."""

    def masks(self, actions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Reads actions: [batch, ...] -> bits [batch, num_blocks], 1 = computed."""


class MultiDiscreteBits:
    """`MultiDiscrete([2] * num_blocks)`: entry i is 1 to compute block i, 0 to skip it."""

    def __init__(self, num_blocks: int) -> None:
        """Prepares for masks of so many blocks."""
        self.space = gym.spaces.MultiDiscrete([2] * num_blocks)

    def masks(self, actions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The actions themselves; the environment refuses what is neither 0 nor 1."""
        return actions


class BoxProbabilities:
    """`Box(low, 1)`: a number for each block, its keep probability stretched over the range.

    By default a block is computed where its number is above the middle of the range: the same
    action always gives the same mask, as SAC and TD3 expect, which explore by noise of their own.
    With `sample=True` a coin with that keep probability decides, so that the mean reward changes
    smoothly with the action; the coins come from the generator that a seeded reset starts.
    """

    def __init__(self, num_blocks: int, low: float = -1.0, sample: bool = False) -> None:
        """Prepares for so many blocks; `low` is -1, which Stable-Baselines3 recommends, or 0."""
        if low not in (-1, 0):
            raise ValueError(f"expected low to be -1 or 0, got {shown(low)}")
        self.low, self.sample = float(low), sample
        self.space = gym.spaces.Box(self.low, 1.0, (num_blocks,), np.float32)

    def masks(self, actions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Compares with the middle, or tosses coins; ValueError of a number out of range."""
        if not bool(((actions >= self.low) & (actions <= 1)).all()):
            odd = actions[~((actions >= self.low) & (actions <= 1))].flat[0]
            raise ValueError(
                f"expected every number of the action in [{self.low:g}, 1], got {odd}; clip it"
            )
        probability = (actions - self.low) / (1 - self.low)
        kept: np.ndarray = (
            rng.random(actions.shape) < probability if self.sample else (probability > 0.5)
        )
        return kept


class MaskMenu:
    """`Discrete(size)`: the number of a mask on a menu.

    Masks are as wide as the widest layer; a layer with fewer blocks ignores the bits beyond.
    """

    def __init__(
        self,
        num_blocks: int,
        menu: str | Sequence[Sequence[int]] = "prefixes",
        size: int | None = None,
        seed: int = 0,
    ) -> None:
        """Writes the menu.

        Args:
            num_blocks: bits of a mask.
            menu: "prefixes" (the first k blocks, k = 0 to `num_blocks`), "single" (each block
                alone, none, and all), "all" (every mask, in binary order), "random" (none, all, and
                different masks of all densities drawn with a seed), or the masks themselves, rows
                of 0 and 1.
            size: masks of a random menu, none and all among them; 64, or every mask there is.
            seed: of a random menu.

        Raises:
            ValueError: if the menu is unknown, too large, or its rows are not masks.
        """
        if isinstance(menu, str):
            check_names([menu], MENUS, "menu")
        if size is not None and menu != "random":
            raise ValueError(f"expected menu='random' with size, got {shown(menu)}; leave size out")
        if not isinstance(menu, str):
            self.menu = given_menu(menu, num_blocks)
        elif menu == "random":
            self.menu = random_menu(num_blocks, size, seed)
        else:
            self.menu = MENUS[menu](num_blocks)
        self.space = gym.spaces.Discrete(len(self.menu))

    def masks(self, actions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Looks the masks up; TypeError, ValueError of what is no whole number on the menu."""
        if not np.issubdtype(actions.dtype, np.integer):
            raise TypeError(f"expected whole numbers of the menu, got dtype {actions.dtype}")
        if bool(((actions < 0) | (actions >= len(self.menu))).any()):
            raise ValueError(
                f"expected numbers in 0..{len(self.menu) - 1}, "
                f"got {int(actions.min())}..{int(actions.max())}"
            )
        chosen: np.ndarray = self.menu[actions]
        return chosen


CODES: dict[str, Any] = {
    "multi_discrete": MultiDiscreteBits,
    "box": BoxProbabilities,
    "menu": MaskMenu,
}


def make_code(code: Any, num_blocks: int, settings: dict[str, Any]) -> ActionCode:
    """Builds a code, a name in `CODES`, `module:name` or a class; ValueError if it cannot be."""
    code_class = resolve(code, CODES, "action code")
    if not callable(code_class):
        raise ValueError(
            f"expected an action code as one of {', '.join(CODES)}, module:name or a class, got "
            f"{shown(code)}"
        )
    built: ActionCode = code_class(num_blocks, **settings)
    return built
