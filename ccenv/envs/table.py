"""The table of all masks as an environment: one look, one mask of all blocks, one reward; numpy."""

from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from ccenv.base.registry import check_names
from ccenv.envs.infos import check_action, row_of, with_presence
from ccenv.envs.vector import image_indices, read_autoreset_mode, without_reset_mask
from ccenv.mask_table import MaskTable, number_of, read_table
from ccenv.mask_table.table import SCORES

INFO = dict[str, Any]
LOOKS = NDArray[np.float32]


class TableEpisodes:
    """Rows of a table that are being decided, and the stream that chooses them."""

    def __init__(self, table: str | Path | MaskTable, cost_weight: float, score: str) -> None:
        """Reads the table.

        Args:
            table: a file's name, or a table.
            cost_weight: price of the dense network's MACs.
            score: "right" (1 or 0), or "log_likelihood" (minus nll, in nats).

        Raises:
            FileNotFoundError, ValueError: see `read_table`, or if it holds no look.
        """
        check_names([score], SCORES, "score")
        self.table = table if isinstance(table, MaskTable) else read_table(Path(table))
        if self.table.look is None:
            raise ValueError("expected a table that holds a look, got an older one; build it anew")
        self.look, self.cost_weight, self.score = self.table.look, float(cost_weight), score
        self.num_units = self.table.header.num_units
        self.costs = (self.table.macs / self.table.header.dense_macs).astype(np.float32)
        self.generator: np.random.Generator | None = None
        self.order = self.images = np.empty(0, dtype=np.int64)

    def spaces(self) -> tuple[gym.spaces.Box, gym.spaces.MultiBinary]:
        """Of one image."""
        # Activations may be of any size; finite bounds, because Gymnasium's checker minds infinity.
        limit = float(np.finfo(np.float32).max)
        box = gym.spaces.Box(-limit, limit, (self.look.shape[1],), np.float32)
        return box, gym.spaces.MultiBinary(self.num_units)

    def seed(self, seed: int) -> None:
        """Starts the stream of images anew."""
        self.generator = np.random.default_rng(seed)
        self.order = np.empty(0, dtype=np.int64)

    def begin(self, count: int, indices: NDArray[np.int64] | None) -> LOOKS:
        """Takes the next images of a shuffled pass, or those asked for: their looks."""
        if indices is None:
            assert self.generator is not None
            while len(self.order) < count:
                one_pass = self.generator.permutation(len(self.look))
                self.order = np.concatenate([self.order, one_pass])
            indices, self.order = self.order[:count], self.order[count:]
        elif len(indices) != count or indices.min() < 0 or indices.max() >= len(self.look):
            raise ValueError(
                f"expected {count} indices in 0..{len(self.look) - 1}, got {indices.tolist()[:8]}"
            )
        self.images = indices
        return self.look.take(indices, axis=0)

    def judge(self, masks: NDArray[np.bool_]) -> tuple[NDArray[np.float32], INFO]:
        """Rewards and infos of masks of all blocks: bool [rows, num_units]."""
        numbers = number_of(self.table.header.menus, masks)
        right, nll, macs = self.table.look_up(self.images, numbers)
        cost, nll = self.costs[numbers], nll.astype(np.float32)
        score = right.astype(np.float32) if self.score == "right" else -nll
        paid = (-self.cost_weight * cost).astype(np.float32)
        info = {
            "mask": masks.copy(),
            "cost": cost.copy(),
            "compute_cost": cost,
            "macs": macs,
            "correct": right,
            "nll": nll,
            "image": self.images.copy(),
            "reward/score": score,
            "reward/cost": paid,
        }
        return score + paid, info


class BlockSelectionTableEnv(gym.Env[np.ndarray, np.ndarray]):
    """Choose at once, for one image, which blocks of a frozen network run; looked up, not computed.

    An episode is one step: the observation is what is cheap to see before the first gate, the
    action all blocks' bits (`MultiBinary(num_units)`), the reward score - cost_weight * cost, where
    cost is the mask's MACs over the dense network's. `info`: `mask`, `cost`, `compute_cost`,
    `macs`, `correct`, `nll`, `image` (row of the split), `reward/score`, `reward/cost`.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}  # type: ignore[misc]

    def __init__(
        self,
        table: str | Path | MaskTable,
        cost_weight: float = 1.0,
        score: str = "right",
        render_mode: None = None,
    ) -> None:
        """Reads the table; see `TableEpisodes`."""
        self.episodes = TableEpisodes(table, cost_weight, score)
        self.observation_space, self.action_space = self.episodes.spaces()
        self.render_mode = render_mode
        self._is_over = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, INFO]:
        """Starts the next image's episode; `options={"indices": [i]}` chooses it."""
        indices = image_indices(options)
        super().reset(seed=seed)
        if seed is not None or self.episodes.generator is None:
            self.episodes.seed(int(self.np_random.integers(2**31)))
        self._is_over = False
        return self.episodes.begin(1, indices)[0].copy(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, INFO]:
        """Looks a mask up: bits [num_units] -> the same look, reward, True, False, info."""
        if self._is_over:
            raise RuntimeError("expected a running episode, got none; call reset() first")
        masks = check_action(action, (self.episodes.num_units,)).numpy()[None]
        reward, info = self.episodes.judge(masks)
        self._is_over = True
        seen = self.episodes.look[self.episodes.images[0]].copy()
        return seen, float(reward[0]), True, False, row_of(info, 0)


class BlockSelectionTableVectorEnv(gym.vector.VectorEnv):
    """A batch of `BlockSelectionTableEnv`; infos as there, with Gymnasium's boolean twins."""

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": [],
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        num_envs: int,
        table: str | Path | MaskTable,
        cost_weight: float = 1.0,
        score: str = "right",
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
        render_mode: None = None,
    ) -> None:
        """Reads the table; see `TableEpisodes` and, for `autoreset_mode`, Gymnasium."""
        self.episodes, self.num_envs = TableEpisodes(table, cost_weight, score), num_envs
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
        self._check_open()
        indices = image_indices(without_reset_mask(options, self.num_envs))
        if seed is not None or self.episodes.generator is None:
            super().reset(seed=seed)
            self.episodes.seed(int(self.np_random.integers(2**31)))
        return self._begin(indices), {}

    def _begin(self, indices: NDArray[np.int64] | None = None) -> LOOKS:
        self._is_over = False
        return self.episodes.begin(self.num_envs, indices)

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, INFO]:
        """Looks masks up: bits [num_envs, num_units]."""
        self._check_open()
        no = np.zeros(self.num_envs, dtype=bool)
        if self._is_over:
            if self.episodes.generator is None or self.autoreset_mode != AutoresetMode.NEXT_STEP:
                raise RuntimeError("expected a running episode, got none; call reset() first")
            return self._begin(), np.zeros(self.num_envs, np.float32), no, no.copy(), {}
        masks = check_action(actions, (self.num_envs, self.episodes.num_units)).numpy()
        reward, found = self.episodes.judge(masks)
        self._is_over, info = True, with_presence(found, ~no)
        seen = self.episodes.look.take(self.episodes.images, axis=0)
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            final = dict(info)
            info |= {"final_obs": seen, "_final_obs": ~no}
            info |= {"final_info": final, "_final_info": ~no}
            seen = self._begin()
        return seen, reward, ~no, no, info

    def _check_open(self) -> None:
        if self.closed:
            raise RuntimeError("expected an open environment, got a closed one; make a new one")
