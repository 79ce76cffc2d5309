"""The paper's target density as a reward.

It is a function of the masks of many inputs. Each input is charged the tangent at the use so far,
which has the same mean over inputs and the same slope.
"""

import math

import torch
from torch import Tensor

from ccenv.base.values import check_at_least_zero, check_within, positive_ints
from ccenv.mdp.dynamics import StepOutcome
from ccenv.rewards.bind import StatefulReward, describe


@describe(
    "log p(label) - sparsity_weight * sum over layers of (L_b + L_e)", low=-math.inf, high=math.inf
)
class TargetDensity(StatefulReward):
    """Pays the log-likelihood of the label and charges deviations from a target density.

    Bengio et al. 2015, section 3.2, in the squared form of the authors' code, on masks instead of
    keep probabilities. For a layer with mask m, target density tau and use u (the share of recent
    inputs that kept each block):

    - L_e, each input keeps a share tau of the blocks: (mean of m - tau) ** 2.
    - L_b, each block is kept for a share tau of the images: sum over blocks of (u - tau) ** 2. That
      is a property of many inputs; each input is charged its tangent at the use so far,
      (u - tau) ** 2 + 2 (u - tau) (m - u), whose mean over inputs and whose slope are L_b's.
      Keeping a block of too much use costs, keeping one of too little use pays.

    The use starts at tau and is updated after every `update_every` finished episodes.
    """

    def __init__(
        self,
        target_density: float = 0.25,
        sparsity_weight: float = 1.0,
        update_rate: float = 0.1,
        update_every: int = 256,
    ) -> None:
        """Sets tau in [0, 1] and lambda_s; an update moves the use by `update_rate` in (0, 1]."""
        check_within("[0, 1]", target_density=target_density)
        check_at_least_zero(sparsity_weight=sparsity_weight)
        check_within("(0, 1]", update_rate=update_rate)
        positive_ints([update_every], "update_every")
        self.target_density, self.sparsity_weight = target_density, sparsity_weight
        self.update_rate, self.update_every = update_rate, update_every
        self.reset()

    def reset(self) -> None:
        """Restores the initial state."""
        self.use: dict[int, Tensor] = {}
        self._episode: list[Tensor] = []
        self._sums: list[Tensor] = []
        self._count = 0

    def update(self, outcome: StepOutcome) -> None:
        """Counts the blocks of finished episodes and updates the use when there are enough."""
        if outcome.layer == 0:
            self._episode = []
        self._episode.append(outcome.mask.float().sum(dim=0))
        if not outcome.is_last:
            return
        sums = self._sums or [torch.zeros_like(kept) for kept in self._episode]
        self._sums = [a + b for a, b in zip(sums, self._episode, strict=True)]
        self._count += len(outcome.mask)
        if self._count >= self.update_every:
            self._move()

    def _move(self) -> None:
        for layer, kept in enumerate(self._sums):
            newest = kept / self._count
            before = self.use.get(layer, torch.full_like(newest, self.target_density))
            self.use[layer] = before + self.update_rate * (newest - before)
        self._sums, self._count = [], 0

    def __call__(self, outcome: StepOutcome) -> dict[str, Tensor]:
        """Terms `log_likelihood`, `blocks` (L_b) and `images` (L_e)."""
        mask, target = outcome.mask.float(), self.target_density
        use = self.use.get(outcome.layer, torch.full_like(mask[0], target))
        blocks = (use - target).square() + 2 * (use - target) * (mask - use)
        examples = (mask.mean(dim=1) - target).square()
        return {
            "log_likelihood": outcome.log_likelihood,
            "blocks": -self.sparsity_weight * blocks.sum(dim=1),
            "images": -self.sparsity_weight * examples,
        }

    def numbers(self) -> dict[str, float]:
        """Root mean square distance of the use from the target, over all blocks."""
        if not self.use:
            return {"use_distance": 0.0}
        use = torch.cat(list(self.use.values()))
        return {"use_distance": (use - self.target_density).square().mean().sqrt().item()}
