"""The table of all masks for Stable-Baselines3: bits of a batch -> looks, rewards, dones, infos."""

import time
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from ccenv.envs.stable_baselines import rows_of_columns
from ccenv.envs.table import BlockSelectionTableVectorEnv


class BlockSelectionTableVecEnv(VecEnv):
    """`BlockSelectionTableVectorEnv` as `BlockSelectionVecEnv` shows the simulated environment.

    On the step that ends episodes each row's dict holds what the scalar environment's `info` says,
    `terminal_observation`, `TimeLimit.truncated` and `episode`; on other steps dicts are empty.
    """

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        """Reads the table; settings as of `BlockSelectionTableVectorEnv`."""
        mode = AutoresetMode.SAME_STEP
        self.env = BlockSelectionTableVectorEnv(num_envs, autoreset_mode=mode, **settings)
        super().__init__(
            self.env.num_envs,
            self.env.single_observation_space,
            self.env.single_action_space,
        )
        self.returns, self.length = np.zeros(self.num_envs, dtype=np.float32), 0
        self._actions: Any = None
        self._built_at = time.perf_counter()

    def reset(self) -> np.ndarray:
        """Starts an episode for every row, with the seed that `seed` gave, once."""
        found, _ = self.env.reset(seed=self._seeds[0])
        self._reset_seeds()
        self.returns[:], self.length = 0, 0
        return found

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the masks of the next `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Looks masks up: observations, rewards, dones and one dict a row."""
        seen, reward, dones, _, info = self.env.step(self._actions)
        self.returns += reward
        self.length += 1
        if not dones[0]:
            return seen, reward, dones, [{} for _ in range(self.num_envs)]
        final = {k: v for k, v in info["final_info"].items() if not k.startswith("_")}
        columns = {k: list(v) if v.ndim > 1 else v.tolist() for k, v in final.items()}
        seconds = round(time.perf_counter() - self._built_at, 6)
        own = {"l": self.length, "t": seconds}
        columns["episode"] = [{"r": r} | own for r in self.returns.tolist()]
        columns["terminal_observation"] = list(info["final_obs"])
        self.returns[:], self.length = 0, 0
        return seen, reward, dones, rows_of_columns(columns, {"TimeLimit.truncated": False})

    def close(self) -> None:
        """Ends the environment's life."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Gives an attribute of the vector environment, once for each row asked for."""
        value = getattr(self.env, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Refused: rows share one table."""
        raise ValueError(f"expected no attributes to be set, got {attr_name!r}; make a new one")

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Refused: rows go in lockstep."""
        raise AttributeError(f"expected no method of single rows, got {method_name!r}")

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        """True for `Monitor`, whose `episode` entries this view gives itself; else False."""
        return [wrapper_class is Monitor for _ in self._get_indices(indices)]
