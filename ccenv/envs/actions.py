"""What an action says: (an array of the caller's) -> blocks that are computed, and gate values."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from ccenv.base.registry import check_names
from ccenv.envs.rows import checked_bits
from ccenv.simulator.simulator import Simulator

ACTIONS = ("mask", "weight")


class Actions:
    """Reads one kind of action, of one image or of many.

    "mask": a bit for each block. "weight": a gate value for each block, as mixtures of experts have
    them (Shazeer et al. 2017, arXiv 1701.06538): 0 is not computed, the others' outputs are
    multiplied with theirs, and at an exit the value is the share of the answer that is left to
    later ones.
    """

    def __init__(self, simulator: Simulator, kind: str = "mask") -> None:
        """Takes the simulator that is acted on.

        Args:
            simulator: says how many blocks there are.
            kind: one of `ACTIONS`.

        Raises:
            ValueError: if the kind is unknown.
        """
        check_names([kind], ACTIONS, "action")
        self.simulator, self.kind = simulator, kind

    def space(self) -> gym.spaces.MultiBinary | gym.spaces.Box:
        """Of one image's action."""
        width = self.simulator.max_blocks
        if self.kind == "mask":
            return gym.spaces.MultiBinary(width)
        return gym.spaces.Box(0.0, 1.0, (width,), np.float32)

    def read(self, action: Any, *rows: int) -> tuple[Tensor, Tensor | None]:
        """Reads what a caller gave.

        Args:
            action: [*rows, max_blocks].
            *rows: number of images, nothing for one.

        Returns:
            A mask bool [images, max_blocks], and gate values float32 [images, num_blocks of the
            gate] or None.

        Raises:
            TypeError: if it is no array of numbers.
            ValueError: if its shape or a value is wrong.
        """
        shape = (*rows, self.simulator.max_blocks)
        if self.kind == "mask":
            return torch.from_numpy(checked_bits(action, shape).reshape(-1, shape[-1])), None
        values = torch.from_numpy(checked_values(action, shape)).view(-1, shape[-1])
        gate = min(self.simulator.layer, self.simulator.num_layers - 1)
        return values > 0, values[:, : self.simulator.num_blocks[gate]].contiguous()


def checked_values(action: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Reads gate values given by a user: a fresh float32 array of that shape.

    Raises:
        TypeError: if it is no array of numbers.
        ValueError: if the shape differs, or a value is NaN or outside of [0, 1].
    """
    array = np.asarray(action)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"expected the action to be an array of gate values, got dtype {array.dtype}; "
            "give floats in [0, 1]"
        )
    if array.shape != shape:
        raise ValueError(
            f"expected an action of shape {list(shape)}, one gate value a block, "
            f"got {list(array.shape)}"
        )
    fits = (array >= 0) & (array <= 1)
    if not bool(fits.all()):
        odd = array[~fits].flat[0]
        raise ValueError(f"expected every gate value of the action in [0, 1], got {odd}; clip it")
    return np.array(array, dtype=np.float32)
