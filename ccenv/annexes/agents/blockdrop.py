"""BlockDrop: (the input, once) -> which blocks of all gates are kept.

Wu et al. 2018, "BlockDrop: dynamic inference paths in residual networks" (arXiv 1711.08393). One
decision before the first gate: a coin for each block of the whole network, all from the input. The
probability of a coin is alpha * s + (1 - alpha) * (1 - s) of its sigmoid s, so that none is ever
sure while it learns. The loss is REINFORCE against the return of the greedy masks
(self-critical), with a bonus on entropy. At first all gates but the last keep everything; the gates
that are learned grow from the last one to the first (the curriculum).

Faithful: one decision, bounded coins, baseline, curriculum and bonus; their reward is
`reward=blockdrop`, their last stage, in which network and policy learn together,
`weights=cotrain`. Ours: any network's gates and any reward; the policy reads what the environment
shows before the first gate, through an affine map or one hidden layer, where theirs is a small
residual network of its own on the input. Left out: that network, and freezing the policy first.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.agents.base import Agent, descend, greedy_rewards
from ccenv.agents.distributions import IndependentBlocks
from ccenv.agents.losses import policy_gradient_loss
from ccenv.agents.scores import LayerScores
from ccenv.base.values import check_at_least_zero, check_within
from ccenv.simulator.rollout import Rollout
from ccenv.simulator.simulator import Simulator


class BlockDrop(Agent):
    """Decides once; a mask is good if it returns more than the most probable one."""

    env_defaults: ClassVar[dict[str, Any]] = {"observation": "summary"}

    def __init__(
        self,
        env: Any,
        *,
        seed: int = 0,
        alpha: float = 0.8,
        curriculum_share: float = 0.5,
        entropy_weight: float = 0.1,
        learning_rate: float = 0.005,
        hidden_units: int = 32,
    ) -> None:
        """Prepares policy and optimiser (Adam).

        Args:
            alpha: bound of the coins' probabilities, in (0.5, 1].
            curriculum_share: of the training, until all gates are learned; 0 for no curriculum.
            entropy_weight: of the bonus on the coins' entropy, in nats, summed over blocks.
            learning_rate: Adam's.
            hidden_units: of the policy's hidden layer; 0 for an affine policy.

        Raises:
            ValueError: if a number is out of range, or cost weights change from input to input.
        """
        super().__init__(env, seed=seed)
        check_at_least_zero(entropy_weight=entropy_weight)
        check_within("(0.5, 1]", alpha=alpha)
        check_within("[0, 1]", curriculum_share=curriculum_share)
        if self.simulator.context is not None:
            raise ValueError(
                "expected no context for blockdrop, whose baseline would see another cost weight; "
                "choose another agent"
            )
        self.alpha, self.entropy_weight = alpha, entropy_weight
        self.curriculum_share = curriculum_share
        first_look: Any = FirstLook(self.simulator)
        total = sum(self.num_blocks)
        self.scores = LayerScores(first_look, seed, hidden_units, outputs=[total])
        self.policy_macs = [*self.scores.macs, *[0] * (len(self.num_blocks) - 1)]
        self.optimizer = torch.optim.Adam(self.scores.parameters(), lr=learning_rate)
        self.first_learned = 0
        self.decided: list[Tensor] = []
        self.probability: list[Tensor] = []

    def coins(self, observation: Tensor) -> IndependentBlocks:
        """Of all blocks of the network, from what is seen first: [batch, all blocks]."""
        likely = self.scores(observation, 0).sigmoid()
        bounded = self.alpha * likely + (1 - self.alpha) * (1 - likely)
        return IndependentBlocks(bounded.clamp(1e-6, 1 - 1e-6))

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Before the first gate decides for all; then says what was decided."""
        if layer == 0:
            if generator is self.generator:
                # The last gate at first, all of them in the end.
                gates, share = len(self.num_blocks), self.curriculum_share
                done = self.progress >= share
                self.first_learned = 0 if done else gates - 1 - int(gates * self.progress / share)
            blocks = self.coins(observation)
            mask = blocks.mode() if generator is None else blocks.sample(generator)
            self.decided = list(mask.split(self.num_blocks, dim=1))
            self.probability = list(blocks.probability.detach().split(self.num_blocks, dim=1))
        mask = self.decided[layer]
        return torch.ones_like(mask) if layer < self.first_learned else mask

    def keep_probability(self, observation: Tensor, layer: int) -> Tensor | None:
        """Of the inputs of the last decision: [batch, num_blocks[layer]]."""
        return self.probability[layer] if layer < len(self.probability) else None

    def update(self, rollout: Rollout) -> dict[str, float]:
        """One step up the policy gradient on the gates that are learned."""
        advantage = rollout.returns[0] - greedy_rewards(self).sum(dim=0)
        first = self.first_learned
        skipped = sum(self.num_blocks[:first])
        learned = self.coins(rollout.observations[0]).probability[:, skipped:]
        blocks = IndependentBlocks(learned)
        mask = torch.cat(list(rollout.actions[first:]), dim=1)
        entropy = blocks.entropy().mean()
        loss = policy_gradient_loss(blocks.log_prob(mask), advantage)
        descend(self.optimizer, loss - self.entropy_weight * entropy)
        # Whoever is asked between two rollouts is asked for every gate.
        self.first_learned = 0
        learned_gates = float(len(self.num_blocks) - first)
        return self.read(loss=loss, entropy=entropy) | {"learned_gates": learned_gates}


class FirstLook:
    """What `LayerScores` reads of an environment, with its first gate only."""

    def __init__(self, simulator: Simulator) -> None:
        """Takes sizes and device."""
        self.observe, self.device = simulator.observe, simulator.device
        self.num_layers, self.num_blocks = 1, [sum(simulator.num_blocks)]
