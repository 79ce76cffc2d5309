"""Networks of the probes over time (`ccenv.data.sequence_probes`): weights set, the optimum known.

Both answer with a probability of being right, which the reward `probability_minus_cost` pays.
"""

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ccenv.data.sequence_probes import (
    KINDS_OF_DOCUMENT,
    NOISE,
    NUM_EXPERTS,
    NUM_KINDS,
    PATCH,
    PLACES,
    STALE_PROBABILITY,
    TOKENS,
    qualities,
)
from ccenv.networks.core.abilities import Bounds, Continues, Owns, OwnWeights
from ccenv.networks.core.exit_state import Flow
from ccenv.networks.core.protocol import (
    Abilities,
    Earlier,
    Gate,
    GatedNetwork,
    repeat_rows,
    rows_each,
)
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.stages.linear import Experts

LEAST = 1e-6
"""Probability of a wrong answer at least, so that its logarithm is finite."""
STALE_PRICE, REFRESH_PRICE = 0.45, 0.9
"""What a stale position loses, and the `cost_weight` of the probe."""


def as_logits(right: Tensor) -> Tensor:
    """Probabilities of being right [rows] -> logits of "wrong" and "right" [rows, 2]."""
    right = right.clamp(LEAST, 1 - LEAST)
    return torch.stack([1 - right, right], dim=1).log()


class OneExpert(nn.Module):
    """Answers as the one expert that was kept; of none or several no answer is right."""

    def forward(self, found: Tensor) -> Tensor:
        """Sum of qualities, and how many experts there were: [rows, 2] -> logits [rows, 2]."""
        quality, count = found.unbind(dim=1)
        return as_logits(torch.where((count - 1).abs() < 0.5, quality, 0.0))


class Documents(GatedSequential):
    """Eight experts, one of which answers each token; with `fast_memory` it may have to be loaded.

    No state goes on from token to token but what lies in memory, which is the environment's.
    """

    abilities: Abilities = (*GatedSequential.abilities, Continues, OwnWeights)

    def __init__(
        self,
        input_shape: tuple[int, ...] = (NUM_EXPERTS + 2 * NUM_KINDS + 1,),
        num_classes: int = 2,
    ) -> None:
        """Sets the weights: an expert reads its own quality, and counts as one."""
        experts = Experts(input_shape[0], NUM_EXPERTS, 2, num_classes)
        with torch.no_grad():
            for parameter in experts.parameters():
                parameter.zero_()
            for expert in range(NUM_EXPERTS):
                experts.hidden.weight[2 * expert, expert] = 1.0
                experts.hidden.bias[2 * expert + 1] = 1.0
            experts.output.weight.copy_(torch.eye(2).repeat(1, NUM_EXPERTS))
        parts = {"experts": experts}
        super().__init__(nn.Identity(), parts, OneExpert(), torch.zeros(1, *input_shape))

    def empty_cache(self, inputs: Tensor) -> tuple[()]:
        """See `Continues`: nothing goes on."""
        return ()

    def cache_before(self, inputs: Tensor, earlier: Earlier | None = None) -> tuple[()]:
        """See `Continues`."""
        return ()

    def start_cached(self, inputs: Tensor, cache: tuple[()]) -> Flow:
        """See `Caches`."""
        return self.start(inputs)

    def cache_after(self, hidden: Flow) -> tuple[()]:
        """See `Continues`."""
        return ()


@dataclass(frozen=True)
class Summary:
    """Hidden state of positions: is the summary stale, and how likely is that?"""

    stale: Tensor
    """[rows] float32; 1 if it is."""
    belief: Tensor
    """[rows]; the probability by Bayes' rule, of the signals seen and the refreshes made."""
    signal: Tensor
    """[rows]; whether it is stale, with noise."""
    place: Tensor
    """[rows, PATCH]; of the patch, one-hot."""


class Staleness(GatedNetwork):
    """A summary that grows stale, and a gate that refreshes it; a new patch starts fresh.

    The look is the signal, the belief, and the place in the patch.
    """

    abilities: Abilities = (Continues, OwnWeights, Owns, Bounds)
    gates = (Gate("refresh", 1, 2 + PATCH, "identity"),)
    dense_macs = 1

    def __init__(self, input_shape: tuple[int, ...] = (2 + PATCH,), num_classes: int = 2) -> None:
        """Sets the one weight: what is refreshed is stale no more."""
        super().__init__()
        self.num_classes = num_classes
        self.refresh = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.refresh.weight)

    def empty_cache(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """See `Continues`: fresh, and known to be so."""
        fresh = torch.zeros(len(inputs), device=inputs.device)
        return fresh, fresh

    def cache_before(self, inputs: Tensor, earlier: Earlier | None = None) -> Any:
        """See `Continues`."""
        return self.empty_cache(inputs)

    def cache_after(self, hidden: Summary) -> tuple[Tensor, Tensor]:
        """See `Continues`."""
        return hidden.stale, hidden.belief

    def start(self, inputs: Tensor) -> Summary:
        """See `GatedNetwork.start`; alone, a position has nothing before it."""
        return self.start_cached(inputs, self.empty_cache(inputs))

    def start_cached(self, inputs: Tensor, cache: tuple[Tensor, Tensor]) -> Summary:
        """See `Caches`: it may become stale, then the signal is seen."""
        goes_on = 1 - inputs[:, 2]
        stale, belief = (goes_on * part for part in cache)
        stale = torch.maximum(stale, inputs[:, 0])
        signal = stale + inputs[:, 1]
        belief = posterior(belief + (1 - belief) * STALE_PROBABILITY, signal)
        return Summary(stale, belief, signal, inputs[:, 2:])

    def step(
        self,
        gate: int,
        hidden: Summary,
        mask: Tensor | None,
        weights: Tensor | None = None,
        backend: str = "auto",
    ) -> Summary:
        """See `GatedNetwork.step`."""
        if mask is None:
            mask = torch.ones(len(hidden.stale), 1, dtype=torch.bool, device=hidden.stale.device)
        hidden = repeat_rows(hidden, rows_each(len(hidden.stale), len(mask)))
        rows = mask[:, 0].nonzero().squeeze(1)
        fresh = self.refresh(hidden.stale.index_select(0, rows)[:, None])[:, 0]
        stale = hidden.stale.index_copy(0, rows, fresh)
        return replace(hidden, stale=stale, belief=hidden.belief.masked_fill(mask[:, 0], 0.0))

    def logits(self, hidden: Summary, backend: str = "auto") -> Tensor:
        """See `GatedNetwork.logits`."""
        return as_logits(1 - STALE_PRICE * hidden.stale)

    def look(self, gate: int, hidden: Summary) -> Tensor:
        """See `GatedNetwork.look`."""
        seen = torch.stack([hidden.signal, hidden.belief], dim=1)
        return torch.cat([seen, hidden.place], dim=1)

    def macs(self, gate: int, hidden: Summary, mask: Tensor) -> Tensor:
        """See `GatedNetwork.macs`: a refresh is one."""
        return mask[:, 0].long()

    def least_macs(self, gate: int) -> int:
        """See `Bounds`."""
        return 0

    def gate_parameters(self, gate: int) -> list[nn.Parameter]:
        """See `Owns`."""
        return list(self.refresh.parameters())

    def unread_entries(self, off: Any) -> list[tuple[Tensor, Tensor]]:
        """See `Owns`."""
        return [(self.refresh.weight, off[0].expand_as(self.refresh.weight))]


def posterior(prior: Any, signal: Any) -> Any:
    """Probability of being stale once the signal is seen, by Bayes' rule; arrays or tensors."""
    # How much likelier a signal s is if stale: the quotient of two normal densities.
    odds = np.e ** ((2 * signal - 1) / (2 * NOISE**2))
    return prior * odds / (prior * odds + 1 - prior)


def best_of_documents(size: int, load_price: float) -> np.ndarray:
    """What the best policy earns of a document, by dynamic programming: float64 [triples].

    Args:
        size: experts in fast memory.
        load_price: of loading one.

    Returns:
        Mean returns for each three kinds that a document may have, in the order of
        `itertools.combinations(range(NUM_KINDS), KINDS_OF_DOCUMENT)`.
    """
    # What lies in memory, the least recently used first.
    memories = [m for n in range(size + 1) for m in itertools.permutations(range(NUM_EXPERTS), n)]
    number = {memory: place for place, memory in enumerate(memories)}
    after = np.empty((len(memories), NUM_EXPERTS), np.int64)
    price = np.empty((len(memories), NUM_EXPERTS))
    for place, memory in enumerate(memories):
        for expert in range(NUM_EXPERTS):
            kept = (*(one for one in memory if one != expert), expert)
            after[place, expert] = number[kept[-size:]]
            price[place, expert] = 0.0 if expert in memory else load_price
    quality = qualities()
    found = []
    for kinds in itertools.combinations(range(NUM_KINDS), KINDS_OF_DOCUMENT):
        value = np.zeros(len(memories))
        for _ in range(TOKENS):
            ahead = value[after] - price
            value = np.mean([(quality[kind] + ahead).max(axis=1) for kind in kinds], axis=0)
        found.append(value[number[()]])
    return np.array(found)


def best_of_staleness(num_beliefs: int = 2001) -> float:
    """What the best policy earns of a sequence, by dynamic programming on the belief.

    Args:
        num_beliefs: points of the grid, between which values are interpolated.
    """
    beliefs = np.linspace(0, 1, num_beliefs)
    nodes, shares = np.polynomial.hermite_e.hermegauss(61)
    shares = shares / shares.sum()
    priors = (beliefs + (1 - beliefs) * STALE_PROBABILITY)[:, None]
    ahead = np.zeros(num_beliefs)
    for _ in range(PATCH):
        values = np.maximum(-REFRESH_PRICE + ahead[0], -STALE_PRICE * beliefs + ahead)
        expected = [
            np.interp(posterior(priors, is_stale + NOISE * nodes), beliefs, values) @ shares
            for is_stale in (0.0, 1.0)
        ]
        ahead = (1 - priors[:, 0]) * expected[0] + priors[:, 0] * expected[1]
    # A position that is not stale earns 1 (see `Staleness.logits`).
    return PLACES * 1.0 + PLACES // PATCH * float(ahead[0])
