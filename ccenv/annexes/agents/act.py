"""Adaptive computation time: (state after a step) -> halting value -> go on, or stop.

Graves 2016, "Adaptive computation time for recurrent neural networks" (arXiv 1603.08983). After
step n a sigmoid gives h_n of one unit of halting mass; a row stops at the first N whose sum is at
least 1 - epsilon, and at the last step whatever the sum. Answer n counts h_n, the last one all that
is left, R: the answer is a mean, differentiable in all h, and nothing is drawn. The loss is that of
the answer plus time_weight * (N + R), whose gradient is -1 for each h before N and 0 from there on.

Faithful: rule, weights, cost and its gradient, and a bias of 1 at first, so that early training
ponders little. Where one block that learns along makes all steps (`pondering`, the paper's network)
the gradient of the halting values goes back into it, so that the state learns to say when it is
done, and the cost of pondering teaches it, too. Ours: halting values are gates of any network's
exits (in `early_exit` they are those of Figurnov et al. 2017, arXiv 1612.02297, for depth); a step
has a halting unit of its own, as there, because exits of other networks see other features; it
reads what the environment shows at an exit: the answer there and the state. Gates that are no exits
keep all blocks. Left out: recurrence over a sequence of inputs.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ccenv.agents.base import descend
from ccenv.annexes.agents.halting import HaltingAgent
from ccenv.annexes.agents.straight_through_ops import LiveWalk, loss_under, shows_gradient
from ccenv.base.values import check_at_least_zero, check_within
from ccenv.networks.core.protocol import GatedNetwork
from ccenv.simulator.rollout import Rollout


class Halting(NamedTuple):
    """What halting values say."""

    weights: Tensor
    """[batch, n + 1] of the answers after each step; they sum to 1."""
    steps: Tensor
    """[batch] int64, N in 1..n + 1."""
    cost: Tensor
    """[batch], N + R."""


class Act(HaltingAgent):
    """Learns from the network's loss and its time penalty, whatever the environment's reward."""

    gives_values = True

    def __init__(
        self,
        env: Any,
        *,
        seed: int = 0,
        time_weight: float = 0.01,
        epsilon: float = 0.01,
        halting_bias: float = 1.0,
        learning_rate: float = 0.005,
        hidden_units: int = 0,
    ) -> None:
        """Prepares what `HaltingAgent` does.

        Args:
            time_weight: the paper's tau, nats for a step.
            epsilon: halting mass that may be missing, in (0, 1).
            halting_bias: of each unit at the start.
        """
        super().__init__(
            env,
            seed=seed,
            learning_rate=learning_rate,
            hidden_units=hidden_units,
            bias=halting_bias,
        )
        check_at_least_zero(time_weight=time_weight)
        check_within("(0, 1)", epsilon=epsilon)
        self.time_weight, self.epsilon = time_weight, epsilon
        self.halted: list[Tensor] = []
        learns = self.simulator.weights == "cotrain" and repeats(self.simulator.network)
        self.network_gradient = learns and shows_gradient(self.simulator)
        """whether the gradient of the halting values goes back into the network"""

    def values(self, observation: Tensor, layer: int) -> Tensor:
        """Halting values [batch, 1] at an exit; [batch, 0] at other gates."""
        if layer not in self.exits:
            return observation[:, :0]
        return self.units(observation, layer).sigmoid()

    def gates(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Actions at the gates whose values are given: 1, and at an exit the share that goes on."""
        shares = going_on(torch.cat([*values], dim=1), self.epsilon)
        ends = itertools.accumulate(value.shape[1] for value in values)
        return [
            shares[:, end - 1 : end]
            if gate in self.exits
            else value.new_ones(len(value), self.num_blocks[gate])
            for gate, (value, end) in enumerate(zip(values, ends, strict=True))
        ]

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `gates`."""
        # Called twice at a gate, it is no further than at the first time.
        self.halted = [*self.halted[:layer], self.values(observation, layer)]
        return self.gates(self.halted)[-1]

    def update(self, rollout: Rollout) -> dict[str, float]:
        """One step down the loss of the weighed answer, with the cost of pondering."""
        walked = None
        if self.network_gradient:
            walked = LiveWalk.of(self.simulator, self.values, lambda seen: self.gates(seen)[-1])
            values, loss = walked.copies, walked.loss
        else:
            values = [self.values(seen, i) for i, seen in enumerate(rollout.observations)]
            masks = [gate > 0 for gate in rollout.actions]
            loss = loss_under(self.simulator, self.gates(values), masks)
        halting = halt(torch.cat(values, dim=1), self.epsilon)
        cost = halting.cost.mean()
        total = loss + self.time_weight * cost
        if walked is None:
            descend(self.optimizer, total)
        else:
            walked.descend(self.optimizer, total, self.simulator)
        return self.read(loss=loss, steps=halting.steps.double().mean(), ponder_cost=cost)


def repeats(network: GatedNetwork) -> bool:
    """Whether one block makes several steps: it says so, or a weight stands under several names."""
    if network.repeats > 1:
        return True
    names = network.named_parameters(remove_duplicate=False)
    return sum(1 for _ in names) > sum(1 for _ in network.parameters())


def halt(values: Tensor, epsilon: float = 0.01) -> Halting:
    """Halting values of all steps but the last one -> weights of the answers, N and N + R.

    Args:
        values: [batch, n] in [0, 1]; the last of n + 1 steps takes what is left.
        epsilon: a row stops where they sum to 1 - epsilon.

    >>> halting = halt(torch.tensor([[0.6, 0.6]]))
    >>> [[round(w, 4) for w in row] for row in halting.weights.tolist()], halting.steps.tolist()
    ([[0.6, 0.4, 0.0]], [2])
    """
    sums = values.cumsum(dim=1)
    goes = sums < 1 - epsilon
    before = torch.nn.functional.pad(goes, (1, 0), value=True)
    is_last = before & ~torch.nn.functional.pad(goes, (0, 1), value=False)
    spent = (values * goes).sum(dim=1, keepdim=True)
    early_weights = torch.nn.functional.pad(values * goes, (0, 1))
    weights = torch.where(is_last, 1 - spent, early_weights)
    steps = goes.sum(dim=1) + 1
    return Halting(weights, steps, steps + 1 - spent[:, 0])


def going_on(values: Tensor, epsilon: float = 0.01) -> Tensor:
    """Share of the mass at each exit that goes on behind it, 0 where a row stops: [batch, n].

    Products of these shares are what is left of the mass, so that exits which share their answers
    by them (`ccenv.networks.core.exit_state`) weigh them as `halt` says.

    >>> going_on(torch.tensor([[0.5, 0.25]]))
    tensor([[0.5000, 0.5000]])
    """
    sums = values.cumsum(dim=1)
    left, goes = 1 - sums, sums < 1 - epsilon
    before = torch.nn.functional.pad(left, (1, 0), value=1.0)[:, :-1]
    return torch.where(goes, left / torch.where(goes, before, 1.0), 0.0)
