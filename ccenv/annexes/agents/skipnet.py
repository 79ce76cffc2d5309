"""SkipNet: (what is seen at a gate) -> keep or skip, learned from the loss, then from rewards.

Wang et al. 2018, "SkipNet: learning dynamic routing in convolutional networks" (arXiv 1711.09485).
A gate before each unit sees the activations so far and decides there: a sequential decision, as in
this environment. Learning is hybrid. First supervised: masks are gates thresholded at one half, and
the loss is back-propagated through them as if they were their probabilities. Then REINFORCE: masks
are drawn, each gate is paid the returns from it to the end, while the network goes on learning from
its loss under the drawn masks.

Faithful: both stages, gates on activations, rewards to go; their reward is `reward=skipnet` (a
bonus for what is skipped, minus the loss), their hybrid gradient `weights=cotrain`, in which the
loss teaches the network and the return the gates. Ours: any network's gates and any reward; each
gate has an affine map of its own, or one hidden layer, on the network's look (which is averaged
over places, as theirs), where theirs may share a recurrent cell; returns are compared with the
batch's mean, because without it every gate is moved by how easy an input is. In the second stage
norms keep their statistics, as everywhere here: sampled gates would spoil them. Left out: the
shared recurrent gate.
"""

from typing import Any

import torch
from torch import Tensor

from ccenv.agents.advantages import above_mean
from ccenv.agents.base import descend
from ccenv.agents.scores import IndependentPolicy, start_at
from ccenv.annexes.agents.straight_through_ops import loss_of_gates
from ccenv.base.values import check_at_least_zero, check_within
from ccenv.simulator.rollout import Rollout


class SkipNet(IndependentPolicy):
    """Learns from the network's loss, then from the reward."""

    def __init__(
        self,
        env: Any,
        *,
        seed: int = 0,
        supervised_share: float = 0.5,
        start_density: float = 0.75,
        supervised_rate: float = 0.005,
        learning_rate: float = 0.01,
        entropy_weight: float = 0.001,
        hidden_units: int = 0,
    ) -> None:
        """Prepares policy and optimisers (Adam), one for each stage.

        Args:
            supervised_share: of the training, at its start, in [0, 1]; 0 leaves REINFORCE alone.
            start_density: keep probability of every block at first.
            supervised_rate: Adam's in the first stage.
            learning_rate: Adam's in the second.
            entropy_weight: of the bonus on the masks' entropy in the second, in nats.
            hidden_units: of the policy's hidden layer; 0 for affine gates.
        """
        super().__init__(env, seed=seed, hidden_units=hidden_units)
        check_at_least_zero(entropy_weight=entropy_weight)
        check_within("[0, 1]", supervised_share=supervised_share)
        check_within("(0, 1)", start_density=start_density)
        self.supervised_share, self.entropy_weight = supervised_share, entropy_weight
        start_at(self.scores, [start_density] * len(self.num_blocks))
        parameters = list(self.scores.parameters())
        self.by_loss = torch.optim.Adam(parameters, lr=supervised_rate)
        self.by_return = torch.optim.Adam(parameters, lr=learning_rate)

    @property
    def is_supervised(self) -> bool:
        """Whether the training is in its first stage."""
        return self.progress < self.supervised_share

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Agent.act`; in the first stage training draws nothing."""
        hard = generator is self.generator and self.is_supervised
        return super().act(observation, layer, None if hard else generator)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """One step of the stage."""
        if self.is_supervised:
            loss = self.down_the_loss(rollout)
        else:
            # REINFORCE on the returns from each gate to the end.
            loss, entropy = self.surrogate(rollout, above_mean(rollout.returns))
            descend(self.by_return, loss - self.entropy_weight * entropy)
        return self.read(loss=loss) | {"supervised": float(self.is_supervised)}

    def down_the_loss(self, rollout: Rollout) -> Tensor:
        """Back-propagates through hard gates; skipped blocks are computed here too."""
        blocks = [self.distribution(seen, gate) for gate, seen in enumerate(rollout.observations)]
        chances = [of_gate.probability for of_gate in blocks]
        loss = loss_of_gates(self.simulator, rollout.actions, chances)
        descend(self.by_loss, loss)
        return loss
