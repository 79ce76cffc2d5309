"""Tasks over time: (tokens of documents) -> which expert answers, where loading one costs.

An expert that was loaded lies there for the tokens behind it. The network answers with a
probability of being right, which the reward `probability_minus_cost` pays.
"""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ccenv.annexes.tasks.problem import (
    SIZES,
    Problem,
    as_logits,
    settings_over_time,
    split_of_positions,
)
from ccenv.base.seeding import stream_seed
from ccenv.data.split import Split
from ccenv.mdp.dynamics import StepOutcome
from ccenv.networks.core.abilities import Continues
from ccenv.networks.core.exit_state import Flow
from ccenv.networks.core.protocol import Abilities
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.stages.linear import Experts

NUM_KINDS, KINDS_OF_DOCUMENT, NUM_EXPERTS, TOKENS = 12, 3, 8, 16
TRIPLES = [*itertools.combinations(range(NUM_KINDS), KINDS_OF_DOCUMENT)]
"""Kinds that a document may have."""


def qualities() -> np.ndarray:
    """How well each expert answers each kind of token: float64 [kinds, experts] in (0, 1)."""
    draws = np.random.default_rng(stream_seed(0, "qualities of experts"))
    return draws.beta(0.7, 0.7, (NUM_KINDS, NUM_EXPERTS))


def documents(split: str, tokens: int = TOKENS) -> Split:
    """Documents of so many tokens, each of one of the three kinds that its document has, of twelve.

    An input is one token: the experts' qualities for it (8 columns), its kind (12), the kinds of
    the document (12), and its place in [0, 1). The label is 1: the network of the same name gives
    it the probability that the chosen expert is right.
    """
    draws = np.random.default_rng(stream_seed(0, f"documents of {split}"))
    count = SIZES[split]
    # The first of a random order are a random choice without repeats.
    document_kinds = draws.random((count, NUM_KINDS)).argsort(axis=1)[:, :KINDS_OF_DOCUMENT]
    kinds = np.take_along_axis(
        document_kinds, draws.integers(KINDS_OF_DOCUMENT, size=(count, tokens)), 1
    )
    every = np.eye(NUM_KINDS)
    there = every[document_kinds].sum(axis=1)[:, None].repeat(tokens, axis=1)
    places = np.broadcast_to(np.arange(tokens) / tokens, kinds.shape)[..., None]
    inputs = np.concatenate([qualities()[kinds], every[kinds], there, places], axis=2)
    return split_of_positions(inputs)


class OneExpert(nn.Module):
    """Answers as the one expert that was kept; of none or several no answer is right."""

    def forward(self, tallies: Tensor) -> Tensor:
        """Sum of qualities, and how many experts there were: [rows, 2] -> logits [rows, 2]."""
        quality, count = tallies.unbind(dim=1)
        right = torch.where((count - 1).abs() < 0.5, quality, 0.0)
        return as_logits(torch.stack([1 - right, right], dim=1))


class Documents(GatedSequential):
    """Eight experts, one of which answers each token; with `fast_memory` it may have to be loaded.

    No state goes on from token to token but what lies in memory, which is the environment's.
    """

    abilities: Abilities = (*GatedSequential.abilities, Continues)
    has_own_weights = True

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

    def empty_state(self, inputs: Tensor) -> tuple[()]:
        """See `Continues`: nothing goes on."""
        return ()

    def read(self, inputs: Tensor, state: tuple[()]) -> Flow:
        """See `Continues`."""
        return self.start(inputs)

    def advance(self, hidden: Flow) -> tuple[()]:
        """See `Continues`."""
        return ()


def memories(size: int, experts: int = NUM_EXPERTS) -> list[tuple[int, ...]]:
    """What may lie in memory, nothing first; the least recently used one first, if one ever leaves.

    >>> memories(1)[:3]
    [(), (0,), (1,)]
    """
    orders = itertools.combinations if size >= experts else itertools.permutations
    return [memory for n in range(size + 1) for memory in orders(range(experts), n)]


def loaded(
    memory: tuple[int, ...], expert: int, size: int, experts: int = NUM_EXPERTS
) -> tuple[int, ...]:
    """What lies in memory once an expert has been used."""
    kept = (*(one for one in memory if one != expert), expert)
    return tuple(sorted(kept)) if size >= experts else kept[-size:]


def values_of_documents(
    size: int, load_price: float, tokens: int, kinds: Sequence[int]
) -> list[NDArray[np.float64]]:
    """What is still earned at best, by what lies in memory: float64 [memories] for each token left.

    By dynamic programming, for documents of these kinds; arguments as of `best_of_documents`.
    """
    after, price = moves(size, load_price)
    quality, values = qualities(), [np.zeros(len(after))]
    for _ in range(tokens):
        ahead = values[-1][after] - price
        values.append(np.mean([(quality[kind] + ahead).max(axis=1) for kind in kinds], axis=0))
    return values


@functools.cache
def moves(
    size: int, load_price: float, experts: int = NUM_EXPERTS
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Where each expert leads, by the number of the memory, and what loading it costs there."""
    every = memories(size, experts)
    number = {memory: place for place, memory in enumerate(every)}
    pairs = [[loaded(memory, e, size, experts) for e in range(experts)] for memory in every]
    after = np.array([[number[one] for one in row] for row in pairs])
    there = np.array([[e in memory for e in range(experts)] for memory in every])
    return after, np.where(there, 0.0, load_price)


def best_of_documents(size: int, load_price: float, tokens: int = TOKENS) -> NDArray[np.float64]:
    """What the best policy earns of a document, by dynamic programming: float64 [triples].

    Args:
        size: experts in fast memory.
        load_price: of loading one.
        tokens: of a document.

    Returns:
        Mean returns for each three kinds that a document may have, in the order of `TRIPLES`.
    """
    returns = [values_of_documents(size, load_price, tokens, kinds)[-1][0] for kinds in TRIPLES]
    return np.array(returns)


@dataclass(frozen=True, kw_only=True)
class Loading(Problem):
    """Which expert answers each token, if those used last lie in fast memory and others do not."""

    memory: int = 2
    """experts that fit; of all of them none ever leaves, as where a batch loads each one once."""
    tokens: int = TOKENS
    """of a document."""
    load_price: float = 0.6
    """of loading one expert."""

    @property
    def rule(self) -> str:
        """See `Problem`."""
        return "the best expert, for all tokens"

    def settings(self) -> dict[str, Any]:
        """See `Problem`."""
        settings = settings_over_time(0.0, load_weight=self.load_price * NUM_EXPERTS)
        return settings | {"fast_memory": self.memory}

    def split(self, split: str) -> Split:
        """See `Problem`."""
        return documents(split, self.tokens)

    def network(self) -> Documents:
        """See `Problem`."""
        return Documents()

    def value(self, outcome: StepOutcome, cost_weight: Any) -> Tensor:
        """See `Problem`."""
        assert outcome.loads is not None
        loads: Tensor = outcome.loads
        return outcome.log_likelihood.exp() - self.load_price * NUM_EXPERTS * loads

    @property
    def positions(self) -> int:
        """See `Problem`."""
        return self.tokens

    def worst(self, cost_weight: Any) -> Any:
        """See `Problem`: every expert is loaded for every token."""
        return -self.load_price * NUM_EXPERTS * self.tokens

    def kinds(self) -> NDArray[np.int64]:
        """Kinds of the training documents and their tokens: int64 [documents, 3 and tokens]."""
        inputs = self.split("train").images
        assert isinstance(inputs, Tensor)
        rows = inputs.numpy().reshape(-1, self.tokens, inputs.shape[1])
        there = rows[:, 0, NUM_EXPERTS + NUM_KINDS : -1].nonzero()[1].reshape(-1, KINDS_OF_DOCUMENT)
        each = rows[:, :, NUM_EXPERTS : NUM_EXPERTS + NUM_KINDS].argmax(axis=2)
        return np.hstack([there, each])

    def optimum(self) -> float:
        """See `Problem`; of the training documents."""
        earned = best_of_documents(self.memory, self.load_price, self.tokens)
        number = {kinds: place for place, kinds in enumerate(TRIPLES)}
        document_kinds = self.kinds()[:, :KINDS_OF_DOCUMENT]
        return float(np.mean([earned[number[tuple(kinds)]] for kinds in document_kinds.tolist()]))

    def expert(self) -> int:
        """The expert of the reference."""
        each = self.kinds()[:, KINDS_OF_DOCUMENT:]
        return int(qualities()[each].mean(axis=(0, 1)).argmax())

    def reference(self) -> float:
        """See `Problem`."""
        each = self.kinds()[:, KINDS_OF_DOCUMENT:]
        quality = qualities()[each][..., self.expert()]
        return float(self.tokens * quality.mean() - self.load_price)
