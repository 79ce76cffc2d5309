"""Actions: (an array of the caller's) -> blocks that are computed, and gate values; action views.

    gym.make(...)       -> ActionView(env, "menu", menu="single")
    gym.make_vec(...)   -> VectorActionView(envs, "multi_discrete")
    BlockSelectionVecEnv -> envs.stable_baselines.ActionViewVecEnv(vec_env, "box", sample=True)

A view's actions are MultiDiscrete, Box or Discrete instead of bits, see `ccenv.mdp.action_codes`;
observations, rewards and infos stay: `info["mask"]` says which blocks were computed.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector.utils import batch_space
from torch import Tensor

from ccenv.base.registry import check_names
from ccenv.base.seeding import stream_seed
from ccenv.envs.rows import checked_bits
from ccenv.mdp.action_codes import ActionCode, MaskMenu, make_code
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
        """Takes the simulator that is acted on, and one of `ACTIONS` (else ValueError)."""
        check_names([kind], ACTIONS, "action")
        self.simulator, self.kind = simulator, kind

    def space(self) -> gym.spaces.MultiBinary | gym.spaces.Box:
        """Of one image's action."""
        width = self.simulator.max_blocks
        if self.kind == "mask":
            return gym.spaces.MultiBinary(width)
        return gym.spaces.Box(0.0, 1.0, (width,), np.float32)

    def read(self, action: Any, *rows: int) -> tuple[Tensor, Tensor | None]:
        """Reads an action [*rows, max_blocks] of a caller; `rows` is nothing for one image.

        Returns:
            A mask bool [images, max_blocks], and gate values float32 [images, num_blocks of the
            gate] or None.

        Raises:
            TypeError, ValueError: if it is no array of numbers, or its shape or a value is wrong.
        """
        shape = (*rows, self.simulator.max_blocks)
        if self.kind == "mask":
            return torch.from_numpy(checked_bits(action, shape).reshape(-1, shape[-1])), None
        values = torch.from_numpy(checked_values(action, shape)).view(-1, shape[-1])
        gate = min(self.simulator.layer, self.simulator.num_layers - 1)
        return values > 0, values[:, : self.simulator.num_blocks[gate]].contiguous()


def checked_values(action: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Gate values of a user as a fresh float32 array; TypeError, ValueError of others."""
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


def check_bits(env: Any, space: gym.Space[Any]) -> int:
    """Number of bits of an environment's actions; TypeError if they are not bits."""
    if not isinstance(space, gym.spaces.MultiBinary) or not isinstance(space.n, int | np.integer):
        raise TypeError(
            f"expected an environment with MultiBinary actions, got {space}; "
            f"wrap {env} with one action view only"
        )
    return int(space.n)


class Coded:
    """What action views share: a code, and the stream of the masks that it draws."""

    code: ActionCode
    _rng: np.random.Generator | None = None

    def restart(self, seed: int | None, root: np.random.Generator) -> None:
        """Starts the stream with a reset's seed; without one it goes on, or gets a drawn one."""
        if seed is not None or self._rng is None:
            root_seed = int(root.integers(2**31)) if seed is None else seed
            self._rng = np.random.default_rng(stream_seed(root_seed, "sampled masks"))

    def masks_of(self, actions: np.ndarray) -> np.ndarray:
        """Turns actions [batch, ...] into bits [batch, num_blocks]; RuntimeError before a reset."""
        if self._rng is None:
            raise RuntimeError("expected a running episode, got none; call reset() first")
        shape = self.code.space.shape
        if actions.shape[1:] != shape:
            raise ValueError(
                f"expected actions of shape {list(shape or ())} each, got {list(actions.shape[1:])}"
            )
        return self.code.masks(actions, self._rng)

    def whole_menu(self) -> np.ndarray | None:
        """What MaskablePPO may choose of a menu, everything: bool [size]; None of other codes."""
        return np.ones(len(self.code.menu), bool) if isinstance(self.code, MaskMenu) else None


class ActionView(
    Coded, gym.Wrapper[np.ndarray, Any, np.ndarray, np.ndarray], RecordConstructorArgs
):
    """Lets an algorithm act on the scalar environment in another action space."""

    def __init__(self, env: gym.Env[Any, Any], code: Any = "multi_discrete", **settings: Any):
        """Wraps.

        Args:
            env: with `MultiBinary` actions (else TypeError).
            code: "multi_discrete", "box", "menu", or `module:name` (else ValueError).
            **settings: of the code; they survive JSON.
        """
        RecordConstructorArgs.__init__(self, code=code, **settings)
        gym.Wrapper.__init__(self, env)
        self.code = make_code(code, check_bits(env, env.action_space), settings)
        self.action_space = self.code.space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts the next image's episode; a seed starts the stream of sampled masks anew too."""
        result = self.env.reset(seed=seed, options=options)
        self.restart(seed, self.np_random)
        return result

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        """Computes one gated layer under the mask that the action stands for; see `masks_of`."""
        return self.env.step(self.masks_of(np.asarray(action)[None])[0])

    def action_masks(self) -> np.ndarray:
        """What MaskablePPO may choose: see `infos.action_masks`; on a menu, everything."""
        allowed = self.whole_menu()
        return self.env.get_wrapper_attr("action_masks")() if allowed is None else allowed


class VectorActionView(Coded, gym.vector.VectorWrapper, RecordConstructorArgs):
    """Lets an algorithm act on a vector environment in another action space."""

    def __init__(
        self,
        env: gym.vector.VectorEnv[Any, Any, Any],
        code: Any = "multi_discrete",
        **settings: Any,
    ):
        """Wraps; see `ActionView`."""
        RecordConstructorArgs.__init__(self, code=code, **settings)
        gym.vector.VectorWrapper.__init__(self, env)
        self.code = make_code(code, check_bits(env, env.single_action_space), settings)
        self.single_action_space = self.code.space
        self.action_space = batch_space(self.code.space, self.num_envs)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode for every row; a seed starts the stream of sampled masks anew too."""
        result = self.env.reset(seed=seed, options=options)
        self.restart(seed[0] if isinstance(seed, list) else seed, self.np_random)
        return result

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Computes one gated layer of every image under the masks of the actions."""
        return self.env.step(self.masks_of(np.asarray(actions)))

    def action_masks(self) -> np.ndarray:
        """What MaskablePPO may choose, row by row; on a menu, everything."""
        allowed = self.whole_menu()
        if allowed is not None:
            return np.tile(allowed, (self.num_envs, 1))
        return self.env.unwrapped.action_masks()  # type: ignore[attr-defined]
