"""Top-k routing: the k blocks of highest score, learned through their softmax weights.

The router of mixtures of experts: Shazeer et al. 2017, arXiv 1701.06538 (noisy top k, softmax over
the kept ones); Fedus, Zoph, Shazeer 2022, arXiv 2101.03961 (softmax over all, load balance). There
a kept expert is scaled by its weight. Masks of the environment are binary, so here the weight is
divided by its own value: a kept block counts in full, and only the gradient is the weight's.

Blocks are used alike by a loss, or without one: Wang, Gao, Zhao, Sun, Dai 2024, "Auxiliary-loss-
free load balancing strategy for mixture-of-experts", arXiv 2408.15664, add a bias to the scores for
the selection alone, which rises by a fixed rate where a block is kept less than the mean and falls
where it is kept more. There scores are in (0, 1); here they are logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ccenv.agents.base import Agent, LayerScores, descend
from ccenv.agents.distributions import check_kept, highest
from ccenv.agents.straight_through_ops import load_balance, loss_under, move_bias
from ccenv.agents.symbol_embeddings import EmbeddingSize
from ccenv.base.masks import as_mask
from ccenv.base.registry import check_names
from ccenv.base.seeding import normal
from ccenv.deploy.fused.choosers import Chooser
from ccenv.networks.learning.training import check_at_least_zero
from ccenv.simulator.rollout import Rollout

SOFTMAX = ("all", "kept")


@dataclass(frozen=True)
class NoisyTopBlocks:
    """The k blocks of highest score, after Gaussian noise."""

    scores: Tensor
    """[batch, num_blocks] float32."""
    num_kept: int
    """k, at most num_blocks."""
    noise: float
    """standard deviation."""

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draws noise and takes the highest: int64 [batch, k]."""
        draw = normal(self.scores.shape, generator, self.scores.device)
        return highest(self.scores + self.noise * draw, self.num_kept)

    def mode(self) -> Tensor:
        """The k blocks of highest score: int64 [batch, k]."""
        return highest(self.scores, self.num_kept)


class TopK(Agent):
    """Learns from the network's loss, whatever the environment's reward."""

    env_defaults: ClassVar[dict[str, Any]] = {"observation": "summary"}

    def __init__(
        self,
        env: Any,
        *,
        seed: int = 0,
        num_kept: int | Sequence[int] = 2,
        softmax: str = "all",
        noise: float = 1.0,
        noise_share: float = 0.6,
        balance_weight: float = 0.01,
        learning_rate: float = 0.005,
        hidden_units: int = 0,
        embedding_size: EmbeddingSize = 0,
        bias_rate: float = 0.0,
    ) -> None:
        """Prepares policy and optimiser (Adam).

        Args:
            env: see `Agent`.
            seed: see `Agent`.
            num_kept: k, one number or one for each gated layer.
            softmax: over "all" blocks or the "kept" ones; of a single kept one nothing is learned.
            noise: on the scores in training, standard deviation at the start.
            noise_share: of the training, after which the noise has fallen to zero.
            balance_weight: of the load balance loss, 1 where blocks are used alike.
            learning_rate: Adam's.
            hidden_units: of the policy's hidden layer; 0 for an affine policy.
            embedding_size: of embeddings of symbols, see `ccenv.agents.symbol_embeddings`.
            bias_rate: what an update moves a block's selection bias by; 0 for no such bias.
        """
        super().__init__(env, seed=seed)
        check_names([softmax], SOFTMAX, "softmax")
        if not 0 < noise_share <= 1:
            raise ValueError(f"expected noise_share in (0, 1], got {noise_share}")
        check_at_least_zero(bias_rate=bias_rate)
        self.num_kept = check_kept(num_kept, self.num_blocks)
        self.softmax, self.balance_weight = softmax, balance_weight
        self.noise, self.noise_share = noise, noise_share
        self.scores = LayerScores(self.simulator, seed, hidden_units, embedding_size)
        self.policy_macs = self.scores.macs
        self.bias_rate = bias_rate
        # In a module, so that checkpoints and files hold it with the weights.
        zeros = [torch.zeros(n, device=self.simulator.device) for n in self.num_blocks]
        still = [nn.Parameter(zero, requires_grad=False) for zero in zeros if bias_rate]
        self.bias = nn.ParameterList(still)
        self.optimizer = torch.optim.Adam(self.scores.parameters(), lr=learning_rate)

    def distribution(self, observation: Tensor, layer: int, noise: float = 0.0) -> NoisyTopBlocks:
        """Masks of a layer's images, without noise once it is trained."""
        scores = self.scores(observation, layer)
        if self.bias_rate:
            scores = scores + self.bias[layer]
        return NoisyTopBlocks(scores, self.num_kept[layer], noise)

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Agent.act`; only training, which draws from the agent's own stream, is noisy."""
        noise = 0.0
        if generator is self.generator:
            noise = self.noise * max(0.0, 1 - self.progress / self.noise_share)
        blocks = self.distribution(observation, layer, noise)
        return blocks.mode() if generator is None or not noise else blocks.sample(generator)

    def choosers(self, *, drawn: bool) -> list[Chooser] | None:
        """See `Agent.choosers`; noise is only drawn in training."""
        found = self.scores.choosers(False, self.num_kept)
        if found is None or not self.bias_rate:
            return found
        return [biased(chooser, bias) for chooser, bias in zip(found, self.bias, strict=True)]

    def update(self, rollout: Rollout) -> dict[str, float]:
        """One step down the loss under the rollout's masks, with the load balance."""
        balance = torch.zeros(())
        soft_masks, masks = [], []
        for layer, kept in enumerate(rollout.actions):
            mask = as_mask(kept, self.num_blocks[layer], self.simulator.checks)
            scores = self.scores(rollout.observations[layer], layer)
            soft_masks.append(weighted_masks(scores, mask, self.softmax))
            masks.append(mask)
            if self.bias_rate:
                move_bias(self.bias[layer], mask, self.bias_rate)
            balance = balance + load_balance(scores, mask)
        loss = loss_under(self.simulator, soft_masks, masks)
        descend(self.optimizer, loss + self.balance_weight * balance)
        return self.read(loss=loss, balance=balance)


def biased(chooser: Chooser, bias: Tensor) -> Chooser:
    """A chooser whose scores a bias [num_blocks] is added to."""
    assert not isinstance(chooser.maps, Tensor)
    *before, (weight, last) = chooser.maps
    return replace(chooser, maps=[*before, (weight, bias if last is None else last + bias)])


def weighted_masks(scores: Tensor, mask: Tensor, softmax: str) -> Tensor:
    """Soft masks: of kept blocks their softmax weights over their own values, so 1; else 0.

    Args:
        scores: [batch, num_blocks] float32.
        mask: [batch, num_blocks] bool.
        softmax: over "all" blocks or the "kept" ones.
    """
    if softmax == "kept":
        scores = scores.masked_fill(~mask, -torch.inf)
    log_weight = torch.where(mask, scores.log_softmax(dim=1), 0.0)
    return torch.where(mask, (log_weight - log_weight.detach()).exp(), 0.0)
