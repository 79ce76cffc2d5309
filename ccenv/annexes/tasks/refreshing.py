"""Tasks over time: (a noisy sign of staleness) -> whether a summary is refreshed now.

A summary that was refreshed stays fresh for a while; a new patch starts fresh. The network answers
with a probability of being right, which the reward `probability_minus_cost` pays.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccenv.annexes.tasks.problem import (
    SIZES,
    OneGate,
    Problem,
    as_logits,
    settings_over_time,
    split_of_positions,
)
from ccenv.base.seeding import stream_seed
from ccenv.data.split import Split
from ccenv.mdp.dynamics import StepOutcome
from ccenv.networks.core.protocol import repeat_rows, rows_each
from ccenv.networks.core.stage import put_rows

PATCH, PATCHES = 8, 3
"""Positions of a patch, and patches of a sequence."""
STALE_PROBABILITY, NOISE = 0.3, 0.8
STALE_PRICE, REFRESH_PRICE = 0.45, 0.9
"""What a stale position loses, and the `cost_weight` of a refresh."""


def staleness(split: str, patch: int = PATCH) -> Split:
    """Sequences of patches, at each position of which a summary may become stale.

    An input is one position: whether the summary becomes stale (probability 0.3), the noise of
    what is seen of that (normal, standard deviation 0.8), and its place in the patch, one-hot. The
    label is 1, as of `documents`.
    """
    draws = np.random.default_rng(stream_seed(0, f"staleness of {split}"))
    places = patch * PATCHES
    shape = SIZES[split], places
    events = draws.random(shape) < STALE_PROBABILITY
    noise = NOISE * draws.standard_normal(shape)
    place = np.broadcast_to(np.eye(patch)[np.arange(places) % patch], (*shape, patch))
    inputs = np.concatenate([events[..., None], noise[..., None], place], axis=2)
    return split_of_positions(inputs)


@dataclass(frozen=True)
class Summary:
    """Hidden state of positions: is the summary stale, and how likely is that?"""

    stale: Tensor
    """[rows] float32; 1 if it is."""
    belief: Tensor
    """[rows]; the probability by Bayes' rule, of the signals seen and the refreshes made."""
    signal: Tensor
    """[rows]; whether it is stale, with noise."""
    place: Tensor
    """[rows, places]; of the patch, one-hot."""


class Staleness(OneGate):
    """A summary that grows stale, and a gate that refreshes it; a new patch starts fresh.

    The look is the signal, the belief, and the place in the patch.
    """

    def __init__(self, input_shape: tuple[int, ...] = (2 + PATCH,), num_classes: int = 2) -> None:
        """Sets the one weight: what is refreshed is stale no more."""
        super().__init__("refresh", 0.0, input_shape[0])
        self.num_classes = num_classes

    def empty_state(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """See `Continues`: fresh, and known to be so."""
        fresh = torch.zeros(len(inputs), device=inputs.device)
        return fresh, fresh

    def advance(self, hidden: Summary) -> tuple[Tensor, Tensor]:
        """See `Continues`."""
        return hidden.stale, hidden.belief

    def read(self, inputs: Tensor, state: tuple[Tensor, Tensor]) -> Summary:
        """See `Continues`: it may become stale, then the signal is seen."""
        goes_on = 1 - inputs[:, 2]
        stale, belief = (goes_on * part for part in state)
        stale = torch.maximum(stale, inputs[:, 0])
        signal = stale + inputs[:, 1]
        belief = posterior(belief + (1 - belief) * STALE_PROBABILITY, signal)
        return Summary(stale, belief, signal, inputs[:, 2:])

    def step(
        self,
        gate: int,
        hidden: Summary,
        mask: Tensor | None,
        weights: Tensor | None = None,
        backend: str = "auto",
    ) -> Summary:
        """See `GatedNetwork.step`."""
        if mask is None:
            mask = torch.ones(len(hidden.stale), 1, dtype=torch.bool, device=hidden.stale.device)
        hidden = repeat_rows(hidden, rows_each(len(hidden.stale), len(mask)))
        rows = mask[:, 0].nonzero().squeeze(1)
        fresh = self.layer(hidden.stale.index_select(0, rows)[:, None])[:, 0]
        stale = put_rows(hidden.stale, rows, fresh)
        return replace(hidden, stale=stale, belief=hidden.belief.masked_fill(mask[:, 0], 0.0))

    def logits(self, hidden: Summary, backend: str = "auto") -> Tensor:
        """See `GatedNetwork.logits`."""
        right = 1 - STALE_PRICE * hidden.stale
        return as_logits(torch.stack([1 - right, right], dim=1))

    def look(self, gate: int, hidden: Summary) -> Tensor:
        """See `GatedNetwork.look`."""
        seen = torch.stack([hidden.signal, hidden.belief], dim=1)
        return torch.cat([seen, hidden.place], dim=1)


def posterior(prior: Any, signal: Any) -> Any:
    """Probability of being stale once the signal is seen, by Bayes' rule; arrays or tensors."""
    # How much likelier a signal s is if stale: the quotient of two normal densities.
    odds = np.e ** ((2 * signal - 1) / (2 * NOISE**2))
    return prior * odds / (prior * odds + 1 - prior)


def best_of_staleness(patch: int = PATCH) -> float:
    """What the best policy earns of a sequence, by dynamic programming on the belief."""
    # A position that is not stale earns 1 (see `Staleness.logits`).
    return PATCHES * (patch + float(values_of_staleness(patch)[-1][0]))


def values_of_staleness(patch: int) -> list[NDArray[np.float64]]:
    """What is still lost at least of a patch, by the belief before a place: float64 [beliefs].

    One for each number of places that are left; beliefs lie evenly between 0 and 1.
    """
    beliefs = np.linspace(0, 1, 2001)
    nodes, shares = np.polynomial.hermite_e.hermegauss(61)
    shares = shares / shares.sum()
    priors = (beliefs + (1 - beliefs) * STALE_PROBABILITY)[:, None]
    values_of_places = [np.zeros_like(beliefs)]
    for _ in range(patch):
        ahead = values_of_places[-1]
        values = np.maximum(-REFRESH_PRICE + ahead[0], -STALE_PRICE * beliefs + ahead)
        expected = [
            np.interp(posterior(priors, is_stale + NOISE * nodes), beliefs, values) @ shares
            for is_stale in (0.0, 1.0)
        ]
        values_of_places.append((1 - priors[:, 0]) * expected[0] + priors[:, 0] * expected[1])
    return values_of_places


@dataclass(frozen=True, kw_only=True)
class Refreshing(Problem):
    """When to refresh, in patches of so many positions."""

    patch: int = PATCH

    @property
    def rule(self) -> str:
        """See `Problem`."""
        return "refreshing at the best places of a patch, whatever is seen"

    def settings(self) -> dict[str, Any]:
        """See `Problem`."""
        return settings_over_time(REFRESH_PRICE)

    def split(self, split: str) -> Split:
        """See `Problem`."""
        return staleness(split, self.patch)

    def network(self) -> Staleness:
        """See `Problem`."""
        return Staleness((2 + self.patch,))

    def value(self, outcome: StepOutcome, cost_weight: Any) -> Tensor:
        """See `Problem`: by the belief, which is all that can be known of staleness."""
        belief: Tensor = outcome.after.hidden.belief
        return 1 - STALE_PRICE * belief - cost_weight * outcome.layer_cost

    @property
    def positions(self) -> int:
        """See `Problem`."""
        return self.patch * PATCHES

    def worst(self, cost_weight: Any) -> Any:
        """See `Problem`: what is refreshed is not stale."""
        return self.positions * (1 - max(STALE_PRICE, cost_weight))

    def optimum(self) -> float:
        """See `Problem`."""
        return best_of_staleness(patch=self.patch)

    def reference(self) -> float:
        """See `Problem`."""
        return PATCHES * (self.patch - best_places(self.patch)[0])


def best_places(patch: int) -> tuple[float, Sequence[int]]:
    """What is lost of a patch at least where nothing is seen, and where it is refreshed for that.

    >>> round(best_places(1)[0], 3), best_places(1)[1]
    (0.135, ())
    """
    # By places that are left, behind a refresh or the beginning.
    best: list[tuple[float, tuple[int, ...]]] = []
    for left in range(patch + 1):
        lost = np.cumsum([0.0, *(STALE_PRICE * (1 - 0.7 ** (1 + n)) for n in range(left))])
        tried: list[tuple[float, tuple[int, ...]]] = [(float(lost[left]), ())]
        for place in range(left):
            ahead, places = best[left - place - 1]
            later = tuple(place + 1 + one for one in places)
            tried.append((float(lost[place]) + REFRESH_PRICE + ahead, (place, *later)))
        best.append(min(tried))
    return best[patch]
