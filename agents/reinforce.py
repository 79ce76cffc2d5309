"""REINFORCE with a batch-mean baseline: one affine policy a layer."""

from dataclasses import dataclass

from ccenv.agents.scores import PolicyGradient, PolicySettings
from ccenv.simulator.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class ReinforceSettings(PolicySettings):
    """Settings of `Reinforce`."""

    anneal: bool = False
    """let the learning rate fall to 0 linearly, so that the last policy is no swing."""


class Reinforce(PolicyGradient):
    """Makes masks that return more than the batch's mean more probable (Williams 1992)."""

    settings_class = ReinforceSettings
    settings: ReinforceSettings

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Steps up the policy gradient, one by default."""
        if self.settings.anneal:
            rate = self.settings.learning_rate * (1 - self.progress)
            self.optimizer.param_groups[0]["lr"] = rate
        return super().update(rollout)
