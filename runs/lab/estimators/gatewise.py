"""Coins gate by gate, by the exact gradient: (tables, later looks) -> share of the gap closed.

What is seen at a gate is its look, behind every prefix of masks, and the bits that ran so far. The
mean reward is a sum over the tree of prefixes, and torch differentiates it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ccenv.base.seeding import stream
from ccenv.mask_table.network import TableNetwork
from ccenv.runs.lab.estimators.fitted import PRICE_RATE, STIFFNESS, Data


@dataclass(frozen=True)
class Sizes:
    """How much is learned."""

    hidden: int = 32
    """units of each gate's hidden layer."""
    inputs: int = 32
    """of an update, of which all masks are known."""
    updates: tuple[int, ...] = (50, 100)
    """after which a run may have stopped."""
    rate: float = 0.02
    """Adam's; it falls to 0."""


class Coins(nn.Module):
    """A small network for each gate: what is seen -> the logit of its coin."""

    def __init__(self, network: TableNetwork, rows: Tensor, hidden: int, seed: int) -> None:
        """Draws weights, and looks at some inputs for mean and deviation of what is seen."""
        super().__init__()
        self.network, generator = network, stream(seed, "coins")
        self.scales: list[tuple[Tensor, Tensor]] = []
        self.layers = nn.ModuleList()
        for gate, one in enumerate(network.gates):
            seen = self.seen(gate, rows)
            self.scales.append((seen.mean(0), seen.std(0).clamp(min=1e-3)))
            first, last = nn.Linear(one.look_size, hidden), nn.Linear(hidden, 1)
            for linear in (first, last):
                size = linear.in_features**-0.5 if linear is first else 0.0
                linear.weight.data = size * torch.randn(linear.weight.shape, generator=generator)
                nn.init.zeros_(linear.bias)
            self.layers.append(nn.Sequential(first, nn.Tanh(), last))

    def seen(self, gate: int, rows: Tensor) -> Tensor:
        """What is seen behind every prefix: int64 [n] -> [n x prefixes, columns]."""
        return self.network.look(gate, self.network.prefixes(gate, rows))

    def keep(self, gate: int, rows: Tensor) -> Tensor:
        """Keep probabilities: int64 [n] -> [n, prefixes]."""
        mean, spread = self.scales[gate]
        found: Tensor = self.layers[gate]((self.seen(gate, rows) - mean) / spread)
        return found.view(len(rows), -1).sigmoid()

    def value(self, rows: Tensor, worth: Tensor) -> Tensor:
        """Mean of what masks are worth, [n or 1, masks, any], over the coins: [n, any]."""
        worth = worth.expand(len(rows), -1, -1)
        for gate in range(len(self.layers) - 1, -1, -1):
            keep = self.keep(gate, rows)[..., None]
            pairs = worth.reshape(len(rows), -1, 2, worth.shape[-1])
            worth = torch.lerp(pairs[:, :, 0], pairs[:, :, 1], keep)
        return worth[:, 0]

    @torch.no_grad()
    def chances(self, rows: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Probabilities of all masks: float64 [n, masks]."""
        parts = []
        for part in rows.split(256):
            chances = torch.ones(len(part), 1, dtype=torch.float64)
            for gate in range(len(self.layers)):
                keep = self.keep(gate, part).double()
                chances = torch.stack([chances * (1 - keep), chances * keep], dim=2).flatten(1)
            parts.append(chances)
        return torch.cat(parts).numpy()


def gatewise_point(
    network: TableNetwork, data: Data, budget: float, seed: int, sizes: Sizes
) -> Any:
    """What one run reaches on the inputs that judge, stopped by those that choose.

    Args:
        network: of the tables behind `data`, inputs that fit, choose and judge in this order.
        data: outcomes of these.
        budget: mean cost.
        seed: of weights and of the order of inputs.
        sizes: of updates.

    Raises:
        ValueError: if a gate has several blocks.
    """
    if any(gate.num_blocks > 1 for gate in network.gates):
        raise ValueError("expected gates of one block each, got others")
    counts = [len(part.scores) for part in (data.fit, data.choose.judge, data.judge.judge)]
    fit, choose, judge = torch.arange(sum(counts)).split(counts)
    coins, order = Coins(network, fit[:64], sizes.hidden, seed), stream(seed, "inputs of updates")
    adam = torch.optim.Adam(coins.layers.parameters(), lr=sizes.rate)
    scores = torch.from_numpy(data.fit.scores.astype(np.float32))
    costs = torch.from_numpy(data.fit.costs.astype(np.float32))
    price = 1.5
    best: tuple[float, dict[str, Any]] = (-np.inf, {})
    for update in range(1, sizes.updates[-1] + 1):
        rows = fit[torch.randint(len(fit), (sizes.inputs,), generator=order)]
        worth = torch.stack([scores[rows], costs.expand(len(rows), -1)], dim=2)
        score, cost = coins.value(rows, worth).mean(dim=0)
        over = cost.item() - budget
        price += PRICE_RATE * over
        adam.param_groups[0]["lr"] = sizes.rate * (1 - (update - 1) / sizes.updates[-1])
        adam.zero_grad()
        ((price + STIFFNESS * over) * cost - score).backward()
        adam.step()
        if update in sizes.updates:
            closed = data.choose.place(masks=coins.chances(choose)).gap_closed
            if closed > best[0]:
                best = closed, {k: v.clone() for k, v in coins.layers.state_dict().items()}
    coins.layers.load_state_dict(best[1])
    return data.judge.place(masks=coins.chances(judge))
