"""A coin for each block: (observation, layer) -> scores -> keep probabilities that masks follow."""

import torch
from torch import Tensor

from ccenv.agents.base import ScoredAgent
from ccenv.agents.distributions import MIN_PROBABILITY, IndependentBlocks, keep_probability
from ccenv.mdp.choosers import Chooser
from ccenv.simulator.rollout import Rollout


class IndependentPolicy(ScoredAgent):
    """Keeps or skips every block by itself; how the scores are learned, subclasses say."""

    min_probability: float = MIN_PROBABILITY
    """lowest keep probability."""

    def distribution(self, observation: Tensor, layer: int) -> IndependentBlocks:
        """Masks of a layer's images: [batch, obs_size] -> independent blocks."""
        return IndependentBlocks(keep_probability(self.scores(observation, layer)))

    def choosers(self, *, deterministic: bool) -> list[Chooser] | None:
        """See `Agent.choosers`."""
        return self.scores.choosers(deterministic, low=self.min_probability)

    def surrogate(self, rollout: Rollout, advantages: Tensor) -> tuple[Tensor, Tensor]:
        """The policy gradient's loss, and the masks' entropy in nats: sums over gates of means.

        Args:
            rollout: masks and what was seen.
            advantages: [num_layers, batch]; what each mask was worth.
        """
        loss, entropy = torch.zeros(()), torch.zeros(())
        for layer, mask in enumerate(rollout.actions):
            blocks = self.distribution(rollout.observations[layer], layer)
            loss = loss - (blocks.log_prob(mask) * advantages[layer]).mean()
            entropy = entropy + blocks.entropy().mean()
        return loss, entropy
