"""Tasks on networks that people use: tables of all masks, and what their looks can tell at most.

The network is frozen and answers from a table (`mask_table`); rewards are real: right or
wrong. The best mask of each input is no bound that a policy could reach, because it is partly luck
that only the label tells. A bound that can be attained is estimated instead: a ridge regression on
random features (Rahimi and Recht 2007) of what is seen at the first gate predicts, for all masks,
the probability of a right answer, from inputs of other folds. An episode is worth what that
estimate says of its mask, so that luck neither helps nor harms; the optimum is the estimate's best
mask of each input, the reference its best static mask.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccenv.annexes.mask_table.environment import TableNetwork
from ccenv.annexes.mask_table.table import MaskTable, judging_table, shipped_table
from ccenv.annexes.tasks.problem import Problem
from ccenv.base.seeding import stream_seed
from ccenv.data.split import Split
from ccenv.mdp.dynamics import StepOutcome

Floats = NDArray[np.float64]
FOLDS = 5
FEATURES, RIDGE, WIDTH, SCALE = 300, 5e4, 0.7, 4.0
"""Random cosines, the penalty of the regression, their frequency, their height next to looks."""


@dataclass(frozen=True, kw_only=True)
class Real(Problem):
    """A table of the package at one cost weight."""

    table: str
    """name of a table of the package; its inputs of both files are used."""
    cost_weight: float
    """of the dense network's MACs, in right answers."""

    @property
    def rule(self) -> str:
        """See `Problem`."""
        return "the best static mask, by the estimate"

    @property
    def block_macs(self) -> None:
        """See `Problem`: costs are those of the real network."""
        return None

    def settings(self) -> dict[str, Any]:
        """See `Problem`."""
        kwargs = {"cost_weight": self.cost_weight}
        return {"reward": "accuracy_minus_cost", "reward_kwargs": kwargs}

    @functools.cached_property
    def tables(self) -> tuple[MaskTable, MaskTable]:
        """Both files of the table; inputs are counted through."""
        return shipped_table(self.table), judging_table(self.table)

    def split(self, split: str) -> Split:
        """Rows of the tables: all to learn from, those of the smaller file to choose by."""
        first, second = (table.header.num_images for table in self.tables)
        places = {
            "train": range(first + second),
            "validation": range(first),
            "test": range(first, first + second),
        }
        rows = torch.tensor(list(places[split]), dtype=torch.int64)
        return Split(rows[:, None], torch.zeros_like(rows), self.tables[0].header.num_classes)

    def network(self) -> TableNetwork:
        """See `Problem`."""
        network = TableNetwork(self.tables, "right")
        network.has_own_weights = True
        return network

    def value(self, outcome: StepOutcome, cost_weight: Any) -> Tensor:
        """See `Problem`: the estimate for the mask, where it is complete, less the cost.

        What the best static mask earns more or less on this input than on the mean is taken away:
        inputs are drawn, and that is luck.
        """
        cost = cost_weight * outcome.layer_cost
        if not outcome.is_last:
            return -cost
        prefix = outcome.after.hidden
        rows, numbers = (part.cpu() for part in (prefix.rows, prefix.numbers))
        above = torch.from_numpy(self.estimate)[rows, numbers] - torch.from_numpy(self.luck)[rows]
        return above.to(cost.device) - cost

    def worst(self, cost_weight: Any) -> Any:
        """See `Problem`: luck takes at most 1."""
        return -1 - cost_weight

    @property
    def bounds(self) -> tuple[float, float]:
        """See `Problem`: luck that is taken away adds at most 1."""
        return self.worst(self.cost_weight), 2.0

    @functools.cached_property
    def estimate(self) -> Floats:
        """Probability of a right answer given what is seen: float64 [inputs, masks]."""
        look = np.concatenate([table.look for table in self.tables]).astype(np.float64)
        right = np.concatenate([table.is_right() for table in self.tables]).astype(np.float64)
        draws = np.random.default_rng(stream_seed(0, f"estimate of {self.table}"))
        features = random_features(look, draws)
        fold = draws.permutation(len(look)) % FOLDS
        above = np.empty_like(right)
        for one in range(FOLDS):
            others = fold != one
            mean = features[others].mean(axis=0)
            seen = features[others] - mean
            gram = seen.T @ seen + RIDGE * np.eye(seen.shape[1])
            weights = np.linalg.solve(gram, seen.T @ (right[others] - right[others].mean(axis=0)))
            above[~others] = (features[~others] - mean) @ weights
        means = right.mean(axis=0)
        # A ridge shrinks too much or too little: one factor for all makes it neither.
        slope = ((right - means) * above).sum() / (above**2).sum()
        probabilities: Floats = (means + slope * above).clip(0, 1)
        return probabilities

    @functools.cached_property
    def luck(self) -> Floats:
        """Of each input under the best static mask, with mean 0: float64 [inputs]."""
        chances: Floats = self.estimate[:, self.static]
        return chances - chances.mean()

    @functools.cached_property
    def static(self) -> int:
        """Number of the best static mask."""
        return int((self.estimate - self.costs).mean(axis=0).argmax())

    @functools.cached_property
    def costs(self) -> Floats:
        """Of every mask, in right answers: float64 [masks]."""
        header = self.tables[0].header
        costs: Floats = self.cost_weight * self.tables[0].macs / header.dense_macs
        return costs

    def optimum(self) -> float:
        """See `Problem`: attainable by the estimate, which is no proof that nothing is better."""
        return float((self.estimate - self.costs).max(axis=1).mean())

    def reference(self) -> float:
        """See `Problem`."""
        return float((self.estimate - self.costs).mean(axis=0).max())


def random_features(look: Floats, draws: np.random.Generator) -> Floats:
    """Looks with mean 0 and deviation 1, and random cosines of them: [inputs, features]."""
    scaled = (look - look.mean(axis=0)) / (look.std(axis=0) + 1e-6)
    width = look.shape[1]
    directions = draws.normal(size=(width, FEATURES)) * WIDTH / np.sqrt(width)
    cosines = np.cos(scaled @ directions + draws.uniform(0, 2 * np.pi, FEATURES))
    return np.concatenate([scaled, SCALE * cosines], axis=1)
