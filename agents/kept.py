"""How many blocks are kept, in the end, at first, and always: settings -> checked, and obeyed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ccenv.agents.base import LayerScores
from ccenv.agents.masks import MIN_PROBABILITY, IndependentBlocks, OrderedBlocks


def check_kept(
    num_kept: int | Sequence[int], num_blocks: Sequence[int], always_on: int = 0
) -> list[int]:
    """One k for each gated layer.

    Raises:
        ValueError: if one is not in 1..num_blocks, or leaves nothing to draw beside `always_on`.
    """
    kept = [num_kept] * len(num_blocks) if isinstance(num_kept, int) else list(num_kept)
    fits = len(kept) == len(num_blocks) and all(
        1 <= k <= n for k, n in zip(kept, num_blocks, strict=True)
    )
    if not fits:
        raise ValueError(
            f"expected num_kept in 1..num_blocks for num_blocks={list(num_blocks)}, got {kept}"
        )
    if not 0 <= always_on < min(kept):
        raise ValueError(
            f"expected always_on of at least 0 and below num_kept={kept}, got {always_on}: one "
            "block at least must be left to choose"
        )
    return kept


def start_at(scores: LayerScores, shares: Sequence[float]) -> None:
    """Sets the last biases so that coins keep such shares of a layer's blocks before any learning.

    Args:
        scores: what `ccenv.agents.masks.keep_probability` makes probabilities of.
        shares: one for each gated layer.
    """
    for stack, share in zip(scores.layers, shares, strict=True):
        assert isinstance(stack, nn.Sequential)
        linear = stack[-1]
        assert isinstance(linear, nn.Linear)
        nn.init.constant_(linear.bias, score_of(share))


def score_of(probability: float) -> float:
    """The score whose keep probability this is; those out of its reach are brought near.

    >>> round(score_of(0.5), 6)
    0.0
    """
    within = min(max(probability, 2 * MIN_PROBABILITY), 1 - 2 * MIN_PROBABILITY)
    odds = (within - MIN_PROBABILITY) / (1 - MIN_PROBABILITY - within)
    return math.log(odds)


@dataclass(frozen=True)
class AlwaysOn:
    """Keeps the first blocks for every image; the others are drawn."""

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
