"""Gymnasium's vector view: numpy block masks of a batch -> observations, rewards, infos."""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from ccenv.envs.actions import Actions
from ccenv.envs.infos import SimulatorView, action_masks, numpy_copy, numpy_rows, step_info
from ccenv.envs.rendering import RENDER_MODES, check_render_mode, render_rows
from ccenv.envs.rows import (
    check_open,
    image_indices,
    read_autoreset_mode,
    with_presence,
    without_reset_mask,
)
from ccenv.simulator.simulator import Simulator
from ccenv.simulator.step import Step


def observation_space(simulator: Simulator) -> gym.spaces.Box:
    """Of what is seen of one input."""
    # Activations may be of any size; finite bounds, because Gymnasium's checker minds infinity.
    limit = float(np.finfo(np.float32).max)
    return gym.spaces.Box(-limit, limit, (simulator.obs_size,), np.float32)


def make_reward_space(simulator: Simulator) -> gym.spaces.Box | None:
    """Bounds of one step's reward of several numbers, as MO-Gymnasium declares it; else None."""
    description = simulator.reward.description
    if description is None or not description.components:
        return None
    low, high = np.array(list(description.components.values()), dtype=np.float32).T
    return gym.spaces.Box(low, high, dtype=np.float32)


def paid(simulator: Simulator, step: Step) -> np.ndarray:
    """Rewards of a step as numpy: float32 [batch], or [batch, terms] of several numbers."""
    if simulator.reward.is_vector:
        return np.ascontiguousarray(numpy_rows(list(step.terms.values())).T)
    return numpy_copy(step.reward)


class BlockSelectionVectorEnv(SimulatorView, gym.vector.VectorEnv):
    """A batch of `BlockSelectionEnv`, stepped together.

    Every signal has one row per input. All rows are at the same gate, so all episodes end together.

    Autoreset: with `SAME_STEP` (default) the step that ends the episodes returns the first
    observation of the next ones; the last observations and infos are in `info["final_obs"]` and
    `info["final_info"]`. With `NEXT_STEP` one more call, whose action is ignored, resets. With
    `DISABLED` you call `reset`. In all modes the other keys of `info` describe the step that was
    just executed.

    >>> import gymnasium as gym
    >>> settings = {"dataset": "synthetic", "weights": "cotrain", "num_blocks": [4, 4]}
    >>> envs = gym.make_vec("ccenv:BlockSelection-v0", num_envs=3, **settings)
    >>> observations, infos = envs.reset(seed=0)
    >>> observations, rewards, terminated, truncated, infos = envs.step(envs.action_space.sample())
    >>> rewards.shape, infos["mask"].shape
    ((3,), (3, 4))
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": list(RENDER_MODES),
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        *,
        action: str = "mask",
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        """Builds the environment; see `Simulator` for errors.

        Args:
            num_envs: inputs in a batch; a multiple of `group_size`.
            action: "mask" (bits) or "weight" (gate values); see `ccenv.envs.actions`.
            autoreset_mode: "SAME_STEP", "NEXT_STEP" or "DISABLED", or Gymnasium's enum.
            render_mode: None, "ansi" or "rgb_array".
            **settings: see `ccenv.simulator.settings.EnvironmentSettings`.
        """
        self.autoreset_mode = autoreset_mode = read_autoreset_mode(autoreset_mode)
        self.render_mode = check_render_mode(render_mode)
        self.simulator = Simulator(num_envs, **settings)
        self.num_envs = num_envs = self.simulator.num_images
        self.metadata = self.metadata | {"autoreset_mode": autoreset_mode}  # type: ignore[misc]
        self.actions = Actions(self.simulator, action)
        self.single_observation_space = observation_space(self.simulator)
        self.single_action_space = self.actions.space()
        self.reward_space = make_reward_space(self.simulator)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode for every row.

        Args:
            seed: restarts all random streams and, in co-training, restores the initial weights
                and their optimiser. Without it they go on.
            options: `{"indices": int [num_envs / group_size]}` chooses the inputs; Gymnasium's
                `"reset_mask"` is accepted when it names all rows.

        Returns:
            Observations [num_envs, obs_size] float32 and an info dict.
        """
        check_open(self.closed)
        indices = image_indices(without_reset_mask(options, self.num_envs))
        num_inputs = self.num_envs // self.simulator.group_size
        if indices is not None and len(indices) != num_inputs:
            raise ValueError(
                f"expected {num_inputs} indices, one for each input, got {len(indices)}"
            )
        super().reset(seed=seed)
        self.start(seed, self.np_random)
        return self._begin(indices), self._reset_info()

    def _reset_info(self) -> dict[str, Any]:
        version = np.full(self.num_envs, self.simulator.network_version, dtype=np.int64)
        return with_presence({"network_version": version}, np.ones(self.num_envs, dtype=bool))

    def step(
        self, actions: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Computes one gated layer of every input under its mask.

        Args:
            actions: [num_envs, max(num_blocks)] of 0 and 1 (bool, int or float), or gate values in
                [0, 1] of an environment made with `action="weight"`.

        Returns:
            Observations float32 [num_envs, obs_size], rewards float32 [num_envs] (of a reward of
            several numbers [num_envs, reward_space.shape[0]]), terminated and truncated bool
            [num_envs], and infos; errors as of `BlockSelectionEnv.step`.
        """
        check_open(self.closed)
        simulator, truncated = self.simulator, np.zeros(self.num_envs, dtype=bool)
        if simulator.is_over:
            if simulator.state is None or self.autoreset_mode != AutoresetMode.NEXT_STEP:
                raise RuntimeError("expected a running episode, got none; call reset() first")
            shape = (self.num_envs, *(self.reward_space.shape if self.reward_space else ()))
            reward = np.zeros(shape, dtype=np.float32)
            return self._begin(), reward, truncated.copy(), truncated, self._reset_info()
        step = self._step(*self.actions.read(actions, self.num_envs))
        info = step_info(step, simulator.max_blocks, simulator.network_version)
        everybody = np.ones(self.num_envs, dtype=bool)
        observation, info = step.observation.cpu().numpy(), with_presence(info, everybody)
        reward = paid(simulator, step)
        terminated = np.full(self.num_envs, step.is_over)
        if step.is_over and self.autoreset_mode == AutoresetMode.SAME_STEP:
            final: dict[str, Any] = {"final_obs": observation, "final_info": dict(info)}
            info |= final | {f"_{key}": everybody.copy() for key in final}
            observation = self._begin()
        return observation, reward, terminated, truncated, info

    def action_masks(self) -> np.ndarray:
        """What MaskablePPO may choose, row by row: see `ccenv.envs.infos.action_masks`."""
        return np.tile(action_masks(self.simulator), (self.num_envs, 1))

    def render(self) -> tuple[Any, ...] | None:
        """One block map for each row: strings with "ansi", uint8 [height, width, 3] else."""
        if self.render_mode is None:
            return None
        return tuple(render_rows(self._decided(), self._blocks(), self.num_envs, self.render_mode))
