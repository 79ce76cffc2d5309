"""Policies that learn from a table: (looks, slopes by logits) -> keep probabilities; numpy.

Many runs at once, side by side along the first axis: seeds, and settings that are tried.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import special

from ccenv.data import Split
from ccenv.mask_table.checks import data_digest, gates_of, network_digest
from ccenv.mask_table.exact import FLOATS
from ccenv.mask_table.header import Header
from ccenv.mask_table.table import MaskTable
from ccenv.runs.stats.intervals import mean_interval


@dataclass
class Policies:
    """Logits of coins for all units from a look: constant, linear or with one hidden layer."""

    parameters: list[FLOATS]
    """[runs, features, units], or two matrices and the hidden layer's constants between them."""

    @staticmethod
    def made(
        runs: int, features: int, units: int, hidden: int, generator: np.random.Generator
    ) -> "Policies":
        """Policies that keep every unit with probability 1/2."""
        if not hidden:
            return Policies([np.zeros((runs, features, units))])
        first = generator.normal(size=(runs, features, hidden)) / features**0.5
        return Policies([first, np.zeros((runs, hidden, units)), np.zeros((runs, 1, units))])

    def logits(self, looks: FLOATS) -> FLOATS:
        """Looks [runs or 1, inputs, features] -> [runs, inputs, units]."""
        first, *rest = self.parameters
        if not rest:
            return looks @ first
        return np.tanh(looks @ first) @ rest[0] + rest[1]

    def keep(self, looks: FLOATS) -> FLOATS:
        """Keep probabilities; as `logits`."""
        found: FLOATS = special.expit(self.logits(looks))
        return found

    def slopes(self, looks: FLOATS, by_logits: FLOATS) -> list[FLOATS]:
        """Slopes by parameters, a mean over inputs.

        Args:
            looks: [runs or 1, inputs, features].
            by_logits: [runs, inputs, units].
        """
        by_logits = by_logits / by_logits.shape[1]
        if len(self.parameters) == 1:
            return [looks.swapaxes(1, 2) @ by_logits]
        hidden = np.tanh(looks @ self.parameters[0])
        by_hidden = by_logits @ self.parameters[1].swapaxes(1, 2) * (1 - hidden**2)
        return [
            looks.swapaxes(1, 2) @ by_hidden,
            hidden.swapaxes(1, 2) @ by_logits,
            by_logits.sum(axis=1, keepdims=True),
        ]

    def of_runs(self, chosen: Sequence[int]) -> "Policies":
        """Some of them."""
        return Policies([part[list(chosen)] for part in self.parameters])


@dataclass
class Adam:
    """Steps up a slope, with a rate for each run (Kingma, Ba 2015, arXiv 1412.6980)."""

    rates: FLOATS
    """[runs]."""
    betas: tuple[float, float] = (0.9, 0.999)
    """how slowly means of slopes and of their squares change."""
    count: int = 0
    """steps taken."""
    means: list[FLOATS] = field(default_factory=list)
    """of slopes, and of their squares, for each parameter."""
    squares: list[FLOATS] = field(default_factory=list)
    """see means."""

    def climb(self, policies: Policies, slopes: Sequence[FLOATS], share: float = 1.0) -> None:
        """One step."""
        if not self.means:
            self.means = [np.zeros_like(part) for part in slopes]
            self.squares = [np.zeros_like(part) for part in slopes]
        self.count += 1
        first, second = self.betas
        rates = share * self.rates[:, None, None]
        for n, slope in enumerate(slopes):
            self.means[n] = first * self.means[n] + (1 - first) * slope
            self.squares[n] = second * self.squares[n] + (1 - second) * slope**2
            mean = self.means[n] / (1 - first**self.count)
            spread = np.sqrt(self.squares[n] / (1 - second**self.count))
            policies.parameters[n] = policies.parameters[n] + rates * mean / (spread + 1e-8)


def standardised(fitted: FLOATS, *others: FLOATS) -> list[FLOATS]:
    """Looks of mean 0 and deviation 1 over the first array's inputs, and a column of ones.

    Args:
        fitted: [n, features].
        others: [m, features], moved and scaled likewise.
    """
    mean, spread = fitted.mean(axis=0), np.maximum(fitted.std(axis=0), 1e-6)
    return [
        np.concatenate([(part - mean) / spread, np.ones((len(part), 1))], axis=1)
        for part in (fitted, *others)
    ]


def main_parts(most: int, fitted: FLOATS, *others: FLOATS) -> list[FLOATS]:
    """At most so many columns that say most of some looks, and one of ones.

    Of more columns the first principal components of the first looks, which also give means and
    deviations: all looks [n, at most `most` + 1], of deviation 1 over the first ones.
    """
    parts = [part[:, :-1] for part in standardised(fitted, *others)]
    if fitted.shape[1] > most:
        _, _, directions = np.linalg.svd(parts[0].T @ parts[0])
        parts = [part @ directions[:most].T for part in parts]
    return standardised(*parts)


def interval_of_each(points: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """Of each number of some points the interval of its mean over them, as JSON holds it."""
    return {name: vars(mean_interval([point[name] for point in points])) for name in points[0]}


def said_of(table: MaskTable) -> dict[str, Any]:
    """Which table it was."""
    names = ("network", "settings", "dataset", "split", "num_images", "weights", "data")
    return {name: getattr(table.header, name) for name in names}


def check_is_of(header: Header, network: Any, split: Split, said: Mapping[str, Any] = {}) -> None:
    """Refuses a table of another network, of other inputs than a split's first, or not as said."""
    wanted = {"gates": gates_of(network), "weights": network_digest(network), **said}
    if len(split) < header.num_images:
        wanted["num_images"] = len(split)
    else:
        wanted["data"] = data_digest(split, header.num_images)
    for name, expected in wanted.items():
        if (got := getattr(header, name)) != expected:
            raise ValueError(
                f"expected a table whose {name} is {expected!r}, got {got!r}: it is of another "
                "network or data set; build one: ccenv table build"
            )
