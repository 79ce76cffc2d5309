"""Contexts: every episode has a price of compute or a budget of its own, which the agent sees.

An agent that learns under many prices covers the whole front of error and cost; which point of it
is wanted is said when the network is used. `context` is a setting of every view of the environment:

    gym.make("BlockSelection-v0", context={"cost_weight": [0.05, 2.0]})
    BlockSelectionVecEnv(256, context={"budget": [0.1, 0.5], "distribution": "uniform"})

| name | what it does | what is seen of it |
|---|---|---|
| `cost_weight` | multiplies the term `cost` of the reward | place in its range, -1 to 1 |
| `budget` | compute cost that the episode cannot exceed | what is left of it |

Each name is seen in a column of its own before all others. The reward's own `cost_weight` stays at
1. Where prices are drawn on a log scale, their place is one on a log scale too.

A value is a number, or a pair (low, high) from which one is drawn for each image, the same for all
rows of a group. A budget is kept by skipping blocks that the action chose: layers are served from
the first to the last, the blocks of a layer by number, as long as the next one can be paid;
`info["mask"]` says what was executed.
"""

import copy
import dataclasses
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ccenv.base.masks import check_mask
from ccenv.base.registry import check_names
from ccenv.base.seeding import stream
from ccenv.base.values import as_settings
from ccenv.mdp.dynamics import EpisodeState, StepOutcome
from ccenv.mdp.observations import Observer
from ccenv.rewards import StatefulReward, Surroundings
from ccenv.simulator.evaluate import Evaluation, evaluate
from ccenv.simulator.policy import Policy
from ccenv.simulator.ranges import Range, read_context
from ccenv.simulator.rollout import simulator_of
from ccenv.simulator.simulator import Simulator
from ccenv.simulator.spending import affordable, least_macs
from ccenv.simulator.step import Step


@dataclass(frozen=True)
class ContextObserver(Observer):
    """Looks at states, and at the values of their episodes first."""

    base: Observer = field(kw_only=True)
    """how the rest is looked at."""
    ranges: Mapping[str, Range] = field(kw_only=True)
    """in the order of `NAMES`."""
    values: Mapping[str, Tensor] = field(kw_only=True)
    """name -> float32 [batch]."""
    dense_macs: int = field(kw_only=True)
    """of the network."""

    def __call__(self, state: EpisodeState) -> Tensor:
        """Observation of each image: float32 [batch, obs_size], a fresh tensor."""
        columns = []
        for name, values in self.values.items():
            left = values - state.macs / self.dense_macs
            columns.append(left if name == "budget" else self.ranges[name].place(values))
        return torch.cat([torch.stack(columns, dim=1), self.base(state)], dim=1)


def observe_context(
    base: Observer, ranges: Mapping[str, Range], values: Mapping[str, Tensor], dense_macs: int
) -> ContextObserver:
    """Puts a column for each name before an observer's."""
    lengths = tuple(length + len(ranges) for length in base.lengths)
    return ContextObserver(
        base.kind,
        lengths,
        base.network,
        base.own,
        base=base,
        ranges=ranges,
        values=values,
        dense_macs=dense_macs,
    )


class PricedRule(StatefulReward):
    """Another rule, whose term `cost` is multiplied by each episode's price."""

    def __init__(self, inner: StatefulReward, prices: Tensor) -> None:
        """Prices are float32 [batch]."""
        self.inner, self.prices = inner, prices

    def prepare(self, surroundings: Surroundings) -> None:
        """See `StatefulReward.prepare`."""
        self.inner.prepare(surroundings)

    def reset(self) -> None:
        """See `StatefulReward.reset`."""
        self.inner.reset()

    def __call__(self, outcome: StepOutcome) -> dict[str, Tensor]:
        """The terms of the other rule.

        Raises:
            ValueError: if it has no term `cost`.
        """
        terms = self.inner(outcome)
        if not isinstance(terms, dict) or "cost" not in terms:
            raise ValueError(
                "expected a reward with a term 'cost' beside context cost_weight, got none; "
                "use accuracy_minus_cost, nll_minus_cost or terminal_cost"
            )
        return terms | {"cost": self.prices * terms["cost"]}

    def update(self, outcome: StepOutcome) -> None:
        """See `StatefulReward.update`."""
        self.inner.update(outcome)

    def numbers(self) -> dict[str, float]:
        """See `StatefulReward.numbers`."""
        return self.inner.numbers()


class ContextSimulator(Simulator):
    """A simulator whose episodes have prices or budgets of their own; see the module."""

    def __init__(self, num_images: int = 1, *, context: Mapping[str, Any], **settings: Any) -> None:
        """Builds it.

        Args:
            num_images: rows of the batch.
            context: `cost_weight` and `budget`, each a number or (low, high); `distribution`,
                "log_uniform" or "uniform".
            **settings: see `Simulator`.

        Raises:
            ValueError: if a setting is unknown or impossible, or the reward's own `cost_weight` is
                not 1 beside that of the context.
        """
        self.ranges = self._shown = read_context(context)
        of_reward = as_settings(settings.get("reward_kwargs"), "reward_kwargs")
        own_weight = of_reward.get("cost_weight", 1)
        if "cost_weight" in self.ranges and own_weight != 1:
            raise ValueError(
                "expected cost_weight in context or in reward_kwargs, got both; leave one out"
            )
        super().__init__(num_images, **settings)
        self._check_budget()
        self._base_observe, self._base_reward = self.observe, self.reward
        self._bind({name: torch.full((self.num_images,), r.low) for name, r in self.ranges.items()})

    def _check_budget(self) -> None:
        if "budget" not in self.ranges:
            return
        least = least_macs(self.network, 0) / self.dense_macs
        if self.ranges["budget"].low < least:
            raise ValueError(
                f"expected a budget of at least {least:.4f}, what is computed whatever the masks "
                f"say, got {self.ranges['budget'].low}"
            )

    def seed(self, seed: int) -> None:
        """See `Simulator.seed`; the stream of prices and budgets starts anew too."""
        super().seed(seed)
        self._context_stream = stream(seed, "context")
        self._stream_before = self._context_stream.get_state()
        self._bind(self._draw_context(self.num_images // self.group_size))

    def begin(self, indices: Tensor | None = None) -> Tensor:
        """See `Simulator.begin`; draws prices and budgets of the new episodes."""
        if hasattr(self, "images_seed"):
            self._stream_before = self._context_stream.get_state()
            images = self.num_images // self.group_size if indices is None else len(indices)
            self._bind(self._draw_context(images))
        return super().begin(indices)

    def step(self, mask: Tensor, weights: Tensor | None = None) -> Step:
        """See `Simulator.step`; blocks that the budget cannot pay are skipped."""
        is_running = self.state is not None and self.state.layer < self.num_layers
        if "budget" in self.ranges and is_running:
            check_mask(mask, len(self.indices), "mask")
            mask = mask[:, : self.num_blocks[self.layer]].to(self.device)
            assert self.state is not None
            mask = affordable(self.network, self.state, mask, self.context["budget"])
        return super().step(mask, weights)

    def _draw_context(self, images: int) -> dict[str, Tensor]:
        drawn = {}
        for name, found in self.ranges.items():
            share = torch.rand(images, generator=self._context_stream)
            drawn[name] = found.at(share).repeat_interleave(self.group_size)
        return drawn

    def _bind(self, values: Mapping[str, Tensor]) -> None:
        self.context = {name: v.to(self.device) for name, v in values.items()}
        self.observe = observe_context(
            self._base_observe, self._shown, self.context, self.dense_macs
        )
        if "cost_weight" in values:
            rule = PricedRule(self._base_reward.rule, self.context["cost_weight"])
            self.reward = dataclasses.replace(self.reward, rule=rule)

    def extra_state(self, begun: bool) -> Tensor:
        """The stream of prices and budgets, before those of an episode that has begun."""
        return self._stream_before if begun else self._context_stream.get_state()

    def load_extra_state(self, state: Tensor) -> None:
        """Puts the stream back; the next `begin` draws from it."""
        self._context_stream.set_state(state)

    def at(self, **values: float) -> "ContextSimulator":
        """The same simulator with fixed prices or budgets, shown as they would be in its ranges.

        Args:
            **values: `cost_weight=0.5`, `budget=0.2`.

        Raises:
            ValueError: if a name is not in this simulator's context, or a value impossible.
        """
        check_names(values, self.ranges, "name of this environment's context")
        other = copy.copy(self)
        # As in on_split: a copy to judge with, which teaches neither network nor reward.
        other.weights, other.pending, other.reward = "frozen", deque(), self.reward.held()
        other.ranges = self.ranges | read_context(values)
        other._check_budget()
        other.seed(0)
        return other


def evaluate_context(
    env: Any, policy: Policy, name: str, values: Sequence[float], **settings: Any
) -> list[Evaluation]:
    """Judges one policy at each of several prices or budgets.

    Args:
        env: any view of an environment with a context.
        policy: learned under the context.
        name: "cost_weight" or "budget".
        values: at which it is judged.
        **settings: of `ccenv.evaluate`.

    Returns:
        One verdict for each value.

    Raises:
        TypeError: if the environment has no context.
        ValueError: if the name is not in its context.
    """
    simulator = simulator_of(env)
    if not isinstance(simulator, ContextSimulator):
        raise TypeError("expected an environment with a context, got none; give context={...}")
    return [evaluate(simulator.at(**{name: value}), policy, **settings) for value in values]
