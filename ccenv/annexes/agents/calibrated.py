"""Agents that validation inputs set: once, and again where the network has changed."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.agents.base import Agent
from ccenv.base.masks import full_mask
from ccenv.mdp.dynamics import all_or_none, initial, look, outcomes
from ccenv.networks.core.abilities import PlaysWindows
from ccenv.networks.core.unrolled import played
from ccenv.simulator.simulator import Simulator

BATCH = 1000
"""Validation inputs at a time, as many as `ccenv.evaluate` takes."""


class Calibrated(Agent):
    """Keeps what validation inputs say in `learned`; training changes none of it."""

    learns: ClassVar[bool] = False

    def __init__(self, env: Any, *, seed: int = 0) -> None:
        """See `Agent`."""
        super().__init__(env, seed=seed)
        self.policy_macs = [0] * len(self.num_blocks)
        self.learned: dict[str, Tensor] = {}
        self.chosen_for: tuple[int, int] | None = None

    def calibrated(self) -> dict[str, Tensor]:
        """What is learned of the network as it is now; nothing changes where it is left out."""
        raise TypeError(f"{type(self).__name__} must define calibrated()")

    def begin_episode(self, simulator: Simulator) -> None:
        """Calibrates where the network has changed; not for the training's own rollouts."""
        if simulator is not self.simulator:
            self.choose()

    def choose(self) -> None:
        """Calibrates, unless that was done for the network as it is now."""
        version = version_of(self.simulator)
        if version not in (None, self.chosen_for):
            self.learned |= self.calibrated()
            self.chosen_for = version

    def rule_of_windows(self, surface: Any, generator: torch.Generator | None) -> Any:
        """Keeps everything in training, so that verdicts do not change it; see `Policy`."""
        rule = super().rule_of_windows(surface, generator)
        if generator is not None and generator is self.generator:
            return self.keep_all
        # Windows are played before `begin_episode`.
        self.choose()
        return rule

    def keep_all(self, gate: int, hidden: Any, inputs: Tensor) -> Tensor:
        """Keeps everything at the positions of windows, see `PlaysWindows.played`."""
        return full_mask(len(inputs), self.num_blocks[gate], inputs.device)

    def parameters(self) -> dict[str, Tensor]:
        """What was calibrated, for the network as it is now."""
        self.choose()
        return {name: tensor.clone() for name, tensor in self.learned.items()}

    def load_parameters(self, tensors: Mapping[str, Tensor]) -> None:
        """What `parameters` gave, for the network as it is now."""
        self.learned = {name: tensors[name].clone() for name in self.learned}
        self.chosen_for = version_of(self.simulator)

    def validation(self) -> Simulator:
        """Validation inputs, whose windows are played with everything kept.

        What was learned of an earlier network has no part in it.
        """
        judged = self.simulator.on_split("validation", BATCH)
        if PlaysWindows in judged.network.abilities:
            judged.rule = self.keep_all
        return judged

    @torch.no_grad()
    def validation_looks(self, *, kept: bool) -> Iterator[list[Tensor]]:
        """What validation inputs show at each gate, a batch at a time.

        Args:
            kept: whether everything is computed on the way, or nothing.
        """
        judged = self.validation()
        network = judged.network
        for indices in torch.arange(len(judged.data)).split(BATCH):
            batch = judged.data.batch(indices.to(judged.device))
            start = played(network, batch[0], judged.rule)
            state, seen = initial(network, *batch, state=start), []
            for outcome in outcomes(network, state, all_or_none(network, kept)):
                seen.append(look(network, outcome.before))
            yield seen


def version_of(simulator: Any) -> tuple[int, int] | None:
    """Which network a simulator has now; None without a seed, and in an exported classifier."""
    if not isinstance(simulator, Simulator) or simulator.images_seed is None:
        return None
    return (simulator.images_seed, simulator.network_version)
