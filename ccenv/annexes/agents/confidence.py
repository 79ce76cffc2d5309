"""Stop when sure: the answer of an exit -> go on where it is in doubt; nothing is learned.

Thresholds are quantiles of validation inputs, as in cascades and in Teerapittayanon et al. 2016,
"BranchyNet: fast inference via early exiting from deep neural networks" (arXiv 1709.01686).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ccenv.agents.distributions import one_each
from ccenv.annexes.agents.calibrated import Calibrated
from ccenv.annexes.agents.halting import exits_of
from ccenv.base.masks import full_mask
from ccenv.base.registry import check_names
from ccenv.base.values import check_within

MEASURES = ("margin", "probability", "entropy")
NEVER, ALWAYS = -1.0, torch.finfo(torch.float32).max
"""Thresholds that no doubt is below, and that every doubt is."""


class Confidence(Calibrated):
    """Keeps everything in training; else inputs stop where an exit's answer is sure enough.

    Choosing costs comparisons and no product. Gates that are no exits keep all their blocks, and
    without exits it is the agent `dense`.
    """

    def __init__(
        self,
        env: Any,
        *,
        seed: int = 0,
        stop_shares: float | Sequence[float] = 0.5,
        measure: str = "margin",
    ) -> None:
        """Sets how many inputs stop.

        Args:
            env: see `Agent`; its observation is the network's look, which shows an exit's answer.
            stop_shares: share of the validation inputs that stop at an exit, among those that get
                there, in [0, 1]; one number, or one for each exit.
            measure: of doubt: "margin" (1 less the difference of the two largest probabilities),
                "probability" (1 less the largest one) or "entropy".
        """
        super().__init__(env, seed=seed)
        self.exits = exits_of(self.simulator)
        check_names([measure], MEASURES, "measure of doubt")
        self.measure = measure
        self.stop_shares = one_each(stop_shares, len(self.exits), "stop_shares")
        for share in self.stop_shares:
            check_within("[0, 1]", stop_shares=share)
        if self.exits and self.simulator.observe.kind != "layer_input":
            raise ValueError(
                "expected observation='layer_input' for confidence, which shows what an exit would "
                f"answer, got {self.simulator.observe.kind!r}"
            )
        never = torch.full((len(self.num_blocks),), NEVER, dtype=torch.float64)
        self.learned = {"thresholds": never}

    def calibrated(self) -> dict[str, Tensor]:
        """Thresholds at which the shares of validation inputs stop."""
        if not self.exits:
            return {}
        looks = self.validation_looks(kept=True)
        doubts = torch.cat(
            [torch.stack([self.doubt(seen[gate]).cpu() for gate in self.exits]) for seen in looks],
            dim=1,
        )
        going = torch.ones(doubts.shape[1], dtype=torch.bool)
        thresholds = self.learned["thresholds"].clone()
        for place, share, doubt in zip(self.exits, self.stop_shares, doubts, strict=True):
            thresholds[place] = doubt_threshold(doubt[going], share)
            going &= doubt > thresholds[place]
        return {"thresholds": thresholds}

    def doubt(self, seen: Tensor) -> Tensor:
        """How unsure an exit is: [batch, num_classes or more], probabilities first -> [batch]."""
        probability = seen[:, : self.simulator.network.num_classes].double()
        if self.measure == "entropy":
            return -torch.special.xlogy(probability, probability).sum(dim=1)
        # Summed without the largest, which is 1 to rounding long before doubts are alike.
        others = probability.sort(dim=1).values[:, :-1]
        doubt = others.sum(dim=1)
        return doubt + others[:, -1] if self.measure == "margin" else doubt

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Goes on where in doubt; training, which draws from the agent's own stream, always."""
        if layer not in self.exits or generator is self.generator:
            return full_mask(len(observation), self.num_blocks[layer], observation.device)
        size = self.simulator.network.gates[layer].look_size
        # Prices and budgets stand before what the network shows.
        before = self.simulator.observe.lengths[layer] - size
        doubt = self.doubt(observation[:, before : before + size])
        return (doubt > float(self.learned["thresholds"][layer])).unsqueeze(1)


def doubt_threshold(doubts: Tensor, share: float) -> float:
    """Between the doubts that stop and those that go on: float64 [n] -> a number.

    >>> doubt_threshold(torch.tensor([0.5, 0.125, 0.25, 1.0]), 0.5)
    0.375
    """
    if share == 1:
        return ALWAYS
    count = round(share * len(doubts))
    if not count:
        return NEVER
    # Halfway, so that rounding in another batch moves no input to the other side.
    ordered = doubts.sort().values
    low, high = float(ordered[count - 1]), float(ordered[min(count, len(ordered) - 1)])
    middle = (low + high) / 2
    return middle if middle < high else low
