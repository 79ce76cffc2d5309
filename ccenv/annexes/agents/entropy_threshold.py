"""Refresh when in doubt: the entropy of what comes next -> run the trunk where it is high.

The trigger of Zheng et al. 2026, "Scratchpad patching: decoupling compute from patch size in
byte-level language models" (arXiv 2605.09630), on the networks `streaming` and `patches`, whose
modules say what of the paper is there. Nothing is learned: a threshold on an entropy in nats, which
may be moved with the weights as they are. It is a quantile of the validation inputs' entropies, at
which the wanted share of gates refreshes. They do not depend on earlier refreshes, so the share of
refreshes never rises with the threshold. Ours: in training an input is refreshed by coins of a
density of its own, uniform in 0..1, so that the network knows refreshes at every rate (how the
paper triggers in training could not be read); earlier positions of `patches` refresh at the wanted
rate, as in use.
Compare it with the agents `dense` (always), `block_dropout` (by chance, at the same rate) and
`fixed_mask` (at the best fixed places).
"""

from typing import Any

import torch
from torch import Tensor

from ccenv.annexes.agents.calibrated import Calibrated
from ccenv.base.masks import random_mask
from ccenv.base.seeding import uniform
from ccenv.base.values import check_within, shown
from ccenv.networks.core.abilities import Doubts, PlaysWindows
from ccenv.simulator.policy import GreedyRule

NEVER, ALWAYS = torch.finfo(torch.float32).max, -1.0
"""Thresholds that no entropy is above, and that every entropy is."""


class EntropyThreshold(Calibrated):
    """Runs the trunk where the entropy of a stream's guess is high.

    Choosing costs comparisons and no product: the guess whose entropy it is belongs to the network.
    """

    def __init__(
        self,
        env: Any,
        *,
        seed: int = 0,
        target_rate: float = 0.25,
        threshold: float | None = None,
    ) -> None:
        """Sets how often.

        Args:
            env: see `Agent`; its observation is the network's look, which shows the entropy.
            target_rate: wanted share of the gates that refresh, in [0, 1].
            threshold: in nats, in place of a rate; negative refreshes always.

        Raises:
            ValueError: if a setting is impossible, or the network shows no entropies.
        """
        super().__init__(env, seed=seed)
        check_within("[0, 1]", target_rate=target_rate)
        if threshold is not None and not (
            isinstance(threshold, int | float) and threshold == threshold
        ):
            raise ValueError(f"expected a threshold in nats, got {shown(threshold)}")
        self.target_rate, self.is_fixed = target_rate, threshold is not None
        self.learned = {"threshold": in_nats(NEVER if threshold is None else threshold)}
        if Doubts not in self.simulator.network.abilities:
            raise ValueError(
                "expected network='streaming' or 'patches' for entropy_threshold, got "
                f"{type(self.simulator.network).__name__}, which shows no entropies"
            )
        if self.simulator.observe.kind != "layer_input":
            raise ValueError(
                "expected observation='layer_input' for entropy_threshold, which shows the entropy "
                f"of a stream's guess, got {shown(self.simulator.observe.kind)}"
            )

    @property
    def threshold(self) -> float:
        """Above it a gate refreshes, in nats."""
        return float(self.learned["threshold"])

    def calibrated(self) -> dict[str, Tensor]:
        """The threshold of the wanted rate, unless it is given."""
        if self.is_fixed:
            return {}
        # Entropies do not depend on refreshes, so none is computed.
        looks = self.validation_looks(kept=False)
        entropies = torch.cat([at_gate[:, 0].cpu() for seen in looks for at_gate in seen])
        return {"threshold": in_nats(threshold_of(entropies, self.target_rate))}

    def rule_of_windows(self, surface: Any, generator: torch.Generator | None) -> Any:
        """In training windows are played at the wanted rate; see `Policy`."""
        if generator is not None and generator is self.generator:
            return GreedyRule(self, surface)
        return super().rule_of_windows(surface, generator)

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Refreshes where in doubt; training, which draws from the agent's own stream, by coins."""
        rows, device = len(observation), observation.device
        # Prices and budgets stand before what the network shows.
        size = self.simulator.network.gates[layer].look_size
        doubt = observation[:, self.simulator.observe.lengths[layer] - size]
        if generator is self.generator and generator is not None:
            if PlaysWindows in self.simulator.network.abilities and not self.is_fixed:
                # Of the positions of the next batch's windows so many refresh, as in use.
                self.learned = {"threshold": in_nats(doubt.double().quantile(1 - self.target_rate))}
            if layer == 0:
                self.density = uniform((rows, 1), generator, device)
            return random_mask(rows, 1, self.density, generator)
        return (doubt.double() > self.threshold).unsqueeze(1)


def in_nats(threshold: float | Tensor) -> Tensor:
    """A threshold as files hold it: a float64 number."""
    return torch.as_tensor(threshold, dtype=torch.float64)


def threshold_of(entropies: Tensor, rate: float) -> float:
    """Between the entropies that refresh and the others: float [n] -> nats.

    Of equal entropies all refresh or none: the rate is the nearest that a threshold reaches.

    >>> threshold_of(torch.tensor([0.5, 0.125, 0.25, 1.0]), 0.5)
    0.375
    """
    ordered = entropies.double().sort(descending=True).values
    total, count = len(ordered), round(rate * len(ordered))
    if count not in (0, total):
        last = ordered[count - 1]
        counts = (int((ordered > last).sum()), int((ordered >= last).sum()))
        below, above = (number / total for number in counts)
        count = counts[0] if rate - below < above - rate else counts[1]
    if count in (0, total):
        return NEVER if count == 0 else ALWAYS
    # Halfway, so that rounding in another batch moves no input to the other side.
    return float((ordered[count - 1] + ordered[count]) / 2)
