"""The paper's wish for a target density, as a reward: masks -> what L_b and L_e charge for them."""

import math

import torch
from torch import Tensor

from ccenv.mdp.dynamics import StepOutcome
from ccenv.networks.training import check_at_least_zero
from ccenv.rewards.block_use import BlockUse
from ccenv.rewards.description import describe


@describe(
    "log p(label) - sparsity_weight * sum over layers of (L_b + L_e)", low=-math.inf, high=math.inf
)
class TargetDensity(BlockUse):
    """Pays the log-likelihood of the label and charges masks that leave a target density.

    Bengio et al. 2015, section 3.2, in the squared form of the authors' code, on masks instead of
    keep probabilities. For a layer with mask m, target density tau and use u (the share of recent
    images that kept each block):

    - L_e, each image keeps a share tau of the blocks: (mean of m - tau) ** 2.
    - L_b, each block is kept for a share tau of the images: sum over blocks of (u - tau) ** 2. That
      is a property of many images; each image is charged its tangent at the use so far,
      (u - tau) ** 2 + 2 (u - tau) (m - u), whose mean over images and whose slope are L_b's. A
      block in too much use has a price, one in too little use a premium.

    The use starts at tau and moves after every `update_every` finished episodes.
    """

    def __init__(
        self,
        target_density: float = 0.25,
        sparsity_weight: float = 1.0,
        update_rate: float = 0.1,
        update_every: int = 256,
    ) -> None:
        """Sets the target.

        Args:
            target_density: the paper's tau, in [0, 1].
            sparsity_weight: lambda_s of L_b and L_e.
            update_rate: weight of the newest episodes in the running use, in (0, 1].
            update_every: finished episodes between two moves of the use.
        """
        check_at_least_zero(target_density=target_density, update_rate=update_rate)
        check_at_least_zero(sparsity_weight=sparsity_weight)
        if target_density > 1 or not 0 < update_rate <= 1:
            raise ValueError(
                "expected target_density in [0, 1] and update_rate in (0, 1], "
                f"got {target_density} and {update_rate}"
            )
        self.target_density, self.sparsity_weight = target_density, sparsity_weight
        super().__init__(target_density, update_rate, update_every)

    def __call__(self, outcome: StepOutcome) -> dict[str, Tensor]:
        """Terms `log_likelihood`, `blocks` (L_b) and `images` (L_e)."""
        mask, target = outcome.mask.float(), self.target_density
        use = self.use.get(outcome.layer, torch.full_like(mask[0], target))
        blocks = (use - target).square() + 2 * (use - target) * (mask - use)
        images = (mask.mean(dim=1) - target).square()
        return {
            "log_likelihood": outcome.log_likelihood,
            "blocks": -self.sparsity_weight * blocks.sum(dim=1),
            "images": -self.sparsity_weight * images,
        }

    def numbers(self) -> dict[str, float]:
        """How far the use is from the target: root mean square over all blocks."""
        if not self.use:
            return {"use_distance": 0.0}
        use = torch.cat(list(self.use.values()))
        return {"use_distance": (use - self.target_density).square().mean().sqrt().item()}
