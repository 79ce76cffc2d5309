"""What chooses masks: observations and a gate -> masks, as a rollout and an evaluation want it."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.base.values import lacking


class Policy:
    """What can be rolled out and evaluated: an agent, or any object with `act` and `policy_macs`.

    An object that is no subclass gets defaults of all else where it comes in, see `as_policy`.

    `act` is given nothing of the labels, but the simulator's state, which `begin_episode` is given,
    holds them: a policy that reads them declares `uses_labels`. Python hides nothing from one that
    means to look; that masks stay the same under other labels shows that it did not.
    """

    policy_macs: Sequence[int]
    """MACs of choosing one image's mask, for each gated layer."""
    learns: ClassVar[bool] = True
    """False of rules that training would not change."""
    uses_labels: ClassVar[bool] = False
    """True of ceilings that look at the true label, which tables mark and nobody exports."""

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
        raise NotImplementedError

    def begin_episode(self, simulator: Any) -> None:
        """Called when an episode's images are there, before the first `act`."""

    def keep_probability(self, observation: Tensor, layer: int) -> Tensor | None:
        """Shown in place of the masks: [batch, num_blocks[layer]] in [0, 1], None to show these."""
        return None

    def choosers(self, *, drawn: bool) -> Sequence[Any] | None:
        """How masks are chosen in one compiled call, one `Chooser` a layer; None: it cannot be.

        Must agree with `act`; see `ccenv.deploy.fused.choosers`.

        Args:
            drawn: whether masks are drawn, instead of the most probable ones.
        """
        return None


class OtherPolicy(Policy):
    """An object that acts and is no `Policy`, with the defaults of what it lacks."""

    def __init__(self, policy: Any) -> None:
        """Takes what the object has."""
        names = [name for name in (*vars(Policy), "policy_macs") if not name.startswith("_")]
        missing = lacking(policy, *names)
        vars(self).update({name: getattr(policy, name) for name in names if name not in missing})


def as_policy(policy: Any) -> Policy:
    """A policy as it is; any other object that acts as one."""
    return policy if isinstance(policy, Policy) else OtherPolicy(policy)
