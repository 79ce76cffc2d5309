"""condnet: the paper's policy, REINFORCE on the network's loss with three regularizers.

Bengio, Bacon, Pineau, Precup 2015, arXiv 1511.06297: one affine map and a sigmoid for each gated
layer, sections 3.1 to 3.3. What the authors' code does differs from the text; both are here:

| | `variant="code"` (made the paper's numbers) | `variant="text"` |
|---|---|---|
| REINFORCE | sum over the batch, baseline: the batch's smallest loss | mean, no baseline |
| its learning rate | `learning_rate` | `reinforce_learning_rate` |
| regularizers' learning rate | `learning_rate` | `learning_rate` |
| L_b | sum over blocks of squared distances | of absolute distances |
| L_e | 0.001 times the sum over inputs, squared | mean over inputs, absolute |
| L_v | also 0.1 times the variance within each input | variance over inputs |
| probabilities | in (0.01, 0.99) | in (0, 1) |
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ccenv.agents.base import descend
from ccenv.agents.distributions import IndependentBlocks, one_each
from ccenv.agents.scores import EmbeddingSize, IndependentPolicy, ScoreSettings
from ccenv.base.registry import check_names
from ccenv.simulator.rollout import Rollout

VARIANTS = ("code", "text")
# Of the text's probabilities, which have no bounds: keeps a float's logarithm finite.
TEXT_BOUND = 1e-6
PerLayer = float | Sequence[float]


@dataclass(frozen=True, kw_only=True)
class CondnetSettings(ScoreSettings):
    """Settings of `Condnet`; the defaults are the paper's for MNIST, batches of 128."""

    # The paper's policy is affine and reads what it is shown.
    hidden_units: int = field(default=0, init=False)
    embedding_size: EmbeddingSize = field(default=0, init=False)

    variant: str = "code"
    """"code" or "text"."""
    target_density: PerLayer = 1 / 16
    """the paper's tau, wanted share of blocks kept."""
    sparsity_weight: PerLayer = 200.0
    """lambda_s of L_b and L_e."""
    variance_weight: PerLayer = 200.0
    """lambda_v of L_v."""
    l2_weight: float = 0.005
    """lambda_L2 of the policy's parameters."""
    learning_rate: PerLayer = 5e-5
    """of plain gradient descent; one number or one for each gated layer."""
    reinforce_learning_rate: PerLayer = 5e-5
    """of the REINFORCE part, variant "text" only."""


class Condnet(IndependentPolicy):
    """The paper's agent. It learns from the network's loss, whatever the environment's reward."""

    settings_class = CondnetSettings
    settings: CondnetSettings

    def __init__(self, env: Any, *, seed: int = 0, **settings: Any) -> None:
        """Prepares the policy and plain gradient descent; see `CondnetSettings`."""
        super().__init__(env, seed=seed, **settings)
        record = self.settings
        check_names([record.variant], VARIANTS, "variant")
        if record.variant == "text":
            self.min_probability = TEXT_BOUND
        gates = len(self.num_blocks)
        self.target_density = one_each(record.target_density, gates, "target_density")
        self.sparsity_weight = one_each(record.sparsity_weight, gates, "sparsity_weight")
        self.variance_weight = one_each(record.variance_weight, gates, "variance_weight")
        self.rates = one_each(record.learning_rate, gates, "learning_rate")
        rates = one_each(record.reinforce_learning_rate, gates, "reinforce_learning_rate")
        self.reinforce_rates = rates
        groups = [
            {"params": layer.parameters(), "lr": rate}
            for layer, rate in zip(self.scores.layers, self.rates, strict=True)
        ]
        self.optimizer = torch.optim.SGD(groups, lr=self.rates[0])

    def distribution(self, observation: Tensor, layer: int) -> IndependentBlocks:
        """Masks of a layer's inputs, drawn at test time too: [batch, obs_size] -> blocks."""
        if self.settings.variant == "code":
            return super().distribution(observation, layer)
        probability = self.scores(observation, layer).sigmoid()
        return IndependentBlocks(probability.clamp(TEXT_BOUND, 1 - TEXT_BOUND))

    def update(self, rollout: Rollout) -> dict[str, float]:
        """One step of gradient descent on the REINFORCE loss and the regularizers."""
        total, variant = torch.zeros(()), self.settings.variant
        scalars: dict[str, Tensor] = {}
        for layer, mask in enumerate(rollout.actions):
            blocks = self.distribution(rollout.observations[layer], layer)
            log_prob, probability = blocks.log_prob(mask), blocks.probability
            l_b, l_e, l_v = regularizers(probability, self.target_density[layer], variant)
            rate = self.reinforce_rates[layer] / self.rates[layer]
            total = total + reinforce_loss(log_prob, rollout.nll, variant, rate)
            total = total + self.sparsity_weight[layer] * (l_b + l_e)
            total = total + self.variance_weight[layer] * l_v
            scalars |= {
                f"keep_probability_{layer}": probability.mean(),
                f"l_b_{layer}": l_b,
                f"l_e_{layer}": l_e,
                f"l_v_{layer}": l_v,
            }
        squares = torch.stack([p.square().sum() for p in self.scores.parameters()]).sum()
        descend(self.optimizer, total + self.settings.l2_weight * squares)
        return self.read(**scalars, loss=total)


def reinforce_loss(log_prob: Tensor, nll: Tensor, variant: str, rate: float = 1.0) -> Tensor:
    """The loss whose gradient is the paper's estimate (section 3.1): [batch] each -> a number.

    Args:
        log_prob: of the masks.
        nll: the network's loss for each input, in nats.
        variant: "code" sums over the batch above its smallest loss; "text" is a mean without a
            baseline.
        rate: of "text": its learning rate over the optimiser's.

    >>> log_prob, nll = torch.tensor([-1.0, -2.0]), torch.tensor([0.5, 2.5])
    >>> reinforce_loss(log_prob, nll, "code"), reinforce_loss(log_prob, nll, "text", rate=2.0)
    (tensor(-4.), tensor(-5.5000))
    """
    if variant == "code":
        return ((nll - nll.min()) * log_prob).sum()
    return rate * (nll * log_prob).mean()


def regularizers(
    probability: Tensor, target_density: float, variant: str
) -> tuple[Tensor, Tensor, Tensor]:
    """The paper's L_b, L_e and L_v (section 3.2) of keep probabilities.

    L_b wants each block kept for a share of the inputs, L_e wants each input to keep a share of
    the blocks, L_v wants probabilities that differ between inputs; all are minimised.

    Args:
        probability: [batch, num_blocks] in (0, 1).
        target_density: tau.
        variant: "code" or "text".

    Returns:
        Three scalars.

    >>> [x.item() for x in regularizers(torch.tensor([[0.0, 1.0], [0.0, 0.0]]), 0.5, "text")]
    [0.5, 0.25, -0.25]
    >>> found = regularizers(torch.tensor([[0.0, 1.0], [0.0, 0.0]]), 0.5, "code")
    >>> [round(x.item(), 6) for x in found]
    [0.25, 0.00025, -0.275]
    """
    by_block = probability.mean(dim=0) - target_density
    by_image = probability.mean(dim=1) - target_density
    over_images = probability.var(dim=0, unbiased=False).sum()
    if variant == "text":
        return by_block.abs().sum(), by_image.abs().mean(), -over_images
    within_images = probability.var(dim=1, unbiased=False).sum()
    l_e = 0.001 * by_image.square().sum()
    return by_block.square().sum(), l_e, -(over_images + 0.1 * within_images)
