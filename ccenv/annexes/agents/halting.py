"""Agents that decide at a network's exits alone, by a unit each that reads what an exit shows."""

from typing import Any

import torch
from torch import nn

from ccenv.agents.base import Agent
from ccenv.agents.scores import LayerScores
from ccenv.simulator.simulator import Simulator


def exits_of(simulator: Simulator) -> list[int]:
    """Gates at which an input may stop."""
    gates = enumerate(simulator.network.gates)
    return [gate for gate, one in gates if one.skipped == "stop"]


class HaltingAgent(Agent):
    """Keeps all blocks of gates that are no exits; how its `units` learn, subclasses say."""

    def __init__(
        self, env: Any, *, seed: int, learning_rate: float, hidden_units: int, bias: float
    ) -> None:
        """Prepares halting units and optimiser (Adam).

        Args:
            env: see `Agent`; its observation is the network's look, which shows an exit's state.
            seed: see `Agent`.
            learning_rate: Adam's.
            hidden_units: of the halting units' hidden layer; 0 for affine ones.
            bias: of each unit at the start.

        Raises:
            ValueError: if the network has no exits.
        """
        super().__init__(env, seed=seed)
        self.exits = exits_of(self.simulator)
        if not self.exits:
            agent, network = (type(one).__name__ for one in (self, self.simulator.network))
            raise ValueError(
                f"expected a network with exits for {agent.lower()}, such as pondering, "
                "early_exit, or lm with network_kwargs.gates=exits and network_kwargs.repeats=3, "
                f"got {network}, which has none"
            )
        self.units = LayerScores(self.simulator, seed, hidden_units)
        for gate in self.exits:
            nn.init.constant_(self.units.last(gate).bias, bias)
        macs = enumerate(self.units.macs)
        self.policy_macs = [count if gate in self.exits else 0 for gate, count in macs]
        self.optimizer = torch.optim.Adam(self.units.parameters(), lr=learning_rate)
