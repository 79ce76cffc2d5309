"""Environments on a mask table, in numpy: all blocks in one step, or gate by gate."""

from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from ccenv.base.values import positive_int
from ccenv.envs.rendering import RENDER_MODES, check_render_mode, render_episode, render_text
from ccenv.envs.rows import (
    check_open,
    checked_bits,
    image_indices,
    read_autoreset_mode,
    row_of,
    with_presence,
    without_reset_mask,
)
from ccenv.envs.tables.episodes import INFO, TableEpisodes
from ccenv.mask_table.table import MaskTable


class BlockSelectionTableEnv(gym.Env[np.ndarray, np.ndarray]):
    """Chooses which blocks of a frozen network run for one input; outcomes come from a table.

    By default an episode is one step. The action has one bit per block (`MultiBinary(num_units)`),
    the observation is the features offered at the first gate, and the reward is
    score - cost_weight * cost, where cost is the mask's MACs over the dense network's. `info`:
    `mask`, `cost`, `compute_cost`, `macs`, `correct`, `nll` (if the table holds it), `image` (row
    of the split), `reward/<term>`. With `times` (a file of `ccenv table times`) `cost` is a
    machine's time; `compute_cost` stays MACs.

    With `by_gate=True` a step is one gate, as in `BlockSelectionEnv`: actions
    `MultiBinary(max(num_blocks))`, and its `info` without `label` and `prediction`, which a table
    does not hold. The observation is the features of the first gate, the bits that ran so far, and
    the one-hot index of the gate, all zeros after the last; features of later gates are not stored.

    >>> env = gym.make("ccenv:BlockSelectionTable-v0", cost_weight=0.3)
    >>> features, info = env.reset(seed=0)
    >>> features, reward, terminated, truncated, info = env.step([1] * 9)
    >>> terminated, info["compute_cost"]
    (True, 1.0)
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": list(RENDER_MODES),
        "render_fps": 4,
    }

    def __init__(
        self,
        table: str | Path | MaskTable = "resnet20",
        *,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        """Reads the table; see `TableEpisodes`."""
        self.render_mode = check_render_mode(render_mode)
        self.episodes = TableEpisodes(table, **settings)
        self.observation_space, self.action_space = self.episodes.spaces()
        self._is_over = True
        self._bits = np.empty(0, dtype=bool)
        self._status = "not started"

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, INFO]:
        """Starts the next image's episode; `options={"indices": [i]}` chooses it."""
        indices = image_indices(options)
        super().reset(seed=seed)
        if seed is not None or self.episodes.generator is None:
            self.episodes.seed(int(self.np_random.integers(2**31)))
        self._is_over = False
        self._bits, self._status = np.empty(0, dtype=bool), "started"
        return self.episodes.begin(1, indices)[0], {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, INFO]:
        """Looks up a mask: bits [num_units], or [max(num_blocks)] by gate; never truncated."""
        if self._is_over:
            raise RuntimeError("expected a running episode, got none; call reset() first")
        masks = checked_bits(action, (self.episodes.num_bits,))[None]
        reward, self._is_over, infos = self.episodes.step(masks)
        info = row_of(infos, 0)
        width = self.episodes.starts[self.episodes.gate] - len(self._bits)
        self._bits = np.append(self._bits, info["mask"][:width])
        self._status = f"cost {info['compute_cost']:.3f}"
        if self._is_over:
            self._status += f", {'correct' if info['correct'] else 'wrong'}"
        return self.episodes.seen()[0], float(reward[0]), self._is_over, False, info

    def render(self) -> Any:
        """The blocks of each gate so far: str with "ansi", uint8 [height, width, 3] else.

        A table holds no inputs, so the place of the input is empty.
        """
        gates, starts = self.episodes.header.gates, self.episodes.starts
        names, num_blocks = [name for name, _, _ in gates], [blocks for _, blocks, _ in gates]
        masks = np.split(self._bits, starts[1 : self.episodes.gate]) if len(self._bits) else []
        if self.render_mode == "ansi":
            return render_text(masks, num_blocks, self._status)
        if self.render_mode == "rgb_array":
            return render_episode(None, masks, names, num_blocks, self._status)
        return None


class BlockSelectionTableVectorEnv(gym.vector.VectorEnv):
    """A batch of `BlockSelectionTableEnv`; infos have Gymnasium's boolean arrays `_key`."""

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": [],
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        num_envs: int,
        table: str | Path | MaskTable = "resnet20",
        *,
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
        render_mode: None = None,
        **settings: Any,
    ) -> None:
        """Reads the table; see `TableEpisodes` and, for `autoreset_mode`, Gymnasium."""
        self.episodes = TableEpisodes(table, **settings)
        self.num_envs = num_envs = positive_int(num_envs, "num_envs")
        self.autoreset_mode = read_autoreset_mode(autoreset_mode)
        self.metadata = self.metadata | {"autoreset_mode": self.autoreset_mode}  # type: ignore[misc]
        self.render_mode = render_mode
        self.single_observation_space, self.single_action_space = self.episodes.spaces()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._is_over = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, INFO]:
        """Starts an episode for every row; see `BlockSelectionTableEnv.reset`."""
        check_open(self.closed)
        indices = image_indices(without_reset_mask(options, self.num_envs))
        if seed is not None or self.episodes.generator is None:
            super().reset(seed=seed)
            self.episodes.seed(int(self.np_random.integers(2**31)))
        return self._begin(indices), {}

    def _begin(self, indices: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        self._is_over = False
        return self.episodes.begin(self.num_envs, indices)

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, INFO]:
        """Looks up masks: bits [num_envs, num_units], or [num_envs, max(num_blocks)] by gate."""
        check_open(self.closed)
        no = np.zeros(self.num_envs, dtype=bool)
        if self._is_over:
            if self.episodes.generator is None or self.autoreset_mode != AutoresetMode.NEXT_STEP:
                raise RuntimeError("expected a running episode, got none; call reset() first")
            return self._begin(), np.zeros(self.num_envs, np.float32), no, no.copy(), {}
        masks = checked_bits(actions, (self.num_envs, self.episodes.num_bits))
        reward, self._is_over, found = self.episodes.step(masks)
        info, ends = with_presence(found, ~no), np.full(self.num_envs, self._is_over)
        seen = self.episodes.seen()
        if self._is_over and self.autoreset_mode == AutoresetMode.SAME_STEP:
            final = dict(info)
            info |= {"final_obs": seen, "_final_obs": ~no}
            info |= {"final_info": final, "_final_info": ~no}
            seen = self._begin()
        return seen, reward, ends, no, info
