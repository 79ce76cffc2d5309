"""DisARM: two masks of an input, drawn against each other, are compared block by block.

Dong, Mnih, Tucker 2020, "DisARM: an antithetic gradient estimator for binary latent variables",
arXiv 2006.10680 (found independently as U2G: Yin et al. 2020). Where both masks agree about a block
its score learns nothing; where they differ, it learns the difference of their returns. There all
blocks are drawn at once. Here a gate may look at what the masks of earlier gates made of the input,
so that the two see different things: the estimator is then written for each mask by itself, with
`antithetic_weight` for two probabilities, and stays unbiased. Where they see the same, it is the
paper's.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.agents.advantages import leave_twins_out
from ccenv.agents.base import descend
from ccenv.agents.distributions import IndependentBlocks, keep_probability
from ccenv.agents.scores import EmbeddingSize, IndependentPolicy, start_at
from ccenv.base.seeding import uniform
from ccenv.base.values import check_within
from ccenv.simulator.rollout import Rollout

PAIR = 2


class Disarm(IndependentPolicy):
    """Independent coins, tossed against each other for neighbouring rows of the same input.

    Nothing holds the number of kept blocks but the reward: it needs a cost (`nll_minus_cost`) or a
    limit (`lagrangian`).
    """

    env_defaults: ClassVar[dict[str, Any]] = {"observation": "summary", "group_size": PAIR}

    def __init__(
        self,
        env: Any,
        *,
        seed: int = 0,
        learning_rate: float = 0.005,
        entropy_weight: float = 0.001,
        start_density: float = 0.5,
        hidden_units: int = 0,
        embedding_size: EmbeddingSize = 0,
    ) -> None:
        """Prepares policy and optimiser (Adam).

        Args:
            env: see `Agent`; its `group_size` is even: two masks of an input, or several pairs.
            learning_rate: Adam's.
            entropy_weight: of the bonus on the masks' entropy, in nats; fades to 0 linearly.
            start_density: keep probability of every block before any learning, in (0, 1).

        Raises:
            ValueError: if masks of an input do not come in pairs, or the density is impossible.
        """
        super().__init__(env, seed=seed, hidden_units=hidden_units, embedding_size=embedding_size)
        self.group_size = self.simulator.group_size
        if self.group_size % PAIR:
            raise ValueError(
                f"expected an even group_size, got {self.group_size}: disarm compares pairs of "
                "masks of the same input; give the environment group_size=2"
            )
        check_within("(0, 1)", start_density=start_density)
        start_at(self.scores, [start_density] * len(self.num_blocks))
        self.entropy_weight = entropy_weight
        self.optimizer = torch.optim.Adam(self.scores.parameters(), lr=learning_rate)

    def distribution(self, observation: Tensor, layer: int) -> "AntitheticBlocks":
        """Masks of a layer's images: [batch, obs_size] -> a coin for each block."""
        return AntitheticBlocks(keep_probability(self.scores(observation, layer)))

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Agent.act`; only training, which draws from the agent's own stream, has pairs."""
        blocks = self.distribution(observation, layer)
        if generator is None:
            return blocks.mode()
        in_training = generator is self.generator
        return blocks.sample_pairs(generator) if in_training else blocks.sample(generator)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """One step up the policy gradient."""
        loss, entropy = torch.zeros(()), torch.zeros(())
        for layer, mask in enumerate(rollout.actions):
            blocks = self.distribution(rollout.observations[layer], layer)
            worth = against_others(rollout.returns[layer], self.group_size)
            loss = loss + antithetic_loss(blocks.probability, mask, worth)
            entropy = entropy + blocks.entropy().mean()
        descend(self.optimizer, loss - self.entropy_weight * (1 - self.progress) * entropy)
        return self.read(loss=loss, entropy=entropy)


@dataclass(frozen=True)
class AntitheticBlocks(IndependentBlocks):
    """Coins of which neighbouring rows, a pair, use the same uniform number from either end."""

    def sample_pairs(self, generator: torch.Generator) -> Tensor:
        """Draws masks: bool [batch, num_blocks].

        The first of a pair keeps what is below its probability, the second what is above one minus
        its own.
        """
        shape = (len(self.probability) // PAIR, self.probability.shape[1])
        drawn = uniform(shape, generator, self.probability.device)
        both = torch.stack([drawn, 1 - drawn], dim=1).flatten(0, 1)
        return both < self.probability


def antithetic_loss(probability: Tensor, mask: Tensor, worth: Tensor) -> Tensor:
    """Minus what has the gradient of the expected worth of pairs of masks: a number.

    DisARM's estimate (arXiv 2006.10680) as a loss in the log-odds.

    Args:
        probability: [batch, num_blocks] in (0, 1); rows of a pair are neighbours.
        mask: bool [batch, num_blocks].
        worth: [batch] returns, less what does not depend on either mask of the pair.

    >>> p = torch.tensor([[0.75], [0.75]])
    >>> loss = antithetic_loss(p, torch.tensor([[True], [False]]), torch.tensor([3.0, 1.0]))
    >>> round(loss.item(), 4)  # - 0.75 log 3 (3 - 1) / 2
    -0.824
    """
    weight = antithetic_weight(probability.detach(), mask)
    log_odds = probability.log() - (-probability).log1p()
    return -(worth * (weight * log_odds).sum(dim=1)).mean()


def antithetic_weight(probability: Tensor, mask: Tensor) -> Tensor:
    """What a row's return is multiplied with in the gradient of its log-odds: [batch, num_blocks].

    A row's own uniform number u gives an unbiased weight, 1 - 2 u; this is its mean over all
    numbers that give the pair these two masks (equations 5 and 6 of the paper, whose two
    probabilities are equal). Of the second row it is the negative of the first one's.

    >>> p = torch.tensor([[0.75], [0.75]])
    >>> antithetic_weight(p, torch.tensor([[True], [False]])).flatten().tolist()
    [0.75, -0.75]
    >>> antithetic_weight(p, torch.tensor([[True], [True]])).abs().flatten().tolist()
    [0.0, 0.0]
    """
    first, second = probability[0::PAIR], probability[1::PAIR]
    kept, other = mask[0::PAIR], mask[1::PAIR]
    # The first row keeps below its p; the second one above 1 - its own.
    low = torch.maximum(torch.where(kept, 0.0, first), torch.where(other, 1 - second, 0.0))
    high = torch.minimum(torch.where(kept, first, 1.0), torch.where(other, 1.0, 1 - second))
    weight = 1 - (low + high)
    return torch.stack([weight, -weight], dim=1).flatten(0, 1)


def against_others(returns: Tensor, group_size: int) -> Tensor:
    """Each return minus a mean that neither mask of its pair has a part in: [batch] -> [batch].

    That of the input's other pairs; of the batch's other inputs where there is one pair; nothing
    where there is one pair in all.

    >>> against_others(torch.tensor([1.0, 3.0, 5.0, 7.0]), group_size=2)
    tensor([-5., -3.,  3.,  5.])
    """
    if len(returns) == PAIR:
        return returns
    return leave_twins_out(returns, group_size if group_size > PAIR else len(returns), PAIR)
