"""A coin for each block: (observation, layer) -> scores -> keep probabilities that masks follow."""

from typing import Any

from torch import Tensor

from ccenv.agents.base import Agent, LayerScores
from ccenv.agents.distributions import MIN_PROBABILITY, IndependentBlocks, keep_probability
from ccenv.agents.symbol_embeddings import EmbeddingSize
from ccenv.deploy.fused.choosers import Chooser


class IndependentPolicy(Agent):
    """Keeps or skips every block by itself; how the scores are learned, subclasses say."""

    min_probability: float = MIN_PROBABILITY
    """lowest keep probability."""

    def __init__(
        self, env: Any, *, seed: int = 0, hidden_units: int = 0, embedding_size: EmbeddingSize = 0
    ) -> None:
        """Prepares the scores.

        Args:
            env: see `Agent`.
            seed: see `Agent`.
            hidden_units: of the policy's hidden layer; 0 for the paper's affine policy.
            embedding_size: of its own embeddings of an observation of symbols; 0 for none, see
                `ccenv.agents.symbol_embeddings`.
        """
        super().__init__(env, seed=seed)
        self.scores = LayerScores(self.simulator, seed, hidden_units, embedding_size)
        self.policy_macs = self.scores.macs

    def distribution(self, observation: Tensor, layer: int) -> IndependentBlocks:
        """Masks of a layer's images: [batch, obs_size] -> independent blocks."""
        return IndependentBlocks(keep_probability(self.scores(observation, layer)))

    def choosers(self, *, drawn: bool) -> list[Chooser] | None:
        """See `Agent.choosers`."""
        return self.scores.choosers("drawn" if drawn else "likely", low=self.min_probability)
