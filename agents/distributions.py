"""Distributions over masks: scores of blocks -> samples, log-probabilities, the most probable mask.

Three kinds: an independent coin for each block, k of n blocks drawn without replacement, and a
mixture of one of n (or none) and coins. Blocks that are always kept can be added to the first two.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ccenv.base.seeding import uniform
from ccenv.base.values import check_within
from ccenv.mdp.choosers import among, mixed_log_prob, mixed_logs, mixed_mode

MIN_PROBABILITY = 0.01


def keep_probability(scores: Tensor, least: float = MIN_PROBABILITY) -> Tensor:
    """Scores -> keep probabilities in (least, 1 - least), elementwise.

    Bounded away from 0 and 1, as in the authors' code: a sampled mask then always has a finite
    log-probability, and no block can die or saturate for good.
    """
    return least + (1 - 2 * least) * scores.sigmoid()


def score_at(probability: float, least: float = MIN_PROBABILITY) -> float:
    """Inverse of `keep_probability`; probabilities outside of its range are clamped.

    >>> round(score_at(0.5), 6)
    0.0
    """
    edge = min(2 * least, (least + 0.5) / 2)
    within = min(max(probability, edge), 1 - edge)
    return math.log((within - least) / (1 - least - within))


def one_each(value: Any, count: int, name: str) -> list[Any]:
    """A setting of one number, or of one for each gate, as a list (ValueError of another count)."""
    values = list(value) if isinstance(value, Sequence) else [value] * count
    if len(values) != count:
        raise ValueError(f"expected one {name}, or one for each of {count} gates, got {values}")
    return values


def check_kept(
    num_kept: int | Sequence[int], num_blocks: Sequence[int], shared_blocks: int = 0
) -> list[int]:
    """One k for each gated layer; of one number, all of a gate that has fewer blocks than others.

    >>> check_kept(2, [1, 1, 4])
    [1, 1, 2]
    """
    kept = one_each(num_kept, len(num_blocks), "num_kept")
    if isinstance(num_kept, int) and num_kept < max(num_blocks):
        kept = [min(k, n) for k, n in zip(kept, num_blocks, strict=True)]
    if not all(1 <= k <= n for k, n in zip(kept, num_blocks, strict=True)):
        instead = f"give num_kept={min(num_blocks)}, or one number for each gate"
        if min(num_blocks) == 1:
            instead = (
                "of one block there is none to choose: take sampling=independent, or reinforce"
            )
        raise ValueError(
            f"expected num_kept in 1..num_blocks for num_blocks={list(num_blocks)}, got {kept}; "
            f"{instead}"
        )
    if not 0 <= shared_blocks < min(kept):
        raise ValueError(
            f"expected shared_blocks of at least 0 and below num_kept={kept}, got {shared_blocks}: "
            "one block at least must be left to choose"
        )
    return kept


def check_densities(density: float | Sequence[float], layers: int) -> list[float]:
    """One wanted density for each gated layer."""
    targets = one_each(density, layers, "target_density")
    for target in targets:
        check_within("(0, 1]", target_density=target)
    return targets


def highest(scores: Tensor, count: int) -> Tensor:
    """Columns of each row's largest entries, the largest first: [batch, n] -> int64 [batch, count].

    >>> highest(torch.tensor([[0.1, 0.3, 0.2]]), 2)
    tensor([[1, 2]])
    """
    # Sorting costs ten times as much as one look at all.
    return scores.argmax(1, keepdim=True) if count == 1 else scores.topk(count, dim=1).indices


def gumbel_like(values: Tensor, generator: torch.Generator) -> Tensor:
    """Draws standard Gumbel noise of a tensor's shape."""
    drawn = uniform(values.shape, generator, values.device)
    return -torch.log(-torch.log(drawn.clamp(1e-20, 1 - 1e-7)))


@dataclass(frozen=True)
class IndependentBlocks:
    """Every block is kept or not by a coin of its own (Bengio et al. 2015, section 3.1)."""

    probability: Tensor
    """[batch, num_blocks] float32 in (0, 1)."""

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draws masks: bool [batch, num_blocks]."""
        probability = self.probability
        return uniform(probability.shape, generator, probability.device) < probability

    def mode(self) -> Tensor:
        """Greedy masks, that is probabilities thresholded at one half: bool [batch, num_blocks]."""
        return self.probability > 0.5

    def log_prob(self, mask: Tensor) -> Tensor:
        """Log-probability of masks, a sum of logs: bool [batch, num_blocks] -> [batch].

        >>> blocks = IndependentBlocks(torch.tensor([[0.5, 0.25]]))
        >>> blocks.log_prob(torch.tensor([[True, False]])).exp(), blocks.entropy()
        (tensor([0.3750]), tensor([1.2555]))
        """
        chosen = torch.where(mask, self.probability, 1 - self.probability)
        return chosen.log().sum(dim=1)

    def entropy(self) -> Tensor:
        """Entropy in nats: [batch]."""
        p = self.probability
        return -(p * p.log() + (1 - p) * (1 - p).log()).sum(dim=1)


@dataclass(frozen=True)
class OrderedBlocks:
    """k of n blocks, drawn one after the other without replacement (Plackett-Luce).

    Sampling by Gumbel top-k: Kool, van Hoof, Welling 2019, "Stochastic Beams and Where to Find
    Them", arXiv 1903.06059.
    """

    scores: Tensor
    """[batch, num_blocks] float32; logits of the first draw."""
    num_kept: int
    """k, at most num_blocks."""

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draws the kept blocks in order: int64 [batch, k]."""
        drawn = self.scores + gumbel_like(self.scores, generator)
        return highest(drawn, self.num_kept)

    def mode(self) -> Tensor:
        """The k blocks of highest score: int64 [batch, k]."""
        return highest(self.scores, self.num_kept)

    def log_prob(self, order: Tensor) -> Tensor:
        """Log-probability of drawing these blocks in this order: int64 [batch, k] -> [batch].

        The sum over draws of the chosen block's score minus the log-sum-exp of those still there.

        >>> blocks = OrderedBlocks(torch.tensor([[0.5, 0.25, 0.25]]).log(), num_kept=2)
        >>> blocks.log_prob(torch.tensor([[0, 1]])).exp(), blocks.entropy()
        (tensor([0.2500]), tensor([1.0397]))
        """
        scores = self.scores
        total = scores.new_zeros(len(scores))
        for draw in range(order.shape[1]):
            block = order[:, draw : draw + 1]
            total = total + scores.gather(1, block).squeeze(1) - scores.logsumexp(dim=1)
            scores = scores.scatter(1, block, -torch.inf)
        return total

    def entropy(self) -> Tensor:
        """Entropy of the first draw in nats: [batch]."""
        return -(self.first_draw() * self.scores.log_softmax(dim=1)).sum(dim=1)

    def first_draw(self) -> Tensor:
        """Probability of each block to be drawn first: [batch, num_blocks], rows sum to 1."""
        return self.scores.softmax(dim=1)


@dataclass(frozen=True)
class OneOrCoins:
    """One of n blocks or none, or a coin for each: what a mask was drawn by is not stored.

    Coins alone hardly learn "exactly one" where none and several are wrong, since all n of them
    must change at once; one of n never keeps several. The weight between both is learned.
    """

    scores: Tensor
    """[batch, 2 num_blocks + 2] float32, see `ccenv.mdp.choosers.mixed_parts`."""
    floor: float = 0.0
    """least share of either way of drawing, see `ccenv.mdp.choosers.mixed_logs`."""

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draws masks: bool [batch, num_blocks]."""
        one, coins, is_one, _ = mixed_logs(self.scores, self.floor)
        takes_one = uniform(is_one.shape, generator, is_one.device) < is_one.exp()
        best = highest(one + gumbel_like(one, generator), 1)
        drawn = among(best, one, one.shape[1])[:, :-1]
        tossed = uniform(coins.shape, generator, coins.device) < coins.sigmoid()
        return torch.where(takes_one[:, None], drawn, tossed)

    def mode(self) -> Tensor:
        """Greedy masks: one block or none, or the likelier sides of the coins.

        Whichever is likelier, without a floor: bool [batch, num_blocks].
        """
        return mixed_mode(self.scores)

    def log_prob(self, mask: Tensor) -> Tensor:
        """Log-probability of masks: bool [batch, num_blocks] -> [batch].

        >>> blocks = OneOrCoins(torch.zeros(1, 6))
        >>> blocks.log_prob(torch.tensor([[True, False]])).exp(), blocks.probability
        (tensor([0.2917]), tensor([[0.4167, 0.4167]]))
        """
        return mixed_log_prob(self.scores, mask, self.floor)

    @property
    def probability(self) -> Tensor:
        """Probability of each block to be kept: [batch, num_blocks]."""
        one, coins, is_one, _ = mixed_logs(self.scores, self.floor)
        return torch.lerp(coins.sigmoid(), one[:, :-1].exp(), is_one.exp()[:, None])

    def entropy(self) -> Tensor:
        """Entropy in nats of what draws and of what it draws, no less than the masks': [batch]."""
        one, coins, is_one, is_tossed = mixed_logs(self.scores, self.floor)
        share, rest = is_one.exp(), is_tossed.exp()
        of_one = share * (one.exp() * one).sum(dim=1)
        of_ways = share * is_one + rest * is_tossed
        return rest * coin_entropy(coins).sum(dim=1) - of_one - of_ways


def coin_entropy(logits: Tensor) -> Tensor:
    """Entropy in nats of coins, elementwise.

    >>> coin_entropy(torch.tensor([0.0, torch.tensor(0.75).logit()]))
    tensor([0.6931, 0.5623])
    """
    # The entropies of x and -x are the same, and log sigmoid(-x) = log sigmoid(x) - x.
    size = logits.abs()
    return torch.sigmoid(-size) * size - logsigmoid(size)


@dataclass(frozen=True)
class AlwaysOn:
    """Keeps the first blocks for every input; the others are drawn."""

    rest: IndependentBlocks | OrderedBlocks
    """what the other blocks are drawn from."""
    num_always: int
    """how many are always kept."""

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draws the others and adds the shared ones: as `rest` does, over all blocks."""
        return self._with_shared(self.rest.sample(generator))

    def mode(self) -> Tensor:
        """The most probable others with the shared ones."""
        return self._with_shared(self.rest.mode())

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability of the drawn part of an action: [batch]."""
        drawn = action[:, self.num_always :]
        return self.rest.log_prob(drawn if drawn.dtype == torch.bool else drawn - self.num_always)

    @property
    def probability(self) -> Tensor:
        """Keep probabilities [batch, num_blocks], where the others have some.

        Raises:
            AttributeError: if they have none.
        """
        if not isinstance(self.rest, IndependentBlocks):
            raise AttributeError("ordered draws have no keep probability")
        drawn = self.rest.probability
        return torch.cat([drawn.new_ones(len(drawn), self.num_always), drawn], dim=1)

    def _with_shared(self, drawn: Tensor) -> Tensor:
        if drawn.dtype == torch.bool:
            shared = drawn.new_ones(len(drawn), self.num_always)
            return torch.cat([shared, drawn], dim=1)
        first = torch.arange(self.num_always, device=drawn.device).expand(len(drawn), -1)
        return torch.cat([first, drawn + self.num_always], dim=1)
