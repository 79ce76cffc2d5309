"""Action views for Stable-Baselines3: a VecEnv of bits -> one with MultiDiscrete, Box or Discrete.

The whole batch keeps walking in lockstep, so SAC, TD3 and DQN learn from as many images at once as
the environment has rows.
"""

from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from ccenv.envs.action_views import check_bits, mask_stream, read_masks
from ccenv.mdp.action_codes import MaskMenu, make_code


class ActionViewVecEnv(VecEnvWrapper):
    """Lets an algorithm of Stable-Baselines3 act in another space; see `ActionView`.

    The stream of sampled masks starts with the seed given to `seed`, which every algorithm calls
    that is given one itself.
    """

    def __init__(self, venv: VecEnv, code: Any = "multi_discrete", **settings: Any) -> None:
        """Wraps; see `ccenv.envs.action_views.ActionView`."""
        self.code = make_code(code, check_bits(venv, venv.action_space), settings)
        super().__init__(venv, action_space=self.code.space)
        self._rng: np.random.Generator | None = None

    def seed(self, seed: int | None = None) -> Any:
        """Seeds images and masks; applies at the next reset."""
        if seed is not None:
            self._rng = mask_stream(seed, np.random.default_rng(seed))
        return self.venv.seed(seed)

    def reset(self) -> VecEnvObs:
        """Starts an episode for every row."""
        if self._rng is None:
            self._rng = mask_stream(None, np.random.default_rng())
        return self.venv.reset()

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the actions of the next `step_wait`."""
        self.venv.step_async(read_masks(self.code, actions, self._rng))

    def step_wait(self) -> VecEnvStepReturn:
        """Computes one gated layer of every image; see `BlockSelectionVecEnv.step_wait`."""
        return self.venv.step_wait()

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Calls a method of the rows; `action_masks` of a menu allows everything."""
        if method_name == "action_masks" and isinstance(self.code, MaskMenu):
            rows = len(self._get_indices(indices))
            return [np.ones(len(self.code.menu), dtype=bool) for _ in range(rows)]
        return self.venv.env_method(method_name, *method_args, indices=indices, **method_kwargs)
