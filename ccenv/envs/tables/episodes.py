"""Episodes of a mask table in numpy: (inputs, masks) -> observations, outcomes, rewards."""

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from ccenv.base.registry import check_names
from ccenv.base.values import shown
from ccenv.mask_table.header import NUMBERS, number_of
from ccenv.mask_table.table import SCORES, MaskTable, opened_table
from ccenv.mask_table.times import UnitTimes, read_times
from ccenv.mdp.outcome import Outcome
from ccenv.rewards import Reward, RewardFunction, make_reward
from ccenv.rewards.bind import PlainReward

INFO = dict[str, Any]
F32 = NDArray[np.float32]
TERMS: TypeAlias = "dict[str, NDArray[Any]]"
BITS = NDArray[np.bool_]
FIELDS = "correct, log_likelihood, layer_cost, compute_cost, macs, density, mask, layer, is_last"
"""Fields of an outcome that a message names."""


def shares(macs: NUMBERS, dense_macs: int) -> F32:
    """MACs as shares of the dense network's, as the simulated environment rounds them."""
    return macs.astype(np.float32) / np.float32(dense_macs)


@dataclass(frozen=True)
class TableOutcome(Outcome["NDArray[Any]"]):
    """What one gate's mask did, looked up: a `StepOutcome` of arrays, without a network."""

    right: F32
    """[rows]; 1 for a right answer, 0 for a wrong one or none yet."""
    nll: F32 | None
    """[rows] in nats, 0 before the end; None of bits alone."""

    @property
    def correct(self) -> F32:
        """See `Outcome.correct`."""
        return self.right

    @property
    def log_likelihood(self) -> F32:
        """See `Outcome.log_likelihood`; ValueError if the table holds bits alone."""
        if self.nll is None:
            raise ValueError(
                "expected a table with nll, got one of bits alone; choose another reward, or build "
                "the table: ccenv table build"
            )
        return -self.nll

    @property
    def logits(self) -> object | None:
        """None before the end, as in a `StepOutcome`; behind it something, which no table holds."""
        return object() if self.is_last else None

    def as_float32(self, values: "NDArray[Any]") -> F32:
        """See `Outcome.as_float32`."""
        return values.astype(np.float32, copy=False)


class TableEpisodes:
    """Rows of a table that are being decided, and the stream that chooses them."""

    def __init__(
        self,
        table: str | Path | MaskTable,
        cost_weight: float = 1.0,
        score: str = "right",
        by_gate: bool = False,
        reward: str | RewardFunction | None = None,
        reward_kwargs: dict[str, Any] | None = None,
        times: str | Path | UnitTimes | None = None,
    ) -> None:
        """Reads the table.

        Args:
            table: name of a table that comes with the package, a file's name, or a table.
            cost_weight: weight of the cost.
            score: "right" (1 or 0), or "log_likelihood" (minus nll, in nats).
            by_gate: whether a step decides one gate; otherwise one step decides all.
            reward: None for score - cost_weight * cost; else a name in `REWARDS`, `module:name` or
                a function that uses only the fields of `Outcome`; leave `cost_weight` and `score`
                at their defaults then.
            reward_kwargs: settings of that reward.
            times: file of `ccenv table times`, or its content: the cost is then the machine's time
                instead of MACs, in `info["cost"]` too.

        Raises:
            FileNotFoundError, ValueError: see `read_table`; if it lacks what the reward needs.
        """
        check_names([score], SCORES, "score")
        self.table = opened_table(table)
        self.header = header = self.table.header
        self.look = self.table.look.astype(np.float32)
        self.cost_weight, self.score, self.by_gate = float(cost_weight), score, bool(by_gate)
        self.table.check_has(score)
        self.num_units, self.num_gates = header.num_units, len(header.gates)
        num_blocks = [blocks for _, blocks, _ in header.gates]
        self.starts = np.cumsum([0, *num_blocks]).tolist()
        self.num_bits = max(num_blocks) if by_gate else self.num_units
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
        if reward is not None and (cost_weight, score) != (1.0, "right"):
            raise ValueError("expected reward_kwargs with a reward, got cost_weight or score")
        if reward is None and reward_kwargs:
            raise ValueError("expected a reward with reward_kwargs, got none")
        self.rule: Callable[[TableOutcome], TERMS] = self.score_minus_cost
        if reward is not None:
            self.rule = self.playable(make_reward(reward, reward_kwargs))

    def score_minus_cost(self, outcome: TableOutcome) -> TERMS:
        """Pays a score and charges every gate when it is decided: what a table pays by itself."""
        paid = outcome.correct if self.score == "right" else outcome.log_likelihood
        return {"score": paid, "cost": -self.cost_weight * outcome.layer_cost}

    def playable(self, reward: Reward) -> Reward:
        """Tries a reward on the first image; ValueError if it needs more than this table holds."""
        if not isinstance(reward.rule, PlainReward):
            raise ValueError(
                f"expected a reward without a memory or a network, got {shown(reward.name)}; it "
                "needs the simulated environment: BlockSelection-v0"
            )
        reward.check_is_one_number("a table")
        self.begin(1, np.zeros(1, dtype=np.int64))
        for blocks in np.diff(self.starts):
            outcome, _ = self.walk(np.ones((1, blocks), dtype=bool))
            try:
                reward(outcome)
            except Exception as error:
                raise ValueError(
                    f"expected a reward of arithmetic on what a table holds (outcome.{FIELDS}), "
                    f"got {shown(reward.name)}, which raises {type(error).__name__}: {error}; "
                    "mend it, or use the simulated environment: BlockSelection-v0"
                ) from error
        return reward

    def spaces(self) -> tuple[gym.spaces.Box, gym.spaces.MultiBinary]:
        """Of one image."""
        # Activations may be of any size; finite bounds, because Gymnasium's checker minds infinity.
        limit = float(np.finfo(np.float32).max)
        size = self.look.shape[1] + (self.num_units + self.num_gates if self.by_gate else 0)
        return gym.spaces.Box(-limit, limit, (size,), np.float32), gym.spaces.MultiBinary(
            self.num_bits
        )

    def seed(self, seed: int) -> None:
        """Restarts the stream of images."""
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
        if not self.by_gate:
            return self.look.take(self.images, axis=0)
        found = np.zeros((count, size), np.float32)
        found[:, :width] = self.look[self.images]
        found[:, width : width + self.num_units] = self.executed
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
        paid = np.float32(-self.cost_weight) * charged
        info = self.end_info(right, nll) | {"mask": masks.copy(), "cost": charged.copy()}
        score: F32 = right.astype(np.float32) if self.score == "right" else -info["nll"]
        info |= {"compute_cost": cost, "macs": macs, "reward/score": score, "reward/cost": paid}
        self.gate = self.num_gates
        return score + paid, True, info

    def end_info(self, right: BITS, nll: NDArray[np.float16] | None) -> INFO:
        """What is known when an episode ends."""
        said: INFO = {"correct": right, "image": self.images.copy()}
        return said if nll is None else said | {"nll": nll.astype(np.float32)}

    def decide(self, masks: BITS) -> tuple[F32, bool, INFO]:
        """One gate: bool [rows, max_blocks], bits beyond its own blocks are ignored."""
        gate, before = self.gate, self.spent
        outcome, ended = self.walk(masks)
        terms = self.rule(outcome)
        whole = np.zeros_like(masks)
        whole[:, : outcome.mask.shape[1]] = outcome.mask
        rows = len(masks)
        info = {
            "layer": np.full(rows, gate, dtype=np.int64),
            "mask": whole,
            "layer_cost": shares(self.spent - before, self.header.dense_macs),
            "cost": outcome.layer_cost,
            "compute_cost": shares(self.spent, self.header.dense_macs),
            "macs": self.spent.copy(),
            "network_version": np.zeros(rows, dtype=np.int64),
            **{f"reward/{name}": term.copy() for name, term in terms.items()},
            **ended,
        }
        return total_of(terms), outcome.is_last, info

    def decide_all(self, masks: BITS) -> tuple[F32, bool, INFO]:
        """All gates one after the other; terms of the reward are added up."""
        sums: dict[str, F32] = {}
        for first, last in zip(self.starts[:-1], self.starts[1:], strict=True):
            outcome, ended = self.walk(masks[:, first:last])
            for name, term in self.rule(outcome).items():
                sums[name] = sums[name] + term if name in sums else term.copy()
        info = ended | {
            "mask": masks.copy(),
            "cost": outcome.compute_cost,
            "compute_cost": shares(self.spent, self.header.dense_macs),
            "macs": self.spent.copy(),
            **{f"reward/{name}": term for name, term in sums.items()},
        }
        return total_of(sums), True, info

    def walk(self, masks: BITS) -> tuple[TableOutcome, INFO]:
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
        ended: INFO = {}
        right, nll = np.zeros(len(bits), np.float32), None
        if self.table.nll is not None:
            nll = np.zeros_like(right)
        if self.gate == self.num_gates:
            correct, found, _ = self.table.look_up(self.images, self.prefix)
            right, ended = correct.astype(np.float32), self.end_info(correct, found)
            nll = ended.get("nll")
        dense = self.header.dense_macs
        now, so_far = shares(self.spent - before, dense), shares(self.spent, dense)
        if self.clocked is not None:
            so_far = self.clocked[gate][self.prefix]
            now = so_far - self.clocked[gate - 1][earlier] if gate else so_far
        outcome = TableOutcome(
            layer=gate,
            mask=mask,
            layer_cost=now,
            compute_cost=so_far,
            macs=self.spent,
            num_layers=self.num_gates,
            right=right,
            nll=nll,
        )
        return outcome, ended


def total_of(terms: TERMS) -> F32:
    """Their sum, in their order."""
    return functools.reduce(operator.add, terms.values()).astype(np.float32)
