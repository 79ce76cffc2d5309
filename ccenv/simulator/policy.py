"""What chooses masks: observations and a gate -> masks, as a rollout and an evaluation want it."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class Policy(Protocol):
    """What can be rolled out and evaluated; an agent is one, and any object with these two.

    Optional, used where a policy has them:

    - `begin_episode(simulator)`: called when an episode's images are there, before the first `act`.
    - `keep_probability(observation, layer)`: [batch, num_blocks[layer]] in [0, 1], or None; shown
      in place of the masks.
    - `choosers(drawn=...)`: how masks are chosen in one compiled call, drawn or most probable, one
      `ccenv.deploy.fused.choosers.Chooser` a layer; None where that cannot be said. Must agree with
      `act`.
    - `uses_labels`: True of ceilings that look at the true label, which tables mark and nobody
      exports.
    - `learns`: False of rules that training would not change.

    `act` is given nothing of the labels, but the simulator's state, which `begin_episode` is given,
    holds them: a policy that reads them declares `uses_labels`. Python hides nothing from one that
    means to look; that masks stay the same under other labels shows that it did not.
    """

    policy_macs: Sequence[int]
    """MACs of choosing one image's mask, for each gated layer."""

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Chooses masks for the images at a layer.

        Args:
            observation: [batch, obs_size] float32.
            layer: number of the gated layer.
            generator: source of randomness; None asks for the most probable mask.

        Returns:
            bool [batch, num_blocks[layer]]; int64 [batch, k], the kept blocks as drawn; or float32
            [batch, num_blocks[layer]] in [0, 1], gate values: blocks of value 0 are not computed,
            outputs of the others are multiplied with theirs.
        """
