"""Reads actions (array -> masks and gate values), and wraps environments in action views.

    gym.make(...)       -> ActionView(env, "menu", menu="single")
    gym.make_vec(...)   -> VectorActionView(envs, "multi_discrete")
    BlockSelectionVecEnv -> envs.stable_baselines.ActionViewVecEnv(vec_env, "box", sample=True)

A view has MultiDiscrete, Box or Discrete actions instead of bits, see `ccenv.mdp.action_codes`.
Observations, rewards and infos stay the same; `info["mask"]` holds the computed blocks.
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
from ccenv.envs.rows import action_array, checked_bits
from ccenv.mdp.action_codes import ActionCode, MaskMenu, make_code
from ccenv.simulator.simulator import Simulator

ACTIONS = ("mask", "weight")


class Actions:
    """Reads one kind of action, of one input or of a batch.

    "mask": a bit for each block. "weight": a gate value for each block, as in mixtures of experts
    (Shazeer et al. 2017, arXiv 1701.06538): 0 skips the block, other values scale its output, and
    at an exit the value is the share of the answer that is left to later exits.
    """

    def __init__(self, simulator: Simulator, kind: str = "mask") -> None:
        """Takes the simulator and one of `ACTIONS` (else ValueError)."""
        check_names([kind], ACTIONS, "action")
        self.simulator, self.kind = simulator, kind

    def space(self) -> gym.spaces.MultiBinary | gym.spaces.Box:
        """Space of one input's action."""
        width = self.simulator.max_blocks
        if self.kind == "mask":
            return gym.spaces.MultiBinary(width)
        return gym.spaces.Box(0.0, 1.0, (width,), np.float32)

    def read(self, action: Any, *rows: int) -> tuple[Tensor, Tensor | None]:
        """Reads an action [*rows, max_blocks]; `rows` is empty for one input.

        Returns:
            A mask bool [inputs, max_blocks], and gate values float32 [inputs, num_blocks of the
            gate] or None.

        Raises:
            TypeError: if it is no array of numbers.
            ValueError: if its shape or a value is wrong.
        """
        shape = (*rows, self.simulator.max_blocks)
        if self.kind == "mask":
            return torch.from_numpy(checked_bits(action, shape).reshape(-1, shape[-1])), None
        array = action_array(action, shape, "gate value", "give floats in [0, 1]")
        fits = (array >= 0) & (array <= 1)
        if not fits.all():
            odd = array[~fits].flat[0]
            raise ValueError(
                f"expected every gate value of the action in [0, 1], got {odd}; clip it"
            )
        # A copy: what a caller does with its array afterwards changes nothing.
        values = torch.from_numpy(np.array(array, dtype=np.float32)).view(-1, shape[-1])
        gate = min(self.simulator.layer, self.simulator.num_layers - 1)
        return values > 0, values[:, : self.simulator.num_blocks[gate]].contiguous()


def check_bits(env: Any, space: gym.Space[Any]) -> int:
    """Number of bits of an environment's actions; TypeError if they are not bits."""
    if not isinstance(space, gym.spaces.MultiBinary) or not isinstance(space.n, int | np.integer):
        raise TypeError(
            f"expected an environment with MultiBinary actions, got {space}; "
            f"wrap {env} with one action view only"
        )
    return int(space.n)


class Coded:
    """Base class of action views: a code, and the random stream of the masks that it samples."""

    code: ActionCode
    _rng: np.random.Generator | None = None

    def restart(self, seed: int | None, root: np.random.Generator) -> None:
        """Restarts the stream with the seed of a reset; without a seed it continues."""
        if seed is not None or self._rng is None:
            root_seed = int(root.integers(2**31)) if seed is None else seed
            self._rng = np.random.default_rng(stream_seed(root_seed, "sampled masks"))

    def masks_of(self, actions: np.ndarray) -> np.ndarray:
        """Decodes actions [batch, ...] to bits [batch, num_blocks]; RuntimeError before a reset."""
        if self._rng is None:
            raise RuntimeError("expected a running episode, got none; call reset() first")
        shape = self.code.space.shape
        if actions.shape[1:] != shape:
            raise ValueError(
                f"expected actions of shape {list(shape or ())} each, got {list(actions.shape[1:])}"
            )
        return self.code.masks(actions, self._rng)

    def whole_menu(self) -> np.ndarray | None:
        """Action mask of a menu for MaskablePPO, all True: bool [size]; None for other codes."""
        return np.ones(len(self.code.menu), bool) if isinstance(self.code, MaskMenu) else None


class ActionView(
    Coded, gym.Wrapper[np.ndarray, Any, np.ndarray, np.ndarray], RecordConstructorArgs
):
    """Wraps the scalar environment in another action space.

    >>> env = gym.make("ccenv:BlockSelection-v0", dataset="synthetic", weights="cotrain")
    >>> env = ActionView(env, "menu", menu="single")
    >>> env.action_space
    Discrete(12)
    >>> _ = env.reset(seed=0)
    >>> int(env.step(1)[-1]["mask"].sum())
    1
    """

    def __init__(self, env: gym.Env[Any, Any], code: Any = "multi_discrete", **settings: Any):
        """Wraps an environment.

        Args:
            env: an environment with `MultiBinary` actions (else TypeError).
            code: "multi_discrete", "box", "menu", or `module:name` (else ValueError).
            **settings: settings of the code; they survive JSON.
        """
        RecordConstructorArgs.__init__(self, code=code, **settings)
        gym.Wrapper.__init__(self, env)
        self.code = make_code(code, check_bits(env, env.action_space), settings)
        self.action_space = self.code.space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts the next episode; a seed also restarts the stream of sampled masks."""
        result = self.env.reset(seed=seed, options=options)
        self.restart(seed, self.np_random)
        return result

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        """Computes one gate under the mask of the action; see `masks_of`."""
        return self.env.step(self.masks_of(np.asarray(action)[None])[0])

    def action_masks(self) -> np.ndarray:
        """Action mask for MaskablePPO, see `infos.action_masks`; for a menu, all True."""
        allowed = self.whole_menu()
        return self.env.get_wrapper_attr("action_masks")() if allowed is None else allowed


class VectorActionView(Coded, gym.vector.VectorWrapper, RecordConstructorArgs):
    """Wraps a vector environment in another action space; see `ActionView`.

    >>> env = gym.make_vec(
    ...     "ccenv:BlockSelection-v0", num_envs=2, dataset="synthetic", weights="cotrain"
    ... )
    >>> VectorActionView(env, "menu", menu="single").action_space
    MultiDiscrete([12 12])
    """

    def __init__(
        self,
        env: gym.vector.VectorEnv[Any, Any, Any],
        code: Any = "multi_discrete",
        **settings: Any,
    ):
        """Wraps an environment; see `ActionView`."""
        RecordConstructorArgs.__init__(self, code=code, **settings)
        gym.vector.VectorWrapper.__init__(self, env)
        self.code = make_code(code, check_bits(env, env.single_action_space), settings)
        self.single_action_space = self.code.space
        self.action_space = batch_space(self.code.space, self.num_envs)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode for every row; a seed also restarts the stream of sampled masks."""
        result = self.env.reset(seed=seed, options=options)
        self.restart(seed[0] if isinstance(seed, list) else seed, self.np_random)
        return result

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Computes one gate of every input under the masks of the actions."""
        return self.env.step(self.masks_of(np.asarray(actions)))

    def action_masks(self) -> np.ndarray:
        """Action masks for MaskablePPO, row by row; for a menu, all True."""
        allowed = self.whole_menu()
        if allowed is not None:
            return np.tile(allowed, (self.num_envs, 1))
        return self.env.unwrapped.action_masks()  # type: ignore[attr-defined]
