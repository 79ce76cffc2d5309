"""Gradient estimators: (masks of an input, what they return) -> slopes by logits; numpy.

A policy keeps each unit of an input by itself, with probability sigmoid(logit); what it is worth is
the mean return of the masks that it draws. Each function estimates that mean's derivative by the
logits of every input from a few masks, and `ccenv.mask_table.gradient` is what it estimates.
`ESTIMATORS` has them under the names of the study (`ccenv.runs.lab.estimators`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ccenv.mask_table.exact import FLOATS

PAIR = 2


@dataclass(frozen=True)
class Drawn:
    """Masks that were looked up."""

    keep: FLOATS
    """[..., inputs, units]; the probabilities that they were drawn with."""
    bits: NDArray[np.bool_]
    """[..., inputs, masks, units]."""
    returns: FLOATS
    """[..., inputs, masks]."""
    noise: FLOATS
    """like bits; the uniform numbers below keep of which is kept."""
    slopes: FLOATS | None = None
    """like bits; the return's derivative by each unit's gate, which scales what the unit adds;
    None: not known."""


def reinforce(drawn: Drawn) -> FLOATS:
    """Return times the slope of a mask's log-probability (Williams 1992); without bias."""
    return scored(drawn, drawn.returns)


def mean_baseline(drawn: Drawn) -> FLOATS:
    """REINFORCE with the mean return of all inputs and masks taken off.

    A mask's own return is in the mean, so that of n masks in all 1 / n of the gradient is lost.
    """
    return scored(drawn, drawn.returns - drawn.returns.mean(axis=(-2, -1), keepdims=True))


def leave_one_out(drawn: Drawn) -> FLOATS:
    """REINFORCE with the mean return of the input's other masks taken off; without bias.

    Kool, van Hoof, Welling 2019, "Buy 4 REINFORCE samples, get a baseline for free!".
    """
    masks = drawn.returns.shape[-1]
    away = drawn.returns - drawn.returns.mean(axis=-1, keepdims=True)
    return scored(drawn, away * masks / (masks - 1))


def normalised(drawn: Drawn) -> FLOATS:
    """Returns less their input's mean, over their standard deviation: another scale at each input.

    Shao et al. 2024, arXiv 2402.03300 (GRPO, without its clipping).
    """
    away = drawn.returns - drawn.returns.mean(axis=-1, keepdims=True)
    # A group of equal returns says nothing: its standard deviation of 0 is not divided by.
    spread = drawn.returns.std(axis=-1, ddof=1, keepdims=True)
    return scored(drawn, away / np.maximum(spread, 1e-6))


def vimco(drawn: Drawn) -> FLOATS:
    """Gradient of the mean of log(mean of exp(return)) over groups of masks; without bias for that.

    Mnih, Rezende 2016, arXiv 1602.06725: the baseline puts the geometric mean of the others in the
    place of a mask's exp(return). What it climbs is above the mean return, the more the returns of
    an input's masks differ.
    """
    returns, masks = drawn.returns, drawn.returns.shape[-1]
    others = (returns.sum(axis=-1, keepdims=True) - returns) / (masks - 1)
    replaced = np.where(np.eye(masks, dtype=bool), others[..., :, None], returns[..., None, :])
    learned = log_mean_exp(returns)[..., None] - log_mean_exp(replaced)
    # One bound for all masks of the group: its slopes are summed, not averaged.
    return masks * scored(drawn, learned)


def disarm(drawn: Drawn) -> FLOATS:
    """Pairs of masks from either end of the same uniform numbers; without bias.

    Dong, Mnih, Tucker 2020, arXiv 2006.10680, equation 6: where both of a pair agree, nothing is
    learned.
    """
    first, second = drawn.bits[..., 0::PAIR, :], drawn.bits[..., 1::PAIR, :]
    half = (drawn.returns[..., 0::PAIR] - drawn.returns[..., 1::PAIR])[..., None] / 2
    sure = np.maximum(drawn.keep, 1 - drawn.keep)[..., None, :]
    found: FLOATS = (half * (first.astype(float) - second) * sure).mean(axis=-2)
    return found


def both_ways(drawn: Drawn) -> FLOATS:
    """One mask, and it again with each unit in turn the other way: units + 1 masks; without bias.

    Local expectation gradients: Titsias, Lazaro-Gredilla 2015, arXiv 1503.01494.
    """
    first, flipped = drawn.returns[..., :1], drawn.returns[..., 1:]
    signs = np.where(drawn.bits[..., 0, :], 1.0, -1.0)
    found: FLOATS = drawn.keep * (1 - drawn.keep) * signs * (first - flipped)
    return found


def straight_through(drawn: Drawn) -> FLOATS:
    """The gate's slope at the mask times the sigmoid's (Bengio et al. 2013, arXiv 1308.3432)."""
    slope: FLOATS = (drawn.keep * (1 - drawn.keep))[..., None, :]
    return sloped(drawn, slope)


def reinmax(drawn: Drawn) -> FLOATS:
    """Straight-through of second order: Liu et al. 2023, arXiv 2304.08612, for coins.

    Their 2 q (1 - q) - p (1 - p) / 2 with q the mean of p and the bit is (1 - p) / 2 for a kept
    unit and p / 2 for a skipped one: on the mean half of the slope at either end.
    """
    keep = drawn.keep[..., None, :]
    return sloped(drawn, np.where(drawn.bits, 1 - keep, keep) / 2)


def gumbel(drawn: Drawn, temperature: float) -> FLOATS:
    """Hard masks forward, the relaxation's slope at their noise backward.

    Jang, Gu, Poole 2017, arXiv 1611.01144 (straight-through Gumbel-softmax); Maddison et al. 2017.
    """
    keep, noise = (np.clip(one, 1e-12, 1 - 1e-12) for one in (drawn.keep, drawn.noise))
    logits = special.logit(keep)[..., None, :] - special.logit(noise)
    soft = special.expit(logits / temperature)
    return sloped(drawn, soft * (1 - soft) / temperature)


def scored(drawn: Drawn, weights: FLOATS) -> FLOATS:
    """Mean over masks of a weight times the slope of the mask's log-probability by the logits."""
    found: FLOATS = np.einsum("...m,...mu->...u", weights, drawn.bits - drawn.keep[..., None, :])
    return found / weights.shape[-1]


def sloped(drawn: Drawn, factors: FLOATS) -> FLOATS:
    """Mean over masks of the gates' slopes times factors."""
    if drawn.slopes is None:
        raise ValueError(
            "expected slopes of the gates, got none; see "
            "ccenv.runs.lab.estimators.gate_gradients, or take an estimator that looks at "
            "returns alone"
        )
    found: FLOATS = (drawn.slopes * factors).mean(axis=-2)
    return found


def log_mean_exp(values: FLOATS) -> FLOATS:
    """Log of the mean of exp over the last axis."""
    found: FLOATS = special.logsumexp(values, axis=-1) - np.log(values.shape[-1])
    return found


def alone(keep: FLOATS, masks: int, generator: np.random.Generator) -> FLOATS:
    """Uniform numbers of masks that know nothing of each other: [..., masks, units]."""
    return generator.random((*keep.shape[:-1], masks, keep.shape[-1]))


def against(keep: FLOATS, masks: int, generator: np.random.Generator) -> FLOATS:
    """Uniform numbers of pairs, from either end."""
    half = alone(keep, masks // PAIR, generator)
    return np.stack([half, 1 - half], axis=-2).reshape(*keep.shape[:-1], masks, keep.shape[-1])


def turned(keep: FLOATS, masks: int, generator: np.random.Generator) -> FLOATS:
    """Uniform numbers of a mask, and of it with each unit in turn the other way."""
    first = alone(keep, 1, generator)
    # Of what is kept the other way is 1, never below keep; of what is skipped it is below 0.
    other = np.where(first < keep[..., None, :], 1.0, -1.0)
    rest = np.where(np.eye(masks - 1, dtype=bool), other, first)
    return np.concatenate([first, rest], axis=-2)


@dataclass(frozen=True)
class Estimator:
    """A way to estimate, with the number of masks that it looks up for an input."""

    masks: int
    """looked up; 0: as many as units, and one more."""
    estimate: Callable[[Drawn], FLOATS]
    """of each input: [..., inputs, units]."""
    draw: Callable[[FLOATS, int, np.random.Generator], FLOATS] = alone
    """(keep, masks, generator) -> uniform numbers."""
    needs_slopes: bool = False
    """whether it differentiates the network by its gates."""

    def masks_of(self, units: int) -> int:
        """Masks that it looks up for an input of so many units."""
        return self.masks or units + 1


ESTIMATORS: dict[str, Estimator] = {
    "reinforce": Estimator(1, reinforce),
    "reinforce, mean baseline": Estimator(1, mean_baseline),
    **{f"leave-one-out, {k}": Estimator(k, leave_one_out) for k in (2, 4, 8, 16)},
    "disarm, 2": Estimator(PAIR, disarm, against),
    "disarm, 8": Estimator(8, disarm, against),
    "vimco, 8": Estimator(8, vimco),
    "normalised, 8": Estimator(8, normalised),
    "both ways": Estimator(0, both_ways, turned),
    "straight-through": Estimator(1, straight_through, needs_slopes=True),
    "reinmax": Estimator(1, reinmax, needs_slopes=True),
    "gumbel, 1.0": Estimator(1, lambda d: gumbel(d, 1.0), needs_slopes=True),
    "gumbel, 0.5": Estimator(1, lambda d: gumbel(d, 0.5), needs_slopes=True),
}
"""Name, with masks of an input or the temperature -> estimator."""


@dataclass(frozen=True)
class LookUp:
    """What estimators may look up."""

    rewards: NDArray[Any]
    """[n, 2 ** units]; see `ccenv.mask_table.rewards`."""
    slopes: NDArray[Any] | None = None
    """[n, 2 ** units, units]; derivatives of the rewards by the gates; None: not known."""

    def __call__(
        self, estimator: Estimator, keep: FLOATS, images: Any, generator: np.random.Generator
    ) -> FLOATS:
        """Draws masks of some inputs and estimates.

        Args:
            estimator: one of `ESTIMATORS`, or yours.
            keep: [..., inputs, units].
            images: int [..., inputs]; their rows.
            generator: of the masks.

        Returns:
            float64 [..., inputs, units].
        """
        units = keep.shape[-1]
        noise = estimator.draw(keep, estimator.masks_of(units), generator)
        bits = noise < keep[..., None, :]
        numbers = (bits @ (1.0 * 2 ** np.arange(units - 1, -1, -1))).astype(np.int64)
        rows = np.asarray(images)[..., None]
        returns = self.rewards[rows, numbers].astype(np.float64)
        slopes = None
        if estimator.needs_slopes and self.slopes is not None:
            slopes = self.slopes[rows, numbers].astype(np.float64)
        return estimator.estimate(Drawn(keep, bits, returns, noise, slopes))
