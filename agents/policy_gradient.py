"""Policy gradients: masks that were worth more than a baseline become more probable.

REINFORCE (Williams 1992) and what followed it, as settings of one rule: what a mask is compared
with, how many steps are taken on a rollout, and a limit on the mean cost. Named sets of settings
are agents: `reinforce`, `actor_critic`, `reinforce_lagrangian`, and `ppo` in a file of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.agents.advantages import (
    above_mean,
    explained_variance,
    generalised,
    leave_one_out,
    less_costs,
    standard,
)
from ccenv.agents.base import descend
from ccenv.agents.distributions import (
    IndependentBlocks,
    OneOrCoins,
    OrderedBlocks,
    check_kept,
    keep_probability,
)
from ccenv.agents.losses import value_loss
from ccenv.agents.passes import Passes
from ccenv.agents.scores import CoinSettings, ScoredAgent
from ccenv.base.registry import check_names
from ccenv.base.values import check_within
from ccenv.mdp.choosers import Chooser
from ccenv.rewards import check_cost_limit
from ccenv.rewards.lagrangian import level_of, price_of, relative_excess
from ccenv.simulator.rollout import Rollout

BASELINES = ("none", "mean", "copies", "critic")
MOMENTS = 100
"""Rollouts over which the deviation of returns is a running mean."""


@dataclass(frozen=True, kw_only=True)
class PolicySettings(CoinSettings):
    """Settings of a `PolicyGradient`."""

    learning_rate: float = 0.05
    """Adam's."""
    anneal: bool = False
    """let learning rates fall to 0 linearly, so that the last policy is no swing."""
    entropy_weight: float = 0.001
    """of the bonus on the masks' entropy, in nats; fades to 0 linearly."""
    num_kept: int | Sequence[int] | None = None
    """k of a gate's blocks are drawn, one number or one for each gate; None: a coin for each
    block."""
    min_probability: float = 0.001
    """lowest keep probability of a coin, in (0, 0.5)."""
    baseline: str = "mean"
    """what a return is compared with: nothing ("none"), the batch's mean at the gate ("mean"), the
    mean of the other masks of the same input ("copies", with the environment's `group_size`: Kool
    et al. 2019), or what a network predicts from the observation ("critic")."""
    critic_learning_rate: float = 0.003
    """of the critic."""
    critic_units: int = 64
    """of the critic's hidden layer."""
    gae_lambda: float = 1.0
    """in [0, 1]; 1 compares whole returns with the critic's prediction, 0 the next reward and
    prediction (Schulman et al. 2016, arXiv 1506.02438)."""
    standardised: bool = False
    """whether rewards are in units of the returns' running deviation, and an update's advantages
    have mean 0 and deviation 1."""
    max_grad_norm: float | None = None
    """longest gradient of a step; None for any."""
    cost_limit: float | None = None
    """mean compute cost to stay within, in (0, 1]; None for no limit."""
    multiplier_lr: float = 0.05
    """with a limit: see `price_learning_rate` of `ccenv.rewards.lagrangian`."""
    initial_multiplier: float = 0.0
    """at least 0."""
    multiplier_scale: float = 0.01
    """see `price_scale` there."""

    def __post_init__(self) -> None:
        """Refuses what is out of range."""
        super().__post_init__()
        check_names([self.baseline], BASELINES, "baseline")
        if not 0 <= self.gae_lambda <= 1:
            raise ValueError(f"expected gae_lambda in [0, 1], got {self.gae_lambda}")
        if self.cost_limit is not None:
            check_cost_limit(self.cost_limit)
        if self.max_grad_norm is not None:
            check_within("(0, inf)", max_grad_norm=self.max_grad_norm)


class PolicyGradient(ScoredAgent):
    """Makes masks of high advantage more probable; a subclass may define `advantages`.

    A coin for each block, or k of n blocks, of an affine map of what is seen at a gate. With a
    `cost_limit` it climbs the return less a multiplier times the cost to go, and the multiplier
    rises while a batch costs more than the limit and falls to 0 while it costs less: a constrained
    MDP (Tessler, Mankowitz, Mannor 2018, arXiv 1805.11074) with the gates' costs as its cost.

    >>> class AboveMedian(PolicyGradient):
    ...     def advantages(self, rollout):
    ...         return rollout.returns - rollout.returns.median(dim=1, keepdim=True).values
    >>> from ccenv.simulator.simulator import Simulator
    >>> simulator = Simulator(4, dataset="synthetic", weights="cotrain", num_blocks=[4, 2])
    >>> simulator.seed(0)
    >>> AboveMedian(simulator, learning_rate=0.1).learn(8)
    8
    """

    sequences = True
    settings_class = PolicySettings
    settings: PolicySettings

    def __init__(self, env: Any, *, seed: int = 0, **settings: Any) -> None:
        """Prepares policy, critic and their optimiser (Adam); see `PolicySettings`.

        Raises:
            ValueError: if a setting is out of range, or copies are compared where there are none.
        """
        super().__init__(env, seed=seed, **settings)
        record = self.settings
        self.min_probability = record.min_probability
        self.num_kept = (
            None if record.num_kept is None else check_kept(record.num_kept, self.num_blocks)
        )
        self.passes = Passes(record.num_epochs, record.num_minibatches).of(
            self.simulator.num_images
        )
        if record.baseline == "copies" and self.simulator.group_size < 2:
            raise ValueError(
                f"expected group_size >= 2, got {self.simulator.group_size}: baseline='copies' "
                "compares masks of the same input; give the environment group_size=8"
            )
        self.critic = self.make_critic(seed) if record.baseline == "critic" else None
        learners: list[nn.Module] = [self.scores, *([self.critic] if self.critic else [])]
        self.rates = [record.learning_rate, record.critic_learning_rate][: len(learners)]
        self.optimizer = torch.optim.Adam(
            [
                {"params": [*one.parameters()], "lr": rate}
                for one, rate in zip(learners, self.rates, strict=True)
            ],
            # A third of the time of many small steps otherwise; of one step all stays to the bit.
            fused=not self.passes.is_one_step,
        )
        self.level = level_of(record.initial_multiplier, record.multiplier_scale)
        self.updates, self.begun = 0, 0.0
        self.moments = torch.zeros(2, device=self.simulator.device)

    @property
    def columns(self) -> int:
        """Of what policy and critic read."""
        return self.simulator.obs_size

    def make_critic(self, seed: int) -> nn.Sequential:
        """Draws a critic's weights by a seed: [..., columns] -> [..., 1]."""
        units = self.settings.critic_units
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers = nn.Linear(self.columns, units), nn.Tanh(), nn.Linear(units, 1)
            return nn.Sequential(*layers).to(self.simulator.device)

    @property
    def multiplier(self) -> float:
        """Of a limit: cost of the whole dense network, in units of the reward."""
        return price_of(self.level, self.settings.multiplier_scale)

    @property
    def left(self) -> float:
        """Share of the training that is left, since it last began."""
        return (1 - self.progress) / (1 - self.begun)

    def advantages(self, rollout: Rollout) -> Tensor:
        """What each mask was worth above a baseline that is no critic: [num_steps, batch]."""
        if self.settings.baseline == "copies":
            size = self.simulator.group_size
            return torch.stack([leave_one_out(one, size) for one in rollout.returns])
        return rollout.returns if self.settings.baseline == "none" else above_mean(rollout.returns)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Steps up the policy gradient, and of the critic to the returns; one by default."""
        record, left, price = self.settings, self.left, self.multiplier
        if record.anneal:
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * left
        self.updates += 1
        values, scalars = torch.zeros(()), self.measured(rollout)
        rollout = self.scaled(self.charged(rollout, price))
        if self.critic is None:
            advantages = self.advantages(rollout)
        else:
            with torch.no_grad():
                values = self.critic(rollout.observations).squeeze(-1)
            advantages = rollout.returns - values
            if record.gae_lambda < 1:
                advantages = generalised(rollout.rewards, values, record.gae_lambda)
        if record.standardised:
            advantages = standard(advantages)
        weight = record.entropy_weight * left
        for part, *worth in self.passes.over(self, rollout, advantages):
            loss, entropy = self.surrogate(part, *worth)
            scalars |= {"loss": loss, "entropy": entropy}
            if self.critic is not None:
                predicted = self.critic(part.observations).squeeze(-1)
                scalars["value_loss"] = value_loss(predicted, part.returns)
                loss = loss + scalars["value_loss"]
            descend(self.optimizer, loss - weight * entropy, record.max_grad_norm)
        if self.critic is not None:
            scalars["explained_variance"] = explained_variance(values, rollout.returns)
        numbers = self.read(**scalars)
        if record.cost_limit is None:
            return numbers
        excess = relative_excess(rollout.means["compute_cost"], record.cost_limit)
        self.level = max(0.0, self.level + record.multiplier_lr * excess)
        return numbers | {"multiplier": price}

    def measured(self, rollout: Rollout) -> dict[str, Tensor]:
        """Further scalars of a rollout, read along with those of the update."""
        return {}

    def charged(self, rollout: Rollout, multiplier: float) -> Rollout:
        """A rollout whose rewards are less the multiplier times their cost, under a limit."""
        if self.settings.cost_limit is None:
            return rollout
        return replace(
            rollout,
            rewards=rollout.rewards - multiplier * rollout.costs,
            returns=less_costs(rollout.returns, rollout.costs, multiplier),
        )

    def scaled(self, rollout: Rollout) -> Rollout:
        """A rollout in units of the running deviation of its returns, where that is asked for."""
        if not self.settings.standardised:
            return rollout
        first = rollout.returns[0]
        moments = torch.stack([first.mean(), first.var(correction=0)])
        self.moments = self.moments.lerp(moments, 1 / min(self.updates, MOMENTS))
        deviation = self.moments[1].sqrt().clamp(min=1e-6)
        return replace(
            rollout, rewards=rollout.rewards / deviation, returns=rollout.returns / deviation
        )

    def distribution(
        self, observation: Tensor, layer: int
    ) -> IndependentBlocks | OrderedBlocks | OneOrCoins:
        """Masks of a layer's images: [batch, columns] -> coins, or k blocks."""
        scores = self.scores(observation, layer)
        if self.num_kept is None:
            return IndependentBlocks(keep_probability(scores, self.min_probability))
        return OrderedBlocks(scores, self.num_kept[layer])

    def choosers(self, *, deterministic: bool) -> list[Chooser] | None:
        """See `Agent.choosers`."""
        return self.scores.choosers(deterministic, self.num_kept, low=self.min_probability)

    def parameters(self) -> dict[str, Tensor]:
        """The policy, and the multiplier that it has met."""
        limited = self.settings.cost_limit is not None
        met = {"multiplier": torch.tensor(self.multiplier)} if limited else {}
        return super().parameters() | met

    def load_parameters(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Agent.load_parameters`."""
        super().load_parameters(tensors)
        if self.settings.cost_limit is not None:
            self.level = level_of(float(tensors["multiplier"]), self.settings.multiplier_scale)
