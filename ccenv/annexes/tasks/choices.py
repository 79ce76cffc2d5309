"""Tasks of one input: of its domain the right blocks must be kept, and all others are waste.

A family of networks with weights set by hand, and its data. An input has one of a few domains. At
each gate a domain needs a block, or several; the network answers right if an input's domain had
all that it needs. What is seen is a noisy sign of the domain, never the label. Blocks are experts
of one unit, which cost the same, so that the cost of a mask is its share of all blocks.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ccenv.annexes.tasks.allocation import allocate
from ccenv.annexes.tasks.problem import Problem, as_logits
from ccenv.base.seeding import stream_seed
from ccenv.base.values import positive_ints, shown
from ccenv.data.split import Split
from ccenv.mdp.dynamics import StepOutcome
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.core.stage import Rows
from ccenv.networks.stages.linear import Experts

Floats = NDArray[np.float64]
ANSWERS = 3
"""Two labels, and an answer that is always wrong."""
NOISE, SPREAD = 0.1, 0.5
"""Of what is seen: of one-hot signs above 0, and of each number of a sign among distractors."""


@dataclass(frozen=True, kw_only=True)
class Choices(Problem):
    """A problem of the family.

    >>> problem = Choices(gates=(4,))
    >>> problem.optimum(), problem.reference()
    (0.875, 0.5)
    """

    gates: tuple[int, ...]
    """blocks of each gate."""
    domains: int = 4
    """kinds of inputs, all equally often."""
    cost_weight: float = 0.5
    """what all blocks together cost in rewards; a right answer earns 1."""
    sizes: tuple[int, ...] = ()
    """blocks that each domain needs at the one gate, the first so many; else one at each gate."""
    only_last: bool = False
    """whether all gates but the last are waste, and the sign is seen at the first one only."""
    safe: float = 0.0
    """probability of a right answer by the last block of the first gate, which any input may use.
    """
    flips: float = 0.0
    """share of labels that are wrong; then an input that lacks something is answered by a guess."""
    prices: tuple[float, float] | None = None
    """the cost weight is drawn for each input, log-uniform between these, and shown."""
    cost_limit: float | None = None
    """what may be spent on average; then `cost_weight` counts for nothing."""
    changes: int = 0
    """how often the signs of all domains change places in training."""
    distractors: int = 0
    """numbers that say nothing, among which the sign is hidden."""
    inputs: int = 2048
    """to learn from, before the first change and behind each one; a multiple of `domains`."""

    def __post_init__(self) -> None:
        """Refuses a family that is none (ValueError), before its optimum is computed."""
        if not isinstance(self.gates, Sequence):
            raise ValueError(f"expected gates as (blocks, ...), got {shown(self.gates)}")
        gates = positive_ints(self.gates, "gates")
        chosen = gates[-1:] if self.only_last else gates
        if self.sizes and (len(gates) > 1 or len(self.sizes) != self.domains):
            raise ValueError(
                f"expected sizes for each of {self.domains} domains at one gate, got "
                f"{len(self.sizes)} at {len(gates)}"
            )
        if not self.sizes and min(chosen) < self.domains:
            raise ValueError(
                f"expected a block for each of {self.domains} domains at every gate that chooses, "
                f"got gates of {list(gates)} blocks"
            )
        if self.inputs % self.domains:
            raise ValueError(
                f"expected inputs as a multiple of {self.domains} domains, got {self.inputs}"
            )

    @property
    def rule(self) -> str:
        """See `Problem`."""
        return "the best masks that are the same for all inputs"

    @property
    def phases(self) -> int:
        """See `Problem`."""
        return self.changes + 1

    def settings(self) -> dict[str, Any]:
        """See `Problem`."""
        if self.cost_limit is not None:
            kwargs = {"cost_limit": self.cost_limit, "objective": "accuracy"}
            return {"reward": "lagrangian", "reward_kwargs": kwargs}
        name = "probability_minus_cost" if self.safe else "accuracy_minus_cost"
        if self.prices is not None:
            return {"reward": name, "context": {"cost_weight": list(self.prices)}}
        return {"reward": name, "reward_kwargs": {"cost_weight": self.cost_weight}}

    def needs(self, gate: int) -> NDArray[np.bool_]:
        """Which blocks of a gate each domain needs: bool [domains, blocks]."""
        blocks = self.gates[gate]
        if self.sizes:
            return np.arange(blocks) < np.array(self.sizes)[:, None]
        if self.only_last and gate < len(self.gates) - 1:
            return np.zeros((self.domains, blocks), bool)
        return np.arange(blocks) == ((np.arange(self.domains) + gate) % self.domains)[:, None]

    def signs(self) -> Floats:
        """Directions of the numbers that are seen of each domain, and of the distractors.

        Float64 [domains + distractors, domains + distractors], orthogonal.
        """
        draws = np.random.default_rng(stream_seed(0, "signs of domains"))
        width = self.domains + self.distractors
        directions: Floats = np.linalg.qr(draws.standard_normal((width, width)))[0]
        return directions

    def split(self, split: str) -> Split:
        """Rows of what is seen, the domain (one-hot) and the right label; and the labels."""
        draws = np.random.default_rng(stream_seed(0, f"choices of {split}"))
        count, width = self.inputs, self.domains + self.distractors
        parts = []
        for phase in range(self.phases):
            domain = np.arange(count) % self.domains
            label = np.arange(count) // self.domains % 2
            order = draws.permutation(self.domains) if phase else np.arange(self.domains)
            seen = np.eye(self.domains, width)[order[domain]]
            if self.distractors:
                seen = (seen + SPREAD * draws.standard_normal(seen.shape)) @ self.signs()
            else:
                seen = (1 - NOISE) * seen + NOISE * draws.random(seen.shape)
            parts.append(np.hstack([seen, np.eye(self.domains)[domain], label[:, None]]))
        rows = np.concatenate(parts)
        wrong = draws.random(len(rows)) < self.flips
        labels = torch.from_numpy(np.where(wrong, 1 - rows[:, -1], rows[:, -1])).long()
        return Split(torch.from_numpy(rows).float(), labels, ANSWERS)

    def network(self) -> GatedSequential:
        """See `Problem`."""
        return choices_network(self)

    def value(self, outcome: StepOutcome, cost_weight: Any) -> Tensor:
        """See `Problem`."""
        if self.cost_limit is not None:
            return self.right(outcome)
        return self.right(outcome) - cost_weight * outcome.layer_cost

    def right(self, outcome: StepOutcome) -> Tensor:
        """Probability of a right answer, 0 before the last gate: float [batch].

        Among distractors it is Bayes' rule's, so that who learns inputs by heart gains nothing.
        """
        if not outcome.is_last or not (self.flips or self.distractors or self.safe):
            return outcome.correct
        inputs = outcome.before.images_by_row
        if self.distractors:
            likely = torch.from_numpy(self.posterior(inputs.double().cpu().numpy()))
            return (likely.to(inputs.device) * outcome.mask).sum(dim=1)
        if self.flips:
            assert outcome.prediction is not None
            return (outcome.prediction - inputs[:, -1]).abs() * (2 * self.flips - 1) + (
                1 - self.flips
            )
        return outcome.log_likelihood.exp()

    def posterior(self, rows: Floats) -> Floats:
        """Probability of each domain given what is seen among distractors: [rows, domains]."""
        seen = rows[:, : self.domains + self.distractors]
        scores = (seen @ self.signs().T)[:, : self.domains] / SPREAD**2
        likely = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities: Floats = likely / likely.sum(axis=1, keepdims=True)
        return probabilities

    @property
    def price(self) -> float:
        """See `Problem`: under a limit compute has none."""
        return float(self.drawn_prices().mean()) if self.cost_limit is None else 0.0

    def earned(self, value: float, cost: float) -> float:
        """See `Problem`: what is spent above the limit costs twice what it can bring there."""
        if self.cost_limit is None:
            return value
        return value - 2 * self.worth_at_limit * max(0.0, cost - self.cost_limit)

    @functools.cached_property
    def worth_at_limit(self) -> float:
        """What a little more compute than the limit could bring, for a unit."""
        assert self.cost_limit is not None
        return allocate(*self.offers(), self.cost_limit).price

    def offers(self) -> tuple[Floats, Floats]:
        """What could be best for each domain: nothing, what it needs, the safe block.

        Probabilities of a right answer and costs, float64 [domains, offers].
        """
        needed = sum(self.needs(gate).sum(axis=1) for gate in range(len(self.gates)))
        nothing = np.zeros(self.domains)
        right = [nothing + 0.5 * bool(self.flips), nothing + 1 - self.flips, nothing + self.safe]
        spent = [nothing, needed, nothing + bool(self.safe)]
        return np.stack(right, axis=1), np.stack(spent, axis=1) / sum(self.gates)

    def masks(self) -> tuple[Floats, Floats]:
        """The same for all inputs: all that the first n domains need, with and without "safe".

        Domains are alike, or each needs what the one before it does and more, so that no other
        masks are better. Mean probabilities of a right answer and costs, float64 [masks].
        """
        other = np.array([0.5 * bool(self.flips), self.safe])
        right, spent = [], []
        for served in range(self.domains + 1):
            share = served / self.domains
            kept = sum(
                self.needs(gate)[:served].any(axis=0).sum() for gate in range(len(self.gates))
            )
            right.append(share * (1 - self.flips) + (1 - share) * other)
            spent.append(kept + np.array([0, bool(self.safe)]))
        return np.concatenate(right), np.concatenate(spent) / sum(self.gates)

    def optimum(self) -> float:
        """See `Problem`."""
        if self.distractors:
            return self.bayes()
        right, spent = self.offers()
        if self.cost_limit is not None:
            return allocate(right, spent, self.cost_limit).mean_cost(right)
        gains = right - self.drawn_prices()[:, None, None] * spent
        return float(gains.max(axis=2).mean())

    def reference(self) -> float:
        """See `Problem`."""
        right, spent = self.masks()
        if self.cost_limit is not None:
            allocation = allocate(right[None], spent[None], self.cost_limit)
            return allocation.mean_cost(right[None])
        return float((right - self.drawn_prices().mean() * spent).max())

    def bayes(self) -> float:
        """What the rule earns that keeps each block as likely needed as it costs, or likelier."""
        inputs = self.split("train").images
        assert isinstance(inputs, Tensor)
        likely = self.posterior(inputs.double().numpy())
        gains = likely - self.cost_weight / self.domains
        return float(gains.clip(min=0).sum(axis=1).mean())

    def drawn_prices(self, count: int = 100_000) -> Floats:
        """Cost weights at the middles of so many equally likely ranges: float64 [count]."""
        if self.prices is None:
            return np.array([self.cost_weight])
        low, high = np.log(self.prices)
        cost_weights: Floats = np.exp(low + (high - low) * (np.arange(count) + 0.5) / count)
        return cost_weights


class Readers(Experts):
    """Experts of one unit, each of which reads some domains and adds to what was found of them."""

    shares_rows: ClassVar[bool] = False

    def __init__(self, seen: int, needs: Floats, *, shows: bool, is_safe: bool) -> None:
        """Sets the weights.

        Args:
            seen: columns before the domain's.
            needs: share of what a domain needs that each block gives, [domains, blocks].
            shows: whether what is seen of the input is offered here.
            is_safe: whether the last block counts for every input.
        """
        domains, blocks = needs.shape
        super().__init__(domains, blocks, 1, 2)
        self.seen, self.domains, self.shows = seen, domains, shows
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            self.hidden.weight.copy_(torch.from_numpy(needs.T))
            self.output.weight[0] = 1.0
            if is_safe:
                self.hidden.bias[-1] = 1.0
                self.output.weight[:, -1] = torch.tensor([0.0, 1.0])

    def compute(self, x: Tensor, mask: Rows, before: Rows, weights: Rows, backend: str) -> Tensor:
        """[rows, features and 2 tallies] -> the same with what kept blocks add to the tallies."""
        domain = x[:, self.seen : self.seen + self.domains].contiguous()
        added = super().compute(domain, mask, before, weights, backend)
        return torch.cat([x[:, :-2], x[:, -2:] + added], dim=1)

    def look(self, x: Tensor) -> Tensor:
        """What is seen of the input, or nothing."""
        return x[:, : self.seen if self.shows else 0]


class Answer(nn.Module):
    """Gives the right label where everything needed was found, or with the probability "safe"."""

    def __init__(self, problem: Choices) -> None:
        """Takes what is needed for an answer."""
        super().__init__()
        most = sum(problem.needs(gate).sum(axis=1).max() for gate in range(len(problem.gates)))
        self.enough = 1 - 0.5 / float(most)
        self.safe, self.guesses = problem.safe, bool(problem.flips)

    def forward(self, x: Tensor) -> Tensor:
        """[rows, features and 2 tallies] -> logits [rows, 3]."""
        label, share_read, safe = x[:, -3], x[:, -2], x[:, -1]
        right = torch.where(share_read > self.enough, 1.0, self.safe * (safe > 0.5))
        # Who guesses says 0.
        one, guess = right * label, (1 - right) * self.guesses
        zero = right * (1 - label) + guess
        return as_logits(torch.stack([zero, one, 1 - zero - one], dim=1))


def choices_network(problem: Choices) -> GatedSequential:
    """The network of a problem of the family."""
    gates = range(len(problem.gates))
    total = np.sum([problem.needs(gate).sum(axis=1) for gate in gates], axis=0)
    seen = problem.domains + problem.distractors
    parts = {
        f"choice{gate}": Readers(
            seen,
            problem.needs(gate) / total[:, None],
            shows=gate == 0 or not problem.only_last,
            is_safe=bool(problem.safe) and gate == 0,
        )
        for gate in gates
    }
    example = torch.zeros(1, seen + problem.domains + 1)
    network = GatedSequential(nn.ConstantPad1d((0, 2), 0.0), parts, Answer(problem), example)
    network.has_own_weights = True
    return network.eval()
