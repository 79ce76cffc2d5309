"""Contexts: every episode has a cost weight or a budget of its own, which the agent sees.

An agent that learns under many cost weights covers the Pareto front of error and cost; which point
of it is wanted is said when the network is used. `context` is a setting of every view of the
environment:

    gym.make("BlockSelection-v0", context={"cost_weight": [0.05, 2.0]})
    BlockSelectionVecEnv(256, context={"budget": [0.1, 0.5], "distribution": "uniform"})

| name | what it does | what is seen of it |
|---|---|---|
| `cost_weight` | multiplies the term `cost` of the reward | place in its range, -1 to 1 |
| `budget` | compute cost that the episode cannot exceed | what is left of it |

Each name is seen in a column of its own before all others. The reward's own `cost_weight` stays at
1. Where cost weights are drawn on a log scale, their place is one on a log scale too.

A value is a number, or a pair (low, high) from which one is drawn for each input, the same for all
rows of a group. A budget is kept by skipping blocks that the action chose: layers are served from
the first to the last, the blocks of a layer by number, as long as the next one can be paid;
`info["mask"]` says what was executed.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ccenv.base.registry import check_names
from ccenv.base.seeding import stream
from ccenv.base.values import shown
from ccenv.mdp.dynamics import EpisodeState
from ccenv.mdp.observations import Observer
from ccenv.networks.core.abilities import Bounds, ability
from ccenv.networks.core.protocol import GatedNetwork
from ccenv.simulator.step import Extension, SimulatorParts

NAMES = ("cost_weight", "budget")
DISTRIBUTIONS = ("log_uniform", "uniform")


@dataclass(frozen=True)
class Range:
    """Where the values of one name come from."""

    low: float
    """lowest."""
    high: float
    """highest; equal to `low` where nothing is drawn."""
    is_log: bool
    """whether their logarithm is uniform, instead of the values themselves."""

    def at(self, share: Tensor) -> Tensor:
        """Values at shares in [0, 1] of the way from low to high, float32; exact at both ends."""
        if self.low == self.high:
            return torch.full_like(share, self.low)
        if not self.is_log:
            return torch.lerp(torch.tensor(self.low), torch.tensor(self.high), share)
        low, high = math.log(self.low), math.log(self.high)
        return torch.lerp(torch.tensor(low), torch.tensor(high), share).exp()

    def place(self, values: Tensor) -> Tensor:
        """Where values lie: -1 at low, 1 at high; 0 where there is one value only."""
        if self.low == self.high:
            return torch.zeros_like(values)
        low, high = (math.log(v) if self.is_log else v for v in (self.low, self.high))
        return 2 * ((values.log() if self.is_log else values) - low) / (high - low) - 1


def read_context(context: Mapping[str, Any]) -> dict[str, Range]:
    """Reads the setting `context`: names -> ranges, in the order of `NAMES` (else ValueError)."""
    if not isinstance(context, Mapping):
        raise ValueError(
            f"expected context to be a dict, got {shown(context)}; see "
            "ccenv.annexes.simulator.context"
        )
    check_names(context, [*NAMES, "distribution"], "name in context")
    distribution = context.get("distribution", "log_uniform")
    check_names([distribution], DISTRIBUTIONS, "distribution")
    ranges = {n: read_range(n, context[n], distribution) for n in NAMES if n in context}
    if not ranges:
        raise ValueError(f"expected {' or '.join(NAMES)} in context, got {shown(dict(context))}")
    return ranges


def read_range(name: str, value: Any, distribution: str) -> Range:
    """Reads one number or a pair; ValueError if it is neither, or out of range."""
    pair = (
        list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value] * 2
    )
    is_real = all(isinstance(v, int | float) and not isinstance(v, bool) for v in pair)
    if len(pair) != 2 or not is_real or not all(map(math.isfinite, pair)) or pair[0] > pair[1]:
        raise ValueError(
            f"expected {name} in context to be a number or (low, high), got {shown(value)}"
        )
    low, high = map(float, pair)
    is_log = distribution == "log_uniform"
    if name == "budget" and not 0 < low <= high <= 1:
        raise ValueError(f"expected a budget in (0, 1] of the dense cost, got {shown(value)}")
    if low < 0 or (is_log and low == 0 < high):
        raise ValueError(
            f"expected {name} in context above 0, got {shown(value)}; "
            "with distribution='uniform' the lowest may be 0"
        )
    return Range(low, high, is_log)


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
        """Observation of each input: float32 [batch, obs_size], a fresh tensor."""
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
        base.function,
        base=base,
        ranges=ranges,
        values=values,
        dense_macs=dense_macs,
    )


class Context(Extension):
    """Cost weights or budgets of the episodes of one simulator; see the module."""

    name = "context"

    def __init__(self, context: Mapping[str, Any]) -> None:
        """Reads the setting, see the module; ValueError if it is odd."""
        self.ranges = read_context(context)
        self.values: dict[str, Tensor] = {}
        """name -> float32 [batch], of the episodes under way."""

    @property
    def tells(self) -> str | None:
        """See `Extension.tells`."""
        return "a budget of each input" if "budget" in self.ranges else None

    def check_settings(self, weights: str, reward_kwargs: Mapping[str, Any]) -> None:
        """Refuses a reward's own `cost_weight` where the context has one (ValueError)."""
        if "cost_weight" in self.ranges and reward_kwargs.get("cost_weight", 1) != 1:
            raise ValueError(
                "expected cost_weight in context or in reward_kwargs, got both; leave one out"
            )

    def attach(self, simulator: SimulatorParts) -> None:
        """Puts its columns before the observations; ValueError of a budget that cannot be kept."""
        self.check_budget(simulator)
        dense_macs = simulator.dense_macs
        simulator.observe = observe_context(simulator.observe, self.ranges, {}, dense_macs)

    def fix(self, simulator: SimulatorParts, values: Mapping[str, float]) -> None:
        """Narrows ranges to single values, shown as before; ValueError of impossible ones."""
        check_names(values, self.ranges, "name of this environment's context")
        self.ranges = self.ranges | read_context(values)
        self.check_budget(simulator)

    def check_budget(self, simulator: SimulatorParts) -> None:
        """Refuses a budget below what is computed whatever the masks say (ValueError)."""
        if "budget" not in self.ranges:
            return
        least = least_macs(simulator.network, 0) / simulator.dense_macs
        if self.ranges["budget"].low < least:
            raise ValueError(
                f"expected a budget of at least {least:.4f}, what is computed whatever the masks "
                f"say, got {self.ranges['budget'].low}"
            )

    def seed(self, simulator: SimulatorParts, seed: int) -> None:
        """Restarts the stream of cost weights and budgets."""
        self._stream = stream(seed, self.name)
        self.begin(simulator, simulator.num_images // simulator.group_size)

    def begin(self, simulator: SimulatorParts, num_inputs: int) -> None:
        """Draws cost weights and budgets of the new episodes."""
        self._stream_before = self._stream.get_state()
        values: dict[str, Tensor] = {}
        group, device = simulator.group_size, simulator.device
        for name, interval in self.ranges.items():
            drawn = interval.at(torch.rand(num_inputs, generator=self._stream))
            values[name] = drawn.repeat_interleave(group).to(device)
        self.values = values
        looking: Any = simulator.observe
        simulator.observe = dataclasses.replace(looking, values=values)
        simulator.reward = dataclasses.replace(simulator.reward, prices=values.get("cost_weight"))

    def before_gate(
        self, simulator: SimulatorParts, mask: Tensor, values: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Skips blocks that the budget cannot pay."""
        if "budget" in self.values:
            assert simulator.state is not None
            mask = affordable(simulator.network, simulator.state, mask, self.values["budget"])
        return mask, values

    def state(self, *, begun: bool) -> Tensor:
        """The stream of cost weights and budgets, before those of an episode that has begun."""
        return self._stream_before if begun else self._stream.get_state()

    def load_state(self, state: Tensor) -> None:
        """Puts the stream back; the next `begin` draws from it."""
        self._stream.set_state(state)


def affordable(network: GatedNetwork, state: EpisodeState, mask: Tensor, budget: Tensor) -> Tensor:
    """Skips the blocks that a budget cannot pay: those of the highest numbers first.

    Chosen and executed masks are bool [batch, num_blocks[state.layer]]; budgets are float32
    [batch], the compute cost of whole episodes.
    """
    gate, hidden = state.layer, state.hidden
    # Whole MACs, so that no rounding lets a block slip through.
    limit = (budget.double() * network.dense_macs).floor().long()
    left = limit - state.macs - least_macs(network, gate + 1)
    if bool((network.macs(gate, hidden, mask) <= left).all()):
        return mask
    kept = torch.zeros_like(mask)
    for block in range(mask.shape[1]):
        more = kept.clone()
        more[:, block] = mask[:, block]
        is_paid = network.macs(gate, hidden, more) <= left
        kept = torch.where(is_paid[:, None], more, kept)
    return kept


def least_macs(network: GatedNetwork, gate: int) -> int:
    """What gates from this one on cost at least, whatever is kept.

    Raises:
        ValueError: of networks that do not say so.
    """
    if gate == len(network.gates):
        return 0
    bounds = ability(network, Bounds)
    if bounds is None:
        raise ValueError(
            f"expected a network with least_macs(gate) for a budget, got "
            f"{type(network).__name__}; add the ability Bounds, or take a context of cost_weight"
        )
    return bounds.least_macs(gate)
