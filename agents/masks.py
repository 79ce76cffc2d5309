"""What a policy draws masks from: scores of blocks -> samples, log-probabilities, the best mask."""

from dataclasses import dataclass

import torch
from torch import Tensor

MIN_PROBABILITY = 0.01


def keep_probability(scores: Tensor) -> Tensor:
    """Scores -> keep probabilities in (0.01, 0.99), elementwise.

    Bounded away from 0 and 1, as in the authors' code: a sampled mask then always has a finite
    log-probability, and no block can die or saturate for good.
    """
    return MIN_PROBABILITY + (1 - 2 * MIN_PROBABILITY) * scores.sigmoid()


@dataclass(frozen=True)
class IndependentBlocks:
    """Every block is kept or not by a coin of its own (Bengio et al. 2015, section 3.1)."""

    probability: Tensor
    """[batch, num_blocks] float32 in (0, 1)."""

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draws masks: bool [batch, num_blocks]."""
        draw = torch.rand(self.probability.shape, generator=generator)
        return draw.to(self.probability.device) < self.probability

    def mode(self) -> Tensor:
        """The most probable masks, that is thresholded at one half: bool [batch, num_blocks]."""
        return self.probability > 0.5

    def log_prob(self, mask: Tensor) -> Tensor:
        """Log-probability of masks, a sum of logs: bool [batch, num_blocks] -> [batch]."""
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
        uniform = torch.rand(self.scores.shape, generator=generator).to(self.scores.device)
        gumbel = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
        return (self.scores + gumbel).topk(self.num_kept, dim=1).indices

    def mode(self) -> Tensor:
        """The k blocks of highest score: int64 [batch, k]."""
        return self.scores.topk(self.num_kept, dim=1).indices

    def log_prob(self, order: Tensor) -> Tensor:
        """Log-probability of drawing these blocks in this order: int64 [batch, k] -> [batch].

        The sum over draws of the chosen block's score minus the log-sum-exp of those still there.
        """
        scores = self.scores
        total = scores.new_zeros(len(scores))
        for draw in range(order.shape[1]):
            block = order[:, draw : draw + 1]
            total = total + scores.gather(1, block).squeeze(1) - scores.logsumexp(dim=1)
            scores = scores.scatter(1, block, -torch.inf)
        return total

    def first_draw(self) -> Tensor:
        """Probability of each block to be drawn first: [batch, num_blocks], rows sum to 1."""
        return self.scores.softmax(dim=1)
