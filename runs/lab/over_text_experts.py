"""Experts in a fast memory on real text: (network, size of memory, price) -> rules and a bound.

One of 16 experts of `lm` computes each position, and one that is not in memory is loaded. With one
layer no later position reads what an expert gave, so each expert's log-likelihoods at each
position say all that a choice is worth; the rest is what lies in memory. Where these are known, the
best choices are found by dynamic programming.

The network learns behind a router, one expert a position, with others hidden at random, so that
neighbours can stand in: a frozen mixture of experts as those of Eliseev and Mazur 2023 (arXiv
2312.17238). Rules on its scores are those of Skliar et al. 2024 (arXiv 2412.00099).
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from ccenv.annexes.agents.straight_through_ops import load_balance
from ccenv.annexes.networks.text.transformer import LanguageModel
from ccenv.annexes.tasks.loading import moves
from ccenv.base.seeding import stream
from ccenv.data import Split
from ccenv.mdp import dynamics
from ccenv.networks.core.abilities import Beforehand
from ccenv.networks.core.protocol import Abilities
from ccenv.simulator.simulator import Simulator

UPDATES, SEQUENCES, LEARNING_RATE, BALANCE = 3000, 64, 2e-3, 0.01
"""Of the network: updates, sequences of each, rate at the start, weight of the load balance."""
COMMON = 32
"""Commonest symbols, of which a table says the expert; others have one together."""
BONUSES = [*np.linspace(0, 8, 33)]


class Judged(NamedTuple):
    """What decides, and what came of it."""

    decides: str
    score: float
    """nats of a position with the price on validation sequences; NaN of a bound."""
    objectives: Tensor
    """[n]; the same of the first n test sequences."""
    spent: float
    """share of the price, mean over these."""


class RoutedText(LanguageModel):
    """`lm` of one layer with a router, whose log-probabilities the look shows before the features.

    The router's MACs are not counted.
    """

    abilities: Abilities = (*LanguageModel.abilities, Beforehand)

    def __init__(
        self,
        input_shape: tuple[int, ...] = (32,),
        num_classes: int = 128,
        width: int = 48,
        num_heads: int = 4,
        num_experts: int = 16,
        ffn_width: int = 48,
    ) -> None:
        """Builds the network; arguments as of `LanguageModel`."""
        super().__init__(
            input_shape,
            num_classes,
            depth=1,
            width=width,
            num_heads=num_heads,
            ffn_width=ffn_width,
            num_experts=num_experts,
            gates="experts",
        )
        gate = self.gates[0]
        self.router = nn.Linear(self.width, gate.num_blocks)
        self.gates = (dataclasses.replace(gate, look_size=gate.num_blocks + self.width),)

    def look(self, gate: int, hidden: Any) -> Tensor:
        """Log-probabilities of the experts, and the features that these read."""
        features = super().look(gate, hidden)
        return torch.cat([self.router(features).log_softmax(dim=1), features], dim=1)

    def learn_beforehand(self, split: Split) -> None:
        """Learns with the router's first expert of those that are not hidden at a position.

        A kept expert counts in full, and its share has the gradient.
        """
        draws, rows, blocks = stream(0, "routed text"), SEQUENCES * self.window, self.num_blocks[0]
        optimizer = torch.optim.AdamW(self.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, UPDATES)
        order = torch.empty(0, dtype=torch.int64)
        self.train()
        for _ in range(UPDATES):
            order = split.shuffled(draws) if len(order) < rows else order
            (inputs, labels), order = split.batch(order[:rows]), order[rows:]
            hidden = self.start(inputs)
            hides = torch.rand(rows, blocks, generator=draws) < torch.rand(rows, 1, generator=draws)
            scores = self.look(0, hidden)[:, :blocks]
            shares = scores.masked_fill(hides, -1e4).softmax(dim=1)
            mask = one_hot(shares.argmax(dim=1), blocks).bool()
            hidden = self.step(0, hidden, mask, shares / shares.detach().clamp(min=1e-9) * mask)
            loss = cross_entropy(self.logits(hidden), labels)
            optimizer.zero_grad()
            (loss + BALANCE * load_balance(scores, mask)).backward()
            optimizer.step()
            schedule.step()
        self.eval()


class TriedExperts(NamedTuple):
    """Of sequences what each choice is worth, and what rules see: [sequences, positions, ...]."""

    likely: Tensor
    """float64 [..., experts]; log-likelihood of the next symbol where one computes."""
    scores: Tensor
    """float32 [..., experts]; the router's log-probabilities."""
    symbols: Tensor
    """int64 [...]; just read."""


@torch.no_grad()
def try_experts(simulator: Simulator, split: str, count: int) -> TriedExperts:
    """Tries every expert at every position of the first sequences of a split."""
    judged: Any = simulator.on_split(split, count)
    indices = torch.arange(min(count, judged.num_episodes))
    judged.begin(indices)
    experts, positions = judged.num_blocks[0], []
    masks = torch.eye(experts, dtype=torch.bool)[:, None].expand(-1, len(indices), -1)
    for _ in range(judged.positions):
        state = judged.state
        scores = judged.network.look(0, state.hidden)[:, :experts]
        tried = [dynamics.transition(judged.network, state, mask)[1] for mask in masks]
        likely = torch.stack([one.log_likelihood for one in tried], dim=1).double()
        positions.append((likely, scores, state.images[:, -1]))
        judged.step(masks[0])
    return TriedExperts(*(torch.stack(parts, dim=1) for parts in zip(*positions, strict=True)))


Choose = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Scores [n, experts], which experts are in memory, bool [n, experts], and symbols [n] -> int64
[n], an expert for each row."""


def play(seen: TriedExperts, choose: Choose, size: int) -> tuple[Tensor, Tensor]:
    """Log-likelihoods and misses of sequences under a rule: float64 [n] each."""
    count, positions, experts = seen.likely.shape
    after, misses = (torch.from_numpy(part) for part in moves(size, 1.0, experts))
    place, rows = torch.zeros(count, dtype=torch.int64), torch.arange(count)
    likely, missed = torch.zeros(2, count, dtype=torch.float64)
    for position in range(positions):
        is_there = misses[place] == 0
        chosen = choose(seen.scores[:, position], is_there, seen.symbols[:, position])
        likely = likely + seen.likely[rows, position, chosen]
        missed = missed + misses[place, chosen]
        place = after[place, chosen]
    return likely, missed


def best_ahead(seen: TriedExperts, size: int, price: float) -> tuple[Tensor, Tensor]:
    """Log-likelihoods and misses of the best choices, future known: float64 [n] each.

    By dynamic programming over what lies in memory.
    """
    after, misses = moves(size, 1.0, seen.likely.shape[2])
    sums_of = []
    for likely in seen.likely.numpy():
        values, best = np.zeros(len(after)), []
        for likelihoods in likely[::-1]:
            worth = likelihoods - price * misses + values[after]
            best.append(worth.argmax(axis=1))
            values = worth.max(axis=1)
        place, sums = 0, np.zeros(2)
        for likelihoods, choices in zip(likely, best[::-1], strict=True):
            chosen = choices[place]
            sums += likelihoods[chosen], misses[place, chosen]
            place = after[place, chosen]
        sums_of.append(sums)
    likely, missed = torch.from_numpy(np.array(sums_of)).T
    return likely, missed


def best_now(seen: TriedExperts, size: int, price: float) -> tuple[Tensor, Tensor]:
    """The same of choices that pay best at their own position, its label known."""
    worth = iter(seen.likely.unbind(dim=1))
    return play(seen, lambda scores, is_there, _: (next(worth) + price * is_there).argmax(1), size)


def with_bonus(bonus: float) -> Choose:
    """The highest score, where experts in memory have a bonus."""
    return lambda scores, is_there, symbols: (scores + bonus * is_there).argmax(dim=1)


def among_first(count: int) -> Choose:
    """The best in memory among the router's first; its first where none of these is there."""

    def choose(scores: Tensor, is_there: Tensor, symbols: Tensor) -> Tensor:
        rank = scores.argsort(dim=1, descending=True).argsort(dim=1)
        return (scores + 1e4 * (is_there & (rank < count))).argmax(dim=1)

    return choose


def by_symbol(table: Tensor, number: Tensor) -> Choose:
    """An expert for each number of a symbol."""
    return lambda scores, is_there, symbols: table[number[symbols]]


def rules(
    validation: TriedExperts, score: Callable[[Choose], float]
) -> Iterator[tuple[str, Choose]]:
    """Names and rules, each the best of its kind by a score on validation sequences, lowest."""
    experts = validation.scores.shape[2]
    yield "the router, memory not seen", with_bonus(0.0)
    yield "best cache prior", min(map(with_bonus, BONUSES), key=score)
    yield "best in memory of the first k", min(map(among_first, range(1, experts + 1)), key=score)
    common = validation.symbols.flatten().bincount(minlength=129).argsort(descending=True)
    number = torch.full((129,), COMMON)
    number[common[:COMMON]] = torch.arange(COMMON)
    alone = [torch.full((COMMON + 1,), expert) for expert in range(experts)]
    best = min(alone, key=lambda table: score(by_symbol(table, number)))
    yield "best single expert", by_symbol(best, number)
    first = torch.stack(
        [
            validation.scores[number[validation.symbols] == one].sum(dim=0)
            for one in range(COMMON + 1)
        ]
    ).argmax(dim=1)
    ends = [searched(start, number, score) for start in (best, first)]
    yield "best table by symbol", by_symbol(min(ends, key=lambda one: one[0])[1], number)


def searched(
    table: Tensor, number: Tensor, score: Callable[[Choose], float]
) -> tuple[float, Tensor]:
    """The lowest score of a table that single changes find, in two passes, and that table."""
    lowest = score(by_symbol(table, number))
    for place in [*range(len(table))] * 2:
        for expert in table.unique().tolist():
            tried = table.clone()
            tried[place] = expert
            if (value := score(by_symbol(tried, number))) < lowest:
                table, lowest = tried, value
    return lowest, table


@torch.no_grad()
def start_at_router(agent: Any) -> None:
    """Gives a policy of affine scores those of the router, whatever lies in memory."""
    (weight, bias), experts = agent.scores.maps(0)[0], agent.num_blocks[0]
    weight.zero_()
    bias.zero_()
    # What lies in memory is shown first.
    weight[:, experts : 2 * experts] = torch.eye(experts)


def judge(
    simulator: Simulator, size: int, searched_by: int, bound: int
) -> Callable[[float], tuple[list[Judged], list[Judged]]]:
    """Price -> rules, and what knows more than a policy may.

    Args:
        simulator: of the network.
        size: of the memory.
        searched_by: validation sequences by which rules are chosen.
        bound: test sequences of which the best choices are found.
    """
    validation = try_experts(simulator, "validation", searched_by)
    test = try_experts(simulator, "test", simulator.on_split("test", 8).num_episodes)
    few, positions = TriedExperts(*(part[:bound] for part in test)), simulator.positions

    def of_price(price: float) -> tuple[list[Judged], list[Judged]]:
        def nats(likely: Tensor, missed: Tensor) -> Tensor:
            return (price * missed - likely) / positions

        def score(choose: Choose) -> float:
            return float(nats(*play(validation, choose, size)).mean())

        def judged(decides: str, value: float, sums: tuple[Tensor, Tensor]) -> Judged:
            return Judged(decides, value, nats(*sums), float(sums[1].mean()) / positions)

        of_rules = [
            judged(name, score(choose), play(test, choose, size))
            for name, choose in rules(validation, score)
        ]
        more = {"best choices, future known": best_ahead, "best now, label known": best_now}
        bounds = [
            judged(f"{name} ({bound} sequences)", math.nan, find(few, size, price))
            for name, find in (more.items() if bound else ())
        ]
        return of_rules, bounds

    return of_price
