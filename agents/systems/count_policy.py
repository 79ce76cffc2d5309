"""A policy that draws how many blocks a gate keeps, and which blocks.

One module has a logit for each number of blocks; another scores blocks. Both are drawn: an order of
blocks without replacement (Plackett-Luce) and a number m. The first m blocks of the order are kept.
A gate of one block is a coin: its number is 0 or 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ccenv.agents.distributions import gumbel_like, highest, keep_probability, score_at
from ccenv.agents.scores import LayerScores

MEMORY = 0.98
"""Weight of the past in the running mean and square of observations."""


class Numbers(nn.Module):
    """Logits of how many blocks a gate keeps: a bell about a centre that depends on the image.

    The bell's width is given, not learned: a number that is learned freely is soon the same for
    every image, and with nothing left to compare nothing tells images apart any more. At gates of
    one block it is a coin.
    """

    shift: Tensor
    """added to what moves every centre or coin."""
    spread: Tensor
    """the bell's standard deviation, in blocks."""
    mean: Tensor
    """[gates, columns], of what was seen; a look is brought to mean 0 and deviation 1 with it.
    Columns of symbols that are looked up stay as they are."""
    square: Tensor
    """[gates, columns], mean of squares."""

    def __init__(
        self, scores: LayerScores, ranges: Sequence[range], starts: Sequence[float], spread: float
    ) -> None:
        """Takes scores, which move an image's centre and are made 0 here, and each gate's numbers.

        A gate starts at a centre, or a coin's probability.
        """
        super().__init__()
        self.scores, self.ranges, self.starts = scores, ranges, starts
        for gate in range(len(ranges)):
            nn.init.zeros_(scores.last(gate).weight)
        self.register_buffer("shift", torch.zeros(()))
        self.register_buffer("spread", torch.tensor(spread))
        size = max(scores.lengths)
        self.register_buffer("mean", torch.zeros(len(ranges), size))
        self.register_buffer("square", torch.ones(len(ranges), size))
        self.to(scores.last(0).weight.device)

    def see(self, observation: Tensor, layer: int) -> None:
        """Takes observations [batch, obs_size] into the running mean and square of a gate's."""
        plain = self.scores.num_plain[layer]
        seen = observation[:, :plain]
        self.mean[layer, :plain].lerp_(seen.mean(dim=0), 1 - MEMORY)
        self.square[layer, :plain].lerp_(seen.square().mean(dim=0), 1 - MEMORY)

    def forward(self, observation: Tensor, layer: int) -> Tensor:
        """Logits [batch, numbers]."""
        size, numbers = self.mean.shape[1], self.ranges[layer]
        deviation = (self.square[layer] - self.mean[layer].square()).clamp(min=1e-4).sqrt()
        standard = (observation[:, :size] - self.mean[layer]) / deviation
        moved = self.scores(standard, layer) + self.shift
        if numbers == range(2):
            keep = keep_probability(moved + score_at(self.starts[layer]))
            return torch.cat([1 - keep, keep], dim=1).log()
        low, width = numbers.start - 0.5, len(numbers)
        # Within half a block of what there is, by a curve that is never quite flat: a centre far
        # outside would draw one number only, and never learn better.
        start = torch.tensor((self.starts[layer] - low) / width).logit()
        slope = width * start.sigmoid() * (1 - start.sigmoid())
        centre = low + width * (start + moved / slope).sigmoid()
        away = torch.arange(numbers.start, numbers.stop, device=observation.device) - centre
        return -0.5 * (away / self.spread).square()


NO_BLOCK = -1
"""Stands in an action where fewer blocks are kept than at most."""


@dataclass(frozen=True)
class CountedBlocks:
    """The first m of an order of blocks, with a number m of its own distribution."""

    scores: Tensor
    """[batch, num_blocks] float32; logits of the first draw."""
    number_logits: Tensor
    """[batch, numbers] float32 of `least`, `least` + 1 and so on, at most num_blocks."""
    least: int = 0
    """smallest number."""

    @property
    def most(self) -> int:
        """Largest number."""
        return self.least + self.number_logits.shape[1] - 1

    def sample(self, generator: torch.Generator, twins: int = 1) -> Tensor:
        """Draws orders and numbers: int64 [batch, most], `NO_BLOCK` behind a row's number.

        Twins, so many neighbouring rows, share the order's noise: where their scores are equal,
        they differ in their number alone.
        """
        numbers = (self.number_logits + gumbel_like(self.number_logits, generator)).argmax(dim=1)
        noise = gumbel_like(self.scores[::twins], generator).repeat_interleave(twins, dim=0)
        return self._first(self.scores + noise, self.least + numbers)

    def mode(self) -> Tensor:
        """The blocks of highest score, as many as the median of the number: as `sample`.

        The median's mean over images is closer to the mean number than the most probable one's.
        """
        below = self.number_logits.softmax(dim=1).cumsum(dim=1)[:, :-1] < 0.5
        return self._first(self.scores, self.least + below.sum(dim=1))

    def _first(self, keys: Tensor, numbers: Tensor) -> Tensor:
        order = highest(keys, self.most)
        place = torch.arange(self.most, device=order.device)
        return order.masked_fill(place >= numbers[:, None], NO_BLOCK)

    def log_prob(self, order: Tensor) -> Tensor:
        """Log-probability of keeping these blocks, drawn in this order: int64 -> [batch]."""
        return self.number_log_prob(order) + self.order_log_prob(order)

    def number_log_prob(self, order: Tensor) -> Tensor:
        """Log-probability of a row's number of blocks: int64 [batch, most] -> [batch]."""
        number = (order != NO_BLOCK).sum(dim=1, keepdim=True) - self.least
        return self.number_logits.log_softmax(dim=1).gather(1, number).squeeze(1)

    def order_log_prob(self, order: Tensor) -> Tensor:
        """Log-probability of the order, given how many are drawn: int64 [batch, any] -> [batch]."""
        scores = self.scores
        total = scores.new_zeros(len(scores))
        for draw in range(order.shape[1]):
            is_drawn, block = order[:, draw] != NO_BLOCK, order[:, draw : draw + 1].clamp(min=0)
            log_prob = scores.gather(1, block).squeeze(1) - scores.logsumexp(dim=1)
            total = total + torch.where(is_drawn, log_prob, 0.0)
            left = scores.scatter(1, block, -torch.inf)
            scores = torch.where(is_drawn[:, None], left, scores)
        return total

    def first_draw(self) -> Tensor:
        """Probability of each block to be first in the order: [batch, num_blocks]."""
        return self.scores.softmax(dim=1)
