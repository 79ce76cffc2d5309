"""Refresh when in doubt: the entropy of what comes next -> run the trunk where it is high.

The trigger of Zheng et al. 2026, "Scratchpad patching: decoupling compute from patch size in
byte-level language models" (arXiv 2605.09630), on the network `streaming`, whose module says what
of the paper is there. Nothing is learned: a threshold on an entropy in nats, which may be moved
with the weights as they are. Which threshold gives which amount of compute is asked wherever such
thresholds are used; `calibrate` answers it by a quantile of the validation inputs' entropies. They
do not depend on earlier refreshes, so the share of refreshes never rises with the threshold. Ours:
in training an input is refreshed by coins of a density of its own, uniform in 0..1, so that the
network knows refreshes at every rate (how the paper triggers in training could not be read).
Beside it stand the agents `dense` (always), `block_dropout` (by chance, at the same rate) and
`fixed_mask` (at the best fixed places).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.agents.base import Agent, version_of
from ccenv.base.masks import full_mask, random_mask
from ccenv.mdp.dynamics import initial, look, transition
from ccenv.simulator.simulator import Simulator

BATCH = 1000
"""Validation inputs at a time, as many as `ccenv.evaluate` takes."""
NEVER, ALWAYS = torch.finfo(torch.float32).max, -1.0
"""Thresholds that no entropy is above, and that every entropy is."""
TOLERANCE = 0.01
"""How far from the wanted rate the nearest one that a threshold reaches may lie."""


class EntropyThreshold(Agent):
    """Keeps everything on networks that are no streams, as the agent `dense`.

    Choosing costs comparisons and no product: the guess whose entropy it is belongs to the network.
    """

    learns: ClassVar[bool] = False

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
            seed: see `Agent`.
            target_rate: wanted share of the gates that refresh, in [0, 1].
            threshold: in nats, in place of a rate; negative refreshes always.

        Raises:
            ValueError: if the rate is outside [0, 1], the threshold is no number, or the
                observation does not show the entropy.
        """
        super().__init__(env, seed=seed)
        check_rate(target_rate)
        if threshold is not None and not (
            isinstance(threshold, int | float) and threshold == threshold
        ):
            raise ValueError(f"expected a threshold in nats, got {threshold!r}")
        self.target_rate, self.is_fixed = target_rate, threshold is not None
        self.threshold = torch.tensor(NEVER if threshold is None else threshold).double()
        self.is_stream = self.simulator.network.defines("every_answer")
        self.chosen_for: tuple[int, int] | None = None
        if self.is_stream and self.simulator.observe.kind != "layer_input":
            raise ValueError(
                "expected observation='layer_input' for entropy_threshold, which shows the entropy "
                f"of a stream's guess, got {self.simulator.observe.kind!r}"
            )

    def begin_episode(self, simulator: Simulator) -> None:
        """Chooses the threshold anew where the network has changed; not for training's rollouts."""
        if simulator is not self.simulator:
            self.choose()

    def choose(self) -> None:
        """Calibrates, unless the threshold is given or that of this network."""
        version = version_of(self.simulator)
        if self.is_stream and not self.is_fixed and version not in (None, self.chosen_for):
            # A run goes on with the nearest rate; its density says which it is.
            self.calibrate(self.target_rate, tolerance=1.0)

    def calibrate(self, target_rate: float, tolerance: float = TOLERANCE) -> float:
        """Sets the threshold at which a share of the validation inputs' gates refresh.

        Args:
            target_rate: wanted share, in [0, 1].
            tolerance: how far the nearest share that a threshold reaches may lie from it.

        Returns:
            The threshold in nats.

        Raises:
            TypeError: if the network is no stream.
            ValueError: if the rate is outside [0, 1], or no threshold reaches it; says which rates
                can be reached.
        """
        check_rate(target_rate)
        if not self.is_stream:
            raise TypeError(
                "expected network='streaming' to calibrate on, got "
                f"{type(self.simulator.network).__name__}, which shows no entropies"
            )
        found = threshold_of(self.validation_entropies().flatten(), target_rate, tolerance)
        self.target_rate, self.threshold = target_rate, torch.tensor(found).double()
        self.chosen_for = version_of(self.simulator)
        return found

    @torch.no_grad()
    def validation_entropies(self) -> Tensor:
        """Entropy at every gate of every validation input: float32 [gates, inputs]."""
        judged = self.simulator.on_split("validation", BATCH)
        network, parts = judged.network, []
        for indices in torch.arange(len(judged.data)).split(BATCH):
            state, found = initial(network, *judged.data.batch(indices.to(judged.device))), []
            for _ in self.num_blocks:
                found.append(look(network, state)[:, 0].cpu())
                # Entropies do not depend on refreshes, so none is computed.
                state, _ = transition(network, state, ~full_mask(len(indices), 1, judged.device))
            parts.append(torch.stack(found))
        return torch.cat(parts, dim=1)

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Refreshes where in doubt; training, which draws from the agent's own stream, by coins."""
        rows, device = len(observation), observation.device
        if not self.is_stream:
            return full_mask(rows, self.num_blocks[layer], device)
        if generator is self.generator and generator is not None:
            if layer == 0:
                self.density = torch.rand(rows, 1, generator=generator)
            return random_mask(rows, 1, self.density, generator).to(device)
        # Prices and budgets stand before what the network shows.
        size = self.simulator.network.gates[layer].look_size
        doubt = observation[:, self.simulator.observe.lengths[layer] - size]
        return (doubt.double() > float(self.threshold)).unsqueeze(1)

    def parameters(self) -> dict[str, Tensor]:
        """The threshold, for the network as it is now."""
        self.choose()
        return {"threshold": self.threshold.clone()}

    def load_parameters(self, tensors: Mapping[str, Tensor]) -> None:
        """The threshold that `parameters` gave, for the network as it is now."""
        self.threshold = tensors["threshold"].clone()
        self.chosen_for = version_of(self.simulator)


def check_rate(rate: float) -> None:
    """Refuses what is no share.

    Raises:
        ValueError: if it is outside [0, 1].
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"expected target_rate in [0, 1], got {rate}")


def threshold_of(entropies: Tensor, rate: float, tolerance: float = TOLERANCE) -> float:
    """Between the entropies that refresh and the others: float [n] -> nats.

    Raises:
        ValueError: if equal entropies let no threshold come near the rate; says which rates can be
            reached.

    >>> threshold_of(torch.tensor([0.5, 0.125, 0.25, 1.0]), 0.5)
    0.375
    """
    ordered = entropies.double().sort(descending=True).values
    total, count = len(ordered), round(rate * len(ordered))
    if count == 0:
        return NEVER
    if count == total:
        return ALWAYS
    last = ordered[count - 1]
    counts = (int((ordered > last).sum()), int((ordered >= last).sum()))
    below, above = (number / total for number in counts)
    if min(rate - below, above - rate) > tolerance:
        raise ValueError(
            f"expected a target_rate that a threshold reaches, got {rate}: many entropies are the "
            f"same {float(last):.4g} nats; the nearest rates are {below:.4g} and {above:.4g}"
        )
    count = counts[0] if rate - below < above - rate else counts[1]
    if count in (0, total):
        return NEVER if count == 0 else ALWAYS
    # Halfway, so that rounding in another batch moves no input to the other side.
    return float((ordered[count - 1] + ordered[count]) / 2)
