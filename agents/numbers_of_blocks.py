"""How many blocks a gate keeps: (observation, gate) -> a logit for each number."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ccenv.agents.base import LayerScores
from ccenv.agents.distributions import keep_probability, score_of

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
        """Takes what is learned and where it starts.

        Args:
            scores: observation -> what moves an image's centre; made 0 here.
            ranges: numbers of each gate.
            starts: of each gate the centre, or the coin's probability.
            spread: at the start.
        """
        super().__init__()
        self.scores, self.ranges, self.starts = scores, ranges, starts
        for stack in scores.layers:
            assert isinstance(stack, nn.Sequential)
            last = stack[-1]
            assert isinstance(last, nn.Linear)
            nn.init.zeros_(last.weight)
        self.register_buffer("shift", torch.zeros(()))
        self.register_buffer("spread", torch.tensor(spread))
        size = max(scores.lengths)
        self.register_buffer("mean", torch.zeros(len(ranges), size))
        self.register_buffer("square", torch.ones(len(ranges), size))

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
            keep = keep_probability(moved + score_of(self.starts[layer]))
            return torch.cat([1 - keep, keep], dim=1).log()
        low, width = numbers.start - 0.5, len(numbers)
        # Within half a block of what there is, by a curve that is never quite flat: a centre far
        # outside would draw one number only, and never learn better.
        start = torch.tensor((self.starts[layer] - low) / width).logit()
        slope = width * start.sigmoid() * (1 - start.sigmoid())
        centre = low + width * (start + moved / slope).sigmoid()
        away = torch.arange(numbers.start, numbers.stop, device=observation.device) - centre
        return -0.5 * (away / self.spread).square()
