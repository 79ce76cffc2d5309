"""The blocks that answer loudest: top k by the norm of what they would compute."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.agents.base import Agent
from ccenv.base.values import check_within
from ccenv.mdp.dynamics import all_or_none, outcomes
from ccenv.networks.core.abilities import Norms, ability
from ccenv.simulator.simulator import Simulator


class Magnitude(Agent):
    """Keeps the blocks of largest activation norm.

    To know the norms one computes the whole layer, so its policy is billed a whole layer too: it
    shows what a perfect predictor of norms could save, and saves nothing itself.
    """

    learns: ClassVar[bool] = False

    def __init__(self, env: Any, *, seed: int = 0, target_density: float = 0.2) -> None:
        """Sets the share of blocks that is kept.

        Args:
            target_density: share of blocks kept in every layer, in (0, 1]; at least one block.
        """
        super().__init__(env, seed=seed)
        check_within("(0, 1]", target_density=target_density)
        self.num_kept = [max(1, round(target_density * n)) for n in self.num_blocks]
        network = self.simulator.network
        norms, gates = ability(network, Norms), range(len(self.num_blocks))
        if norms is None or not all(norms.tells_norms(gate) for gate in gates):
            raise ValueError(
                "expected a network that tells its blocks' norms (block_norms) for magnitude, got "
                f"{type(network).__name__}, which does not at every gate; choose another agent"
            )
        self.policy_macs = [norms.block_macs(gate) for gate in gates]

    def begin_episode(self, simulator: Simulator) -> None:
        """Remembers where the inputs are looked up."""
        self.watched = simulator

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Computes the whole layer and takes the loudest blocks: int64 [batch, k]."""
        state, network = self.watched.state, self.watched.network
        assert state is not None
        with torch.no_grad():
            after = next(outcomes(network, state, all_or_none(network))).after
            norms = ability(network, Norms)
            assert norms is not None
            block_norms = norms.block_norms(layer, after.hidden)
        return block_norms.topk(self.num_kept[layer], dim=1).indices
