"""Exact tools: (a mask table, a cost weight) -> optimum, values, gradients and regret; numpy.

The reward of input i under mask m is scores[i, m] - weight * costs[m]. A policy is given in one of
three forms, by keyword:

- numbers: int64 [n], one mask for each input;
- masks: float [n, num_masks], probabilities of all masks;
- keep: float [n, num_units], independent probabilities of keeping each block; whole tables only.

Each may have one row instead of n: the same for all inputs. Answers are of each input, so that
their mean is the policy's and their spread tells how sure it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOATS = NDArray[np.float64]
TOLERANCE = 1e-6
"""By which probabilities may miss a sum of 1."""


def checked_numbers(numbers: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """One mask for each input, spread over all of them."""
    if numbers.dtype.kind not in "iu" or numbers.ndim != 1 or len(numbers) not in (1, shape[0]):
        raise ValueError(
            f"expected int numbers of masks [{shape[0]}] or [1], got {numbers.dtype} "
            f"{list(numbers.shape)}"
        )
    if numbers.min() < 0 or numbers.max() >= shape[1]:
        raise ValueError(f"expected masks 0..{shape[1] - 1}, got {numbers.min()}..{numbers.max()}")
    return np.broadcast_to(numbers, shape[:1])


def checked_masks(probabilities: Any, shape: tuple[int, ...]) -> FLOATS:
    """Probabilities of all masks, spread over all inputs."""
    rows = checked_rows(probabilities, shape, "probabilities of masks")
    sums = rows.sum(axis=1)
    # Written so that what is no number is refused too.
    if not (rows.min() >= 0 and np.abs(sums - 1).max() <= TOLERANCE):
        raise ValueError(
            "expected probabilities that are not negative and sum to 1 for each input, got "
            f"{rows.min():.3g} as the least, sums of {sums.min():.6g} to {sums.max():.6g}"
        )
    return np.broadcast_to(rows, shape)


def checked_keep(keep: Any, num_inputs: int, num_units: int | None) -> FLOATS:
    """Keep probabilities, spread over all inputs; None units: not a table of all masks."""
    if num_units is None:
        raise ValueError(
            "expected a table of all masks for independent keep probabilities, got one of a menu, "
            "which has not all that they may draw; give probabilities of its masks"
        )
    shape = num_inputs, num_units
    rows = checked_rows(keep, shape, "keep probabilities")
    if not (rows.min() >= 0 and rows.max() <= 1):
        raise ValueError(
            f"expected keep probabilities in [0, 1], got {rows.min():.3g}..{rows.max():.3g}"
        )
    return np.broadcast_to(rows, shape)


def checked_rows(policy: Any, shape: tuple[int, ...], what: str) -> FLOATS:
    """Rows of a policy, or one row; ValueError for any other shape."""
    values = np.asarray(policy, dtype=np.float64)
    rows = np.atleast_2d(values)
    if values.ndim not in (1, 2) or rows.shape[1] != shape[1] or len(rows) not in (1, shape[0]):
        raise ValueError(
            f"expected {what} {list(shape)} or one row of {shape[1]}, got {list(values.shape)}"
        )
    return rows


PART = 2**18
"""Numbers that are held at once in addition to the scores; so few never leave the cache."""


@dataclass(frozen=True)
class Outcomes:
    """What every mask is worth for every input."""

    scores: NDArray[Any]
    """[n, num_masks]; bool (right or wrong), or floats such as the log-likelihood in nats."""
    costs: FLOATS
    """[num_masks]; share of the dense network's MACs."""
    kept: NDArray[np.int64]
    """[num_masks]; blocks that run."""
    num_units: int | None
    """bits of a mask where all masks are there, in counting order; None for a menu."""

    def __post_init__(self) -> None:
        """Checks.

        Raises:
            ValueError: if shapes do not fit each other.
        """
        masks = self.scores.shape[-1]
        wanted = masks if self.num_units is None else 1 << self.num_units
        if self.scores.ndim != 2 or {masks, len(self.costs), len(self.kept)} != {wanted}:
            raise ValueError(
                f"expected scores [n, {wanted}] and as many costs and kept blocks, got "
                f"{list(self.scores.shape)}, {len(self.costs)} and {len(self.kept)}"
            )

    def of_images(self, images: Any) -> "Outcomes":
        """Of some inputs: a slice, a bool or an int array."""
        return Outcomes(self.scores[images], self.costs, self.kept, self.num_units)


@dataclass(frozen=True)
class Optimum:
    """The best mask of each input."""

    numbers: NDArray[np.int64]
    """[n]; of equal rewards the cheapest mask."""
    values: FLOATS
    """[n]; its reward."""


def rewards(outcomes: Outcomes, price: float) -> FLOATS:
    """Rewards of all masks: float64 [n, num_masks]."""
    rewards_of_masks: FLOATS = outcomes.scores.astype(np.float64) - price * outcomes.costs
    return rewards_of_masks


def rewards_in_parts(outcomes: Outcomes, price: float) -> Iterator[tuple[slice, FLOATS]]:
    """Rewards of a few inputs after the other."""
    count = max(1, PART // len(outcomes.costs))
    for first in range(0, len(outcomes.scores), count):
        rows = slice(first, first + count)
        yield rows, rewards(outcomes.of_images(rows), price)


def optimum(outcomes: Outcomes, price: float) -> Optimum:
    """The best mask of each input: what no policy can beat."""
    # The first of equal rewards is taken: cheap masks first.
    order = np.argsort(outcomes.costs, kind="stable")
    numbers = [order[r[:, order].argmax(axis=1)] for _, r in rewards_in_parts(outcomes, price)]
    values = [r.max(axis=1) for _, r in rewards_in_parts(outcomes, price)]
    return Optimum(np.concatenate(numbers), np.concatenate(values))


def value(
    outcomes: Outcomes,
    price: float,
    *,
    numbers: Any = None,
    masks: Any = None,
    keep: Any = None,
) -> FLOATS:
    """Expected reward of a policy for each input: float64 [n], a sum over all masks.

    Args:
        outcomes: of a table.
        price: of a dense network's MACs, in units of the score.
        numbers: a form of policy, as the two that follow; see above.
        masks: probabilities of masks.
        keep: independent probabilities of keeping blocks.

    Raises:
        ValueError: if there is not one policy, or it gives no distribution over the table's masks.
    """
    forms = {"numbers": numbers, "masks": masks, "keep": keep}
    names = [name for name, form in forms.items() if form is not None]
    if len(names) != 1:
        raise ValueError(f"expected one of numbers, masks and keep, got {names or 'none'}")
    shape, parts = outcomes.scores.shape, rewards_in_parts(outcomes, price)
    if numbers is not None:
        chosen = checked_numbers(np.asarray(numbers), shape)
        scores = outcomes.scores[np.arange(len(chosen)), chosen].astype(np.float64)
        return scores - price * outcomes.costs[chosen]
    if masks is not None:
        chances = checked_masks(masks, shape)
        values_of_parts = [np.einsum("nm,nm->n", chances[rows], r) for rows, r in parts]
    else:
        kept = checked_keep(keep, len(outcomes.scores), outcomes.num_units)
        values_of_parts = [contractions(r, kept[rows])[0][:, 0] for rows, r in parts]
    return np.concatenate(values_of_parts)


def regret(outcomes: Outcomes, price: float, **policy: Any) -> FLOATS:
    """How much less than the optimum a policy earns for each input: float64 [n], 0 or more.

    Args:
        outcomes: of a table.
        price: as in `value`.
        **policy: one of `value`'s forms.
    """
    return optimum(outcomes, price).values - value(outcomes, price, **policy)


def contractions(mask_rewards: FLOATS, keep: FLOATS) -> list[FLOATS]:
    """Mean rewards with the last blocks drawn, and all before them given.

    Args:
        mask_rewards: [n, 2 ** units], rewards of all masks.
        keep: [n, units].

    Returns:
        For each number of given blocks, 0 to units: [n, 2 ** given]; the first is the value.
    """
    means = [mask_rewards]
    for unit in range(keep.shape[1] - 1, -1, -1):
        pairs = means[-1].reshape(len(mask_rewards), -1, 2)
        chance = keep[:, unit, None]
        means.append((1 - chance) * pairs[..., 0] + chance * pairs[..., 1])
    return means[::-1]


def gradient(outcomes: Outcomes, price: float, keep: Any, of: str = "keep") -> FLOATS:
    """Derivative of each input's value by its independent keep probabilities.

    The derivative by block u's probability is the mean reward with u kept, less that with u
    skipped; it is found by going back through the sum of `value`, without any division.

    Args:
        outcomes: of a whole table.
        price: as in `value`.
        keep: float [n, num_units] or one row.
        of: "keep", or "logits", whose sigmoid is the probability.

    Returns:
        float64 [n, num_units]; the mean reward's gradient is their sum over n, divided by n.

    Raises:
        ValueError: if keep does not fit the table.
    """
    if of not in ("keep", "logits"):
        raise ValueError(f"expected of to be 'keep' or 'logits', got {of!r}")
    kept = checked_keep(keep, len(outcomes.scores), outcomes.num_units)
    parts = rewards_in_parts(outcomes, price)
    slopes = np.concatenate([back(r, kept[rows]) for rows, r in parts])
    return slopes if of == "keep" else slopes * kept * (1 - kept)


def back(mask_rewards: FLOATS, keep: FLOATS) -> FLOATS:
    """Derivatives of `contractions(mask_rewards, keep)[0]` by keep: [n, units]."""
    means, slopes = contractions(mask_rewards, keep), np.empty(keep.shape)
    reach = np.ones((len(mask_rewards), 1))
    for unit in range(keep.shape[1]):
        pairs = means[unit + 1].reshape(len(mask_rewards), -1, 2)
        slopes[:, unit] = (reach * (pairs[..., 1] - pairs[..., 0])).sum(axis=1)
        chance = keep[:, unit, None]
        reach = np.stack([reach * (1 - chance), reach * chance], axis=2).reshape(
            len(mask_rewards), -1
        )
    return slopes
