"""What estimators are tried on: (table, slopes of its first inputs, price) -> a problem."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ccenv.mask_table import MaskTable, Outcomes, gradient, optimum, read_table, rewards, value
from ccenv.mask_table.exact import FLOATS
from ccenv.runs.lab.estimators.estimates import LookUp
from ccenv.runs.lab.mask_tables.at_cost import unit_costs
from ccenv.runs.lab.mask_tables.learning import main_parts

MOST = 15
"""Columns of a look that a linear policy sees."""


@dataclass(frozen=True)
class Problem:
    """The mean reward over some inputs: log-likelihood less price times cost."""

    outcomes: Outcomes
    """of these inputs."""
    price: float
    """of the dense network's MACs, in nats."""
    looks: dict[str, FLOATS]
    """policy -> what it sees: [n, features], the last column ones."""
    look_up: LookUp
    """what estimators may ask."""

    @property
    def num_inputs(self) -> int:
        """Inputs."""
        return len(self.outcomes.scores)

    @property
    def best(self) -> float:
        """Mean reward of each input's best mask."""
        return float(optimum(self.outcomes, self.price).values.mean())

    @property
    def static_regret(self) -> float:
        """Least regret of one mask for all inputs."""
        means = self.outcomes.scores.mean(axis=0, dtype=np.float64)
        return self.best - float((means - self.price * self.outcomes.costs).max())

    def regret(self, keep: FLOATS) -> float:
        """Mean regret of keep probabilities [n, units]."""
        return self.best - float(value(self.outcomes, self.price, keep=keep).mean())

    def gradient(self, keep: FLOATS) -> FLOATS:
        """Of each input's value by its logits: [n, units]."""
        return gradient(self.outcomes, self.price, keep, of="logits")


def problem_of(table: MaskTable, slopes: FLOATS, price: float) -> Problem:
    """The first inputs of a table, as many as there are slopes of.

    Args:
        table: whole, with looks.
        slopes: [inputs, masks, units]; of nll by the gates.
        price: of the dense network's MACs.
    """
    num_inputs = len(slopes)
    if len(table.look) < num_inputs:
        raise ValueError(f"expected a table with looks of at least {num_inputs} inputs")
    outcomes = table.outcomes("log_likelihood").of_images(slice(num_inputs))
    # A policy of few parameters shares them between inputs, and cannot know each by heart.
    looks = main_parts(MOST, table.look.astype(np.float64))[0][:num_inputs]
    by_gates = (-slopes - price * unit_costs(outcomes)[1]).astype(np.float32)
    seen = {"constant": np.ones((num_inputs, 1)), "linear": looks}
    return Problem(outcomes, price, seen, LookUp(rewards(outcomes, price), by_gates))


def read(path: Path) -> MaskTable:
    """A table for the study."""
    table = read_table(path)
    if table.outcomes().num_units is None:
        raise ValueError(f"expected a table of all masks in {path}, got one of a menu")
    return table
