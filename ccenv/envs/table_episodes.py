"""Episodes of a table: (images, masks gate by gate) -> looks, outcomes, rewards; numpy."""

import functools
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from ccenv.base.registry import check_names
from ccenv.base.values import as_settings
from ccenv.envs.recycled import Recycled
from ccenv.envs.table_rewards import RULES, Looked, check_rule, score_minus_cost
from ccenv.mask_table.menus import NUMBERS, number_of
from ccenv.mask_table.shipped import table_of
from ccenv.mask_table.table import SCORES, MaskTable
from ccenv.mask_table.times import UnitTimes, read_times

INFO = dict[str, Any]
F32 = NDArray[np.float32]
BITS = NDArray[np.bool_]


def shares(macs: NUMBERS, dense_macs: int) -> F32:
    """MACs as shares of the dense network's, as the simulated environment rounds them."""
    return macs.astype(np.float32) / np.float32(dense_macs)


class TableEpisodes:
    """Rows of a table that are being decided, and the stream that chooses them."""

    def __init__(
        self,
        table: str | Path | MaskTable,
        cost_weight: float = 1.0,
        score: str = "right",
        by_gate: bool = False,
        reward: str | None = None,
        reward_kwargs: dict[str, Any] | None = None,
        times: str | Path | UnitTimes | None = None,
    ) -> None:
        """Reads the table.

        Args:
            table: name of a table that comes with the package, a file's name, or a table.
            cost_weight: price of the dense network's MACs.
            score: "right" (1 or 0), or "log_likelihood" (minus nll, in nats).
            by_gate: whether a step decides one gate, else all at once.
            reward: None pays score - cost_weight * cost; else a name in `RULES`, and `cost_weight`
                and `score` stay at their defaults.
            reward_kwargs: settings of that reward.
            times: file of `ccenv table times`, or what it holds: the price is then on the machine's
                time instead of MACs, and so is `info["cost"]`; None for MACs.

        Raises:
            FileNotFoundError, ValueError: see `read_table`; if it holds no look, or lacks what the
                reward or the gates need.
        """
        check_names([score], SCORES, "score")
        self.table = table_of(table)
        self.header = header = self.table.header
        if self.table.look is None:
            raise ValueError("expected a table that holds a look, got an older one; build it anew")
        self.look = self.table.look.astype(np.float32)
        self.cost_weight, self.score, self.by_gate = float(cost_weight), score, bool(by_gate)
        self.table.check_has(score)
        self.rule = functools.partial(score_minus_cost, cost_weight=self.cost_weight, score=score)
        if reward is not None:
            if (cost_weight, score) != (1.0, "right"):
                raise ValueError("expected reward_kwargs beside a reward, got cost_weight or score")
            arguments = as_settings(reward_kwargs, "reward_kwargs")
            check_rule(reward, arguments, self.table.nll is not None)
            self.rule = functools.partial(RULES[reward], **arguments)
        elif reward_kwargs:
            raise ValueError("expected a reward beside reward_kwargs, got none")
        self.num_units, self.num_gates = header.num_units, len(header.gates)
        self.starts = np.cumsum([0, *(blocks for _, blocks, _ in header.gates)]).tolist()
        self.num_bits = max(b for _, b, _ in header.gates) if by_gate else self.num_units
        self.is_split = self.by_gate or reward is not None
        if self.is_split:
            self.bills = [self.table.bills_of(gate) for gate in range(self.num_gates)]
        self.costs = self.charged = shares(self.table.macs, header.dense_macs)
        self.clocked: list[F32] | None = None
        if times is not None:
            known = times if isinstance(times, UnitTimes) else read_times(Path(times))
            self.clocked = [known.shares(header, gate) for gate in range(self.num_gates)]
            self.charged = self.clocked[-1]
        self.generator: np.random.Generator | None = None
        self.order = self.images = np.empty(0, dtype=np.int64)
        self.gate = 0
        self.arrays: Recycled | None = None

    def spaces(self) -> tuple[gym.spaces.Box, gym.spaces.MultiBinary]:
        """Of one image."""
        # Activations may be of any size; finite bounds, because Gymnasium's checker minds infinity.
        limit = float(np.finfo(np.float32).max)
        size = self.look.shape[1] + (self.num_units + self.num_gates if self.by_gate else 0)
        return gym.spaces.Box(-limit, limit, (size,), np.float32), gym.spaces.MultiBinary(
            self.num_bits
        )

    def seed(self, seed: int) -> None:
        """Starts the stream of images anew."""
        self.generator = np.random.default_rng(seed)
        self.order = np.empty(0, dtype=np.int64)

    def begin(self, count: int, indices: NUMBERS | None) -> F32:
        """Takes the next images of a shuffled pass, or those asked for: what is seen first."""
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
        self.images, self.gate = indices, 0
        self.executed = np.zeros((count, self.num_units), dtype=bool)
        self.running, self.spent = np.ones(count, dtype=bool), np.zeros(count, dtype=np.int64)
        self.prefix = np.zeros(count, dtype=np.int64)
        return self.seen()

    def seen(self) -> F32:
        """The look, and by gate what was decided so far and the next gate: [rows, obs_size]."""
        count, width = len(self.images), self.look.shape[1]
        size = width + (self.num_units + self.num_gates if self.by_gate else 0)
        if self.arrays is None or self.arrays.shape != (count, size):
            self.arrays = Recycled((count, size), np.float32)
        found: F32 = self.arrays.take()
        if not self.by_gate:
            # Images are inside: with "raise", numpy would fill a buffer and copy it.
            return self.look.take(self.images, axis=0, out=found, mode="clip")
        found[:, :width] = self.look[self.images]
        found[:, width : width + self.num_units] = self.executed
        found[:, width + self.num_units :] = 0
        if self.gate < self.num_gates:
            found[:, width + self.num_units + self.gate] = 1
        return found

    def step(self, masks: BITS) -> tuple[F32, bool, INFO]:
        """Rewards, whether episodes end, and infos: bool [rows, num_bits]."""
        if self.by_gate:
            return self.decide(masks)
        if self.is_split:
            return self.decide_all(masks)
        numbers = number_of(self.header.menus, masks)
        right, nll, macs = self.table.look_up(self.images, numbers)
        cost, charged = self.costs[numbers], self.charged[numbers]
        score = right.astype(np.float32) if self.score == "right" else -scores_of(nll)
        paid = np.float32(-self.cost_weight) * charged
        info = self.end_info(right, nll) | {"mask": masks.copy(), "cost": charged.copy()}
        info |= {"compute_cost": cost, "macs": macs, "reward/score": score, "reward/cost": paid}
        self.gate = self.num_gates
        return score + paid, True, info

    def end_info(self, right: BITS, nll: NDArray[np.float16] | None) -> INFO:
        """What is known when an episode ends."""
        said: INFO = {"correct": right, "image": self.images.copy()}
        return said if nll is None else said | {"nll": scores_of(nll)}

    def decide(self, masks: BITS) -> tuple[F32, bool, INFO]:
        """One gate: bool [rows, max_blocks], bits beyond its own blocks are ignored."""
        gate, before = self.gate, self.spent
        looked, ended = self.walk(masks)
        terms = self.rule(looked)
        whole = np.zeros_like(masks)
        whole[:, : looked.mask.shape[1]] = looked.mask
        rows = len(masks)
        info = {
            "layer": np.full(rows, gate, dtype=np.int64),
            "mask": whole,
            "layer_cost": shares(self.spent - before, self.header.dense_macs),
            "cost": looked.layer_cost,
            "compute_cost": shares(self.spent, self.header.dense_macs),
            "macs": self.spent.copy(),
            "network_version": np.zeros(rows, dtype=np.int64),
            **{f"reward/{name}": term.copy() for name, term in terms.items()},
            **ended,
        }
        return total_of(terms), looked.is_last, info

    def decide_all(self, masks: BITS) -> tuple[F32, bool, INFO]:
        """All gates one after the other; terms of the reward are added up."""
        sums: dict[str, F32] = {}
        for first, last in zip(self.starts[:-1], self.starts[1:], strict=True):
            looked, ended = self.walk(masks[:, first:last])
            for name, term in self.rule(looked).items():
                sums[name] = sums[name] + term if name in sums else term.copy()
        info = ended | {
            "mask": masks.copy(),
            "cost": looked.compute_cost,
            "compute_cost": shares(self.spent, self.header.dense_macs),
            "macs": self.spent.copy(),
            **{f"reward/{name}": term for name, term in sums.items()},
        }
        return total_of(sums), True, info

    def walk(self, masks: BITS) -> tuple[Looked, INFO]:
        """Decides the next gate: bool [rows, blocks or more] -> what it did, and the end's info."""
        gate, menu = self.gate, self.header.menus[self.gate]
        bits = masks[:, : menu.num_blocks]
        earlier, self.prefix = self.prefix, self.prefix * len(menu) + menu.number_of(bits)
        mask = bits & self.running[:, None]
        self.executed[:, self.starts[gate] : self.starts[gate + 1]] = mask
        if self.header.gates[gate][2] == "stop":
            self.running = self.running & mask.any(axis=1)
        before, self.spent = self.spent, self.bills[gate][self.prefix]
        self.gate = gate + 1
        is_last, ended = self.gate == self.num_gates, {}
        right, nll = np.zeros(len(bits), np.float32), None
        if self.table.nll is not None:
            nll = np.zeros_like(right)
        if is_last:
            correct, found, _ = self.table.look_up(self.images, self.prefix)
            right, ended = correct.astype(np.float32), self.end_info(correct, found)
            nll = ended.get("nll")
        dense = self.header.dense_macs
        now, so_far = shares(self.spent - before, dense), shares(self.spent, dense)
        if self.clocked is not None:
            so_far = self.clocked[gate][self.prefix]
            now = so_far - self.clocked[gate - 1][earlier] if gate else so_far
        return Looked(is_last, mask, now, so_far, right, nll, self.num_gates), ended


def scores_of(nll: NDArray[np.float16] | None) -> F32:
    """With room for sums."""
    assert nll is not None
    return nll.astype(np.float32)


def total_of(terms: dict[str, F32]) -> F32:
    """Their sum, in their order."""
    return functools.reduce(np.add, terms.values()).astype(np.float32)
