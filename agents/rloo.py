"""REINFORCE leave-one-out: several masks of the same image are compared with each other.

Baseline: Kool, van Hoof, Welling 2019, "Buy 4 REINFORCE samples, get a baseline for free!".
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from agents.base import Agent, LayerScores
from agents.masks import OrderedBlocks
from ccenv.rollout import Rollout


class Rloo(Agent):
    """Draws k of n blocks; a mask is good if it beats the other masks of the same image.

    A bonus on the entropy of the batch's mean block use keeps blocks from dying early on; it
    fades out linearly. Looks at the cheap summary, so that choosing costs little.
    """

    env_defaults: ClassVar[dict[str, Any]] = {"observation": "summary", "group_size": 8}

    def __init__(
        self,
        env: Any,
        *,
        seed: int = 0,
        num_kept: int | Sequence[int] = 2,
        learning_rate: float = 0.005,
        diversity_weight: float = 0.1,
        hidden_units: int = 0,
    ) -> None:
        """Prepares policy and optimiser (Adam).

        Args:
            env: see `Agent`; its `group_size` is the number of masks of an image, at least 2.
            seed: see `Agent`.
            num_kept: k, one number or one for each gated layer.
            learning_rate: Adam's.
            diversity_weight: of the bonus on the entropy of mean block use, in nats.
            hidden_units: of the policy's hidden layer; 0 for an affine policy.

        Raises:
            ValueError: if there is one mask an image, or k is not in 1..num_blocks.
        """
        super().__init__(env, seed=seed)
        self.group_size = self.simulator.group_size
        if self.group_size < 2:
            raise ValueError(
                f"expected group_size >= 2, got {self.group_size}: rloo compares masks of the same "
                "image; give the environment group_size=8"
            )
        layers = len(self.num_blocks)
        self.num_kept = [num_kept] * layers if isinstance(num_kept, int) else list(num_kept)
        fits = len(self.num_kept) == layers and all(
            1 <= k <= n for k, n in zip(self.num_kept, self.num_blocks, strict=True)
        )
        if not fits:
            raise ValueError(
                f"expected num_kept in 1..num_blocks for num_blocks={list(self.num_blocks)}, "
                f"got {self.num_kept}"
            )
        self.scores = LayerScores(self.simulator, seed, hidden_units)
        self.policy_macs = self.scores.macs
        self.diversity_weight = diversity_weight
        self.optimizer = torch.optim.Adam(self.scores.parameters(), lr=learning_rate)

    def distribution(self, observation: Tensor, layer: int) -> OrderedBlocks:
        """Masks of a layer's images: [batch, obs_size] -> k of n blocks."""
        return OrderedBlocks(self.scores(observation, layer), self.num_kept[layer])

    def update(self, rollout: Rollout) -> dict[str, float]:
        """One step up the policy gradient, with the bonus."""
        loss, diversity = torch.zeros(()), torch.zeros(())
        for layer, order in enumerate(rollout.actions):
            blocks = self.distribution(rollout.observations[layer], layer)
            advantage = leave_one_out(rollout.returns[layer], self.group_size)
            loss = loss - (blocks.log_prob(order) * advantage).mean()
            use = blocks.first_draw().mean(dim=0)
            diversity = diversity - (use * use.clamp(min=1e-12).log()).sum()
        weight = self.diversity_weight * (1 - self.progress)
        self.optimizer.zero_grad()
        (loss - weight * diversity).backward()
        self.optimizer.step()
        return {"loss": loss.item(), "diversity": diversity.item()}


def leave_one_out(returns: Tensor, group_size: int) -> Tensor:
    """Each return minus the mean of the group's others: [batch] -> [batch].

    >>> leave_one_out(torch.tensor([1.0, 3.0, 5.0]), group_size=3)
    tensor([-3.,  0.,  3.])
    """
    groups = returns.view(-1, group_size)
    others = (groups.sum(dim=1, keepdim=True) - groups) / (group_size - 1)
    return (groups - others).flatten()
