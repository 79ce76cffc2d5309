"""Adaptive computation time: (state after a step) -> halting value -> go on, or stop.

Graves 2016, "Adaptive computation time for recurrent neural networks" (arXiv 1603.08983). After
step n a sigmoid gives h_n of one unit of halting mass; a row stops at the first N whose sum is at
least 1 - epsilon, and at the last step whatever the sum. Answer n counts h_n, the last one all that
is left, R: the answer is a mean, differentiable in all h, and nothing is drawn. The loss is that of
the answer plus time_weight * (N + R), whose gradient is -1 for each h before N and 0 from there on.

Faithful: rule, weights, cost and its gradient, and a bias of 1 at first, so that early training
ponders little. Ours: halting values are gates of any network's exits (`pondering` is the paper's,
in `early_exit` they are those of Figurnov et al. 2017, arXiv 1612.02297, for depth); a step has a
halting unit of its own, as there, because exits of other networks see other features; it reads what
the environment shows at an exit, through which no gradient goes back, so that the cost of pondering
teaches the units and not the cell. Gates that are no exits keep all blocks. Left out: recurrence
over a sequence of inputs.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ccenv.agents.base import Agent, LayerScores, descend
from ccenv.agents.straight_through_ops import loss_under
from ccenv.networks.learning.training import check_at_least_zero
from ccenv.simulator.rollout import Rollout


class Halting(NamedTuple):
    """What halting values say."""

    weights: Tensor
    """[batch, n + 1] of the answers after each step; they sum to 1."""
    steps: Tensor
    """[batch] int64, N in 1..n + 1."""
    cost: Tensor
    """[batch], N + R."""


class Act(Agent):
    """Learns from the network's loss and its price of time, whatever the environment's reward."""

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
        """Prepares halting units and optimiser (Adam).

        Args:
            env: see `Agent`; its observation is the network's look, which shows an exit's state.
            seed: see `Agent`.
            time_weight: the paper's tau, nats for a step.
            epsilon: halting mass that may be missing, in (0, 1).
            halting_bias: of each unit at the start.
            learning_rate: Adam's.
            hidden_units: of the halting units' hidden layer; 0 for affine ones, the paper's. As the
                cell does not learn to be read by them, they read more with some.
        """
        super().__init__(env, seed=seed)
        check_at_least_zero(time_weight=time_weight)
        if not 0 < epsilon < 1:
            raise ValueError(f"expected epsilon in (0, 1), got {epsilon}")
        self.time_weight, self.epsilon = time_weight, epsilon
        self.units = LayerScores(self.simulator, seed, hidden_units)
        for exit_gate in self.exits:
            nn.init.constant_(self.units.last(exit_gate).bias, halting_bias)
        macs = self.units.macs
        self.policy_macs = [macs[i] if i in self.exits else 0 for i in range(len(macs))]
        self.optimizer = torch.optim.Adam(self.units.parameters(), lr=learning_rate)
        self.halted: list[Tensor] = []

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Gates [batch, num_blocks[layer]]: 1, and at an exit the share that goes on."""
        rows = len(observation)
        if layer == 0:
            self.halted = []
        if layer not in self.exits:
            return torch.ones(rows, self.num_blocks[layer], device=observation.device)
        # Called twice at an exit, it is no further than at the first time.
        place = self.exits.index(layer)
        value = self.units(observation, layer).sigmoid()
        self.halted = [*self.halted[:place], value]
        return going_on(torch.cat(self.halted, dim=1), self.epsilon)[:, -1:]

    def update(self, rollout: Rollout) -> dict[str, float]:
        """One step down the loss of the weighed answer, with the cost of pondering."""
        if not self.exits:
            return {}
        seen = rollout.observations
        values = torch.cat([self.units(seen[i], i).sigmoid() for i in self.exits], dim=1)
        shares, halting = going_on(values, self.epsilon), halt(values, self.epsilon)
        gates = list(rollout.actions)
        for place, layer in enumerate(self.exits):
            gates[layer] = shares[:, place : place + 1]
        masks = [gate > 0 for gate in rollout.actions]
        loss = loss_under(self.simulator, gates, masks)
        descend(self.optimizer, loss + self.time_weight * halting.cost.mean())
        steps = halting.steps.double().mean()
        return self.read(loss=loss, steps=steps, ponder_cost=halting.cost.mean())


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
    own = torch.nn.functional.pad(values * goes, (0, 1))
    weights = torch.where(is_last, 1 - spent, own)
    steps = goes.sum(dim=1) + 1
    return Halting(weights, steps, steps + 1 - spent[:, 0])


def going_on(values: Tensor, epsilon: float = 0.01) -> Tensor:
    """Share of the mass at each exit that goes on behind it, 0 where a row stops: [batch, n].

    Products of these shares are what is left of the mass, so that exits which share their answers
    by them (`ccenv.networks.core.exit_state`) weigh them as `halt` says.
    """
    sums = values.cumsum(dim=1)
    left, goes = 1 - sums, sums < 1 - epsilon
    before = torch.nn.functional.pad(left, (1, 0), value=1.0)[:, :-1]
    return torch.where(goes, left / torch.where(goes, before, 1.0), 0.0)
