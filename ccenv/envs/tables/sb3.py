"""Mask tables for Stable-Baselines3."""

from typing import Any

import numpy as np

from ccenv.envs.stable_baselines import LockstepVecEnv
from ccenv.envs.tables.views import BlockSelectionTableVectorEnv


class BlockSelectionTableVecEnv(LockstepVecEnv):
    """`BlockSelectionTableVectorEnv` as a `VecEnv` of Stable-Baselines3.

    On the step that ends episodes each row's info dict holds the scalar environment's `info`,
    `terminal_observation`, `TimeLimit.truncated` and `episode`; on other steps dicts are empty.
    """

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        """Reads the table; settings as of `BlockSelectionTableVectorEnv`."""
        self.env = env = BlockSelectionTableVectorEnv(num_envs, **settings)
        spaces = env.single_observation_space, env.single_action_space
        super().__init__(env.num_envs, env, *spaces)
        self.returns, self.length = np.zeros(self.num_envs, dtype=np.float32), 0

    def reset(self) -> np.ndarray:
        """Starts an episode for every row, with the seed that `seed` gave, once."""
        observation, _ = self.env.reset(seed=self._seeds[0])
        self._reset_seeds()
        self.returns[:], self.length = 0, 0
        return observation

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Looks masks up: observations, rewards, dones and one dict a row."""
        observation, reward, dones, _, info = self.env.step(self._actions)
        self.returns += reward
        self.length += 1
        if not dones[0]:
            return observation, reward, dones, [{} for _ in range(self.num_envs)]
        last = {k: v for k, v in info["final_info"].items() if not k.startswith("_")}
        infos = self._final_infos(last, info["final_obs"], self.returns, self.length)
        self.returns[:], self.length = 0, 0
        return observation, reward, dones, infos

    def close(self) -> None:
        """Ends the environment's life."""
        self.env.close()
