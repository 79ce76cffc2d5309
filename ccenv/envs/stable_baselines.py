"""Stable-Baselines3's view: numpy block masks -> observations, rewards, dones, info dicts."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.utils import seeding
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from ccenv.envs.actions import Actions, Coded, check_bits
from ccenv.envs.infos import SimulatorView, action_masks, numpy_copy, step_info
from ccenv.envs.rendering import check_render_mode, render_rows
from ccenv.envs.rows import RowInfo, check_open, image_indices
from ccenv.envs.vector import observation_space
from ccenv.mdp.action_codes import make_code
from ccenv.simulator.simulator import Simulator
from ccenv.simulator.step import Step


class BlockSelectionVecEnv(SimulatorView, VecEnv):
    """A batch of `BlockSelectionEnv` as a `VecEnv` of Stable-Baselines3.

    All rows are at the same gate and end together, so attributes and methods are those of all of
    them; the step that ends them returns the first observations of the next inputs. On that step
    each row's info dict holds the scalar environment's last `info`, `terminal_observation`,
    `TimeLimit.truncated` (False) and `episode` (return `r`, length `l`, seconds `t` since the
    environment was built), as SB3's `Monitor` gives it; so `env_is_wrapped(Monitor)` is true. On
    other steps the dicts are empty: filling thousands of dicts costs more than the network. What
    SB3 itself does not read is filled in on use.

    With Stable-Baselines3 use `n_steps` a multiple of the number of gates, `gamma=1` and
    `stats_window_size` of at least `num_envs`; `ccenv.agents.sb3` does.

    >>> from ccenv.sb3 import BlockSelectionVecEnv
    >>> settings = {"dataset": "synthetic", "weights": "cotrain", "num_blocks": [4, 4]}
    >>> env = BlockSelectionVecEnv(3, **settings)
    >>> env.reset().shape[0]
    3
    >>> observations, rewards, dones, infos = env.step(np.ones((3, 4)))
    >>> rewards.shape, dones.tolist()
    ((3,), [False, False, False])
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        simulator: Simulator | None = None,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        """Builds the environment; see `Simulator` for errors.

        Args:
            num_envs: inputs in a batch; a multiple of `group_size`.
            simulator: wraps this one instead of building one: same inputs, same network, and its
                own random streams go on. Then `num_envs` and `settings` stay at their defaults.
            render_mode: None, "ansi" or "rgb_array".
            **settings: see `ccenv.simulator.settings.EnvironmentSettings`.
        """
        self.render_mode = check_render_mode(render_mode)
        if simulator is not None and (settings or num_envs not in (1, simulator.num_images)):
            names = sorted(settings) or [f"num_envs={num_envs}"]
            raise ValueError(
                f"expected no settings with simulator=..., got {', '.join(names)}; "
                "the simulator has settings of its own"
            )
        self.simulator = simulator or Simulator(num_envs, **settings)
        self.simulator.reward.check_is_one_number("Stable-Baselines3")
        self.masks = Actions(self.simulator)
        self.steps: list[Step] = []
        self._is_closed, self._actions = False, np.empty(0)
        self._built_at = time.perf_counter()
        space = observation_space(self.simulator)
        super().__init__(self.simulator.num_images, space, self.masks.space())

    def reset(self) -> np.ndarray:
        """Starts an episode for every row: observations [num_envs, obs_size] float32.

        Applies, once, what `seed` and `set_options({"indices": [...]})` asked for.
        """
        check_open(self._is_closed)
        indices = chosen_images(self._options, self.simulator.group_size)
        self.start(self._seeds[0], seeding.np_random(self._seeds[0])[0])
        self._reset_seeds()
        self._reset_options()
        return self._begin(indices)

    def _begin(self, indices: np.ndarray | None = None) -> np.ndarray:
        observation = super()._begin(indices)
        told = {"network_version": self.simulator.network_version}
        if self.reset_infos[0] != told:
            self.reset_infos = [told.copy() for _ in range(self.num_envs)]
        return observation

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the masks of the next `step_wait`: [num_envs, bits] of 0 and 1."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Computes one gated layer of every input under its mask; errors as of `BlockSelectionEnv`.

        Returns:
            Observations, float32 rewards, dones and info dicts, one for each row.
        """
        check_open(self._is_closed)
        mask, _ = self.masks.read(self._actions, self.num_envs)
        if self.simulator.layer == self.simulator.position == 0:
            self.steps = []
        step = self._step(mask)
        self.steps.append(step)
        observation, reward = step.observation.cpu().numpy(), numpy_copy(step.reward)
        dones = np.empty(self.num_envs, dtype=bool)
        dones.fill(step.is_over)
        if not step.is_over:
            return observation, reward, dones, [{} for _ in range(self.num_envs)]
        columns = step_info(step, self.simulator.max_blocks, self.simulator.network_version)
        returns = torch.stack([one.reward for one in self.steps]).sum(dim=0).tolist()
        seconds = round(time.perf_counter() - self._built_at, 6)
        infos: list[dict[str, Any]] = []
        for number, (last, paid) in enumerate(zip(observation, returns, strict=True)):
            episode = {"r": paid, "l": len(self.steps), "t": seconds}
            # A dict of its own first: to set keys one by one takes a quarter longer.
            row = RowInfo(
                {"TimeLimit.truncated": False, "terminal_observation": last, "episode": episode}
            )
            row.columns, row.number = columns, number
            infos.append(row)
        return self._begin(), reward, dones, infos

    def action_masks(self) -> np.ndarray:
        """What MaskablePPO may choose, row by row: see `ccenv.envs.infos.action_masks`."""
        return np.tile(action_masks(self.simulator), (self.num_envs, 1))

    def render_rows(self) -> Sequence[Any]:
        """Block map of each row: strings with "ansi", uint8 [height, width, 3] else."""
        return render_rows(self._decided(), self._blocks(), self.num_envs, self.render_mode)

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Block map of each row as uint8 [height, width, 3]; None without "rgb_array"."""
        if self.render_mode != "rgb_array":
            return [None] * self.num_envs
        return self.render_rows()

    def close(self) -> None:
        """Ends the environment's life; steps are refused afterwards."""
        self._is_closed = True

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Gives an attribute of this view or what it shows, once for each row asked for."""
        owner = self if hasattr(self, attr_name) else self.simulator
        value = getattr(owner, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets an attribute of this view, for all rows (else ValueError), which share one state."""
        if len(set(self._get_indices(indices))) != self.num_envs:
            raise ValueError(
                f"expected set_attr for all {self.num_envs} rows, got indices {indices!r}; "
                "the rows share one simulator: leave indices out"
            )
        setattr(self, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Calls a method once and answers for the rows; ValueError if it would move some."""
        if method_name in ("reset", "step", "step_async", "step_wait", "close"):
            raise ValueError(
                f"expected a method that leaves the rows where they are, got {method_name!r}; "
                f"all rows go together: call {method_name}() of the environment"
            )
        by_row: dict[str, Any] = {"action_masks": self.action_masks, "render": self.render_rows}
        if method_name in by_row:
            rows = by_row[method_name](*method_args, **method_kwargs)
            return [rows[i] for i in self._get_indices(indices)]
        result = self.get_attr(method_name, 0)[0](*method_args, **method_kwargs)
        return [result for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        """True for `Monitor`, whose `episode` entries this view gives itself; else False."""
        return [wrapper_class is Monitor for _ in self._get_indices(indices)]


def chosen_images(options: Sequence[dict[str, Any]], group_size: int) -> np.ndarray | None:
    """Reads SB3's options, a dict for the batch or one a row; ValueError if they do not fit."""
    # SB3 repeats a dict that is meant for all rows, by reference.
    rows = 1 if all(option is options[0] for option in options) else len(options)
    by_row = [image_indices(option) for option in options[:rows]]
    chosen = [indices for indices in by_row if indices is not None]
    if not chosen:
        return None
    indices = np.concatenate(chosen)
    if rows > 1:
        by_group = indices.reshape(-1, group_size) if len(indices) == rows else None
        if by_group is None or (by_group != by_group[:, :1]).any():
            raise ValueError(
                f"expected one index for each of {rows} rows, the same for the {group_size} rows "
                f"of a group, got {indices.tolist()}"
            )
        indices = by_group[:, 0]
    if len(indices) * group_size != len(options):
        raise ValueError(
            f"expected {len(options) // group_size} indices, one for each input, got {len(indices)}"
        )
    return indices


class ActionViewVecEnv(Coded, VecEnvWrapper):
    """Lets an algorithm of Stable-Baselines3 act in another space; see `ActionView`.

    The stream of sampled masks starts with the seed given to `seed`, which every algorithm calls
    that is given one itself.

    >>> env = BlockSelectionVecEnv(2, dataset="synthetic", weights="cotrain")
    >>> ActionViewVecEnv(env, "menu", menu="single").action_space
    Discrete(12)
    """

    def __init__(self, venv: VecEnv, code: Any = "multi_discrete", **settings: Any) -> None:
        """Wraps; see `ccenv.envs.actions.ActionView`."""
        self.code = make_code(code, check_bits(venv, venv.action_space), settings)
        super().__init__(venv, action_space=self.code.space)

    def seed(self, seed: int | None = None) -> Any:
        """Seeds inputs and masks; applies at the next reset."""
        if seed is not None:
            self.restart(seed, np.random.default_rng(seed))
        return self.venv.seed(seed)

    def reset(self) -> VecEnvObs:
        """Starts an episode for every row."""
        self.restart(None, np.random.default_rng())
        return self.venv.reset()

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the actions of the next `step_wait`."""
        self.venv.step_async(self.masks_of(actions))

    def step_wait(self) -> VecEnvStepReturn:
        """Computes one gated layer of every input; see `BlockSelectionVecEnv.step_wait`."""
        return self.venv.step_wait()

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Calls a method of the rows; `action_masks` of a menu allows everything."""
        if method_name == "action_masks" and (allowed := self.whole_menu()) is not None:
            return [allowed.copy() for _ in self._get_indices(indices)]
        return self.venv.env_method(method_name, *method_args, indices=indices, **method_kwargs)
