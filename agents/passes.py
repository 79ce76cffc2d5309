"""Several gradient steps on one rollout, no further from its policy than a clipped ratio allows.

Schulman et al. 2017, "Proximal policy optimization algorithms" (arXiv 1707.06347). With advantages
of `rloo` it is the policy gradient of Shao et al. 2024, "DeepSeekMath" (arXiv 2402.03300).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ccenv.agents.losses import CLIP_RANGE
from ccenv.base.seeding import uniform
from ccenv.base.values import positive_ints
from ccenv.simulator.rollout import Rollout


@dataclass(frozen=True)
class Passes:
    """How often an agent goes through a rollout, and in how many parts each time."""

    num_epochs: int = 1
    """times, at least 1."""
    num_minibatches: int = 1
    """parts, at least 1."""

    def of(self, rows: int) -> "Passes":
        """The same for rollouts of so many episodes; ValueError of more parts than these."""
        positive_ints([self.num_epochs, self.num_minibatches], "num_epochs and num_minibatches")
        if self.num_minibatches > rows:
            raise ValueError(
                f"expected num_minibatches of at most the {rows} episodes of a rollout, got "
                f"{self.num_minibatches}"
            )
        return self

    @property
    def is_one_step(self) -> bool:
        """Whether it is one step on the whole rollout, which is then not clipped."""
        return self.num_epochs == self.num_minibatches == 1

    def over(self, agent: Any, rollout: Rollout, *values: Tensor) -> Iterator[tuple[Any, ...]]:
        """Parts of a rollout, of whole episodes in random order, one for each gradient step.

        Args:
            agent: gives the distributions, and the generator of the order.
            rollout: what it did.
            *values: [num_steps, batch] each.

        Yields:
            A rollout, its values, and the log-probabilities of its actions before the first step,
            None where there is one step only.
        """
        if self.is_one_step:
            yield rollout, *values, None
            return
        before = log_probs(agent, rollout)
        for _ in range(self.num_epochs):
            draws = uniform((rollout.returns.shape[1],), agent.generator, before.device)
            for rows in draws.argsort().chunk(self.num_minibatches):
                parts = (value[:, rows] for value in (*values, before))
                yield rollout.of_rows(rows), *parts


@torch.no_grad()
def log_probs(agent: Any, rollout: Rollout) -> Tensor:
    """Log-probabilities of a rollout's actions: [num_steps, batch]."""
    values = torch.empty_like(rollout.returns)
    for gate, seen, action in rollout.by_gate():
        of_gate = agent.distribution(seen, gate).log_prob(action)
        values[gate :: rollout.num_layers] = of_gate.view(-1, values.shape[1])
    return values


def change_of_policy(before: Tensor, after: Tensor, *, clips: bool) -> dict[str, Tensor]:
    """What an update did to a policy, from log-probabilities of the masks that it learned from.

    As Stable-Baselines3 has them: Schulman's estimate of the KL divergence in nats, mean over
    gates; and where ratios are clipped, the share of masks whose ratio is.

    >>> before, after = torch.tensor([0.8, 0.2]).log(), torch.tensor([0.4, 0.2]).log()
    >>> found = change_of_policy(before, after, clips=True)
    >>> {name: round(float(value), 4) for name, value in found.items()}
    {'approx_kl': 0.0966, 'clip_fraction': 0.5}
    """
    log_ratio = after - before
    change = log_ratio.exp() - 1
    curves = {"approx_kl": (change - log_ratio).mean()}
    return curves | ({"clip_fraction": (change.abs() > CLIP_RANGE).float().mean()} if clips else {})
