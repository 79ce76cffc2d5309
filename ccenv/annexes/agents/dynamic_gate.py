"""Dynamic gates: a sigmoid a block, on above 1/2, learned from the loss by its own gradient.

Choi 2026, "DynamicGate-MLP" (arXiv 2603.16367) and "Learning inference concurrency in DynamicGate
MLP: structural and mathematical justification" (arXiv 2604.13546), of which we could read the
abstracts and the author's tests: a gate's probability is the sigmoid of an affine map, its mask
keeps what is above 1/2 or the k highest, and the loss is the task's plus beta times the expected
usage of the gates. Forward the mask counts, 0 or 1, backward the probability does (Bengio, Leonard,
Courville 2013, arXiv 1308.3432). The other way round, which is in circulation, the network computes
with probabilities and the task gives the gates no gradient at all: the penalty alone closes them.

Faithful: gates, masks, estimator and penalty. Ours: usage is the mean over all blocks of all gates;
also the k highest have a gradient (the author's have none and are not adapted); what a gate reads
is the layer's input or, cheaper, `observation="summary"`; the network learns along, as for
every agent. In an environment with `concurrent` its steps land between gates of later requests.
Left out: units as blocks of their own, and continual learning.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ccenv.agents.base import descend
from ccenv.agents.distributions import check_kept
from ccenv.agents.scores import ScoredAgent
from ccenv.annexes.agents.straight_through_ops import loss_of_gates
from ccenv.base.masks import mask_of_indices
from ccenv.base.values import check_at_least_zero
from ccenv.mdp.choosers import Chooser
from ccenv.simulator.rollout import Rollout


class DynamicGate(ScoredAgent):
    """Learns from the network's loss, whatever the environment's reward; nothing is drawn.

    An update computes skipped blocks too, because their gates learn from what they would have
    added: training costs as much as the dense network's, and only use is cheaper.
    """

    def __init__(
        self,
        env: Any,
        *,
        seed: int = 0,
        num_kept: int | Sequence[int] | None = None,
        usage_weight: float = 0.5,
        learning_rate: float = 0.005,
        hidden_units: int = 0,
    ) -> None:
        """Prepares gates and optimiser (Adam).

        Args:
            num_kept: k of the highest gates, one number or one for each gated layer; None keeps
                those above 1/2.
            usage_weight: beta, in nats for all blocks on.
            learning_rate: Adam's.
            hidden_units: of a gate's hidden layer; 0 for an affine map.
        """
        super().__init__(env, seed=seed, hidden_units=hidden_units)
        check_at_least_zero(usage_weight=usage_weight)
        self.num_kept = None if num_kept is None else check_kept(num_kept, self.num_blocks)
        self.usage_weight = usage_weight
        self.optimizer = torch.optim.Adam(self.scores.parameters(), lr=learning_rate)
        self.waiting: list[Tensor | None] = []
        concurrent = self.simulator.extension("concurrent")
        self.is_concurrent = concurrent is not None
        if concurrent is not None:
            concurrent.watch(self.scores.layers)
            concurrent.between_gates.append(self.land)

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Masks bool [batch, num_blocks[layer]]; see `Agent.act`."""
        scores = self.scores(observation, layer)
        if self.num_kept is None:
            return scores > 0
        kept = scores.topk(self.num_kept[layer], dim=1).indices
        return mask_of_indices(kept, scores.shape[1], self.simulator.checks)

    def choosers(self, *, deterministic: bool) -> list[Chooser] | None:
        """See `Agent.choosers`."""
        return self.scores.choosers(True, self.num_kept)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """One step down the loss under the rollout's masks, with the penalty on usage."""
        gates = [
            self.scores(seen, layer).sigmoid() for layer, seen in enumerate(rollout.observations)
        ]
        loss = loss_of_gates(self.simulator, rollout.actions, gates)
        usage = torch.cat(gates, dim=1).mean()
        self.descend(loss + self.usage_weight * usage)
        return self.read(loss=loss, usage=usage)

    def descend(self, loss: Tensor) -> None:
        """A step at once; where requests are under way, one that lands between their gates."""
        if not self.is_concurrent:
            descend(self.optimizer, loss)
            return
        self.land(0)
        parameters = list(self.scores.parameters())
        self.waiting = list(torch.autograd.grad(loss, parameters, allow_unused=True))

    def land(self, gate: int) -> None:
        """Takes the step that waits, if there is one."""
        if not self.waiting:
            return
        for parameter, gradient in zip(self.scores.parameters(), self.waiting, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        self.waiting = []
