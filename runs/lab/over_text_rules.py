"""Rules over time on real text: (what is known at a gate) -> whether it is kept; searched, fitted.

A rule is searched on validation sequences. One is fitted on training sequences instead: the gain of
keeping a gate, looked ahead by playing each sequence to its end with the gate kept and with it
skipped, by least squares of what a policy sees there and of the positions since it was kept.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ccenv.mdp.dynamics import EpisodeState
from ccenv.simulator.simulator import Simulator

SEARCHED, FITTED = 512, 2048
"""Validation sequences by which rules are searched, training sequences by which one is fitted."""
COMMON = 32
"""Commonest symbols, of which a table says what each does; others do what most do."""
NUM_THRESHOLDS = 24
COUNTING = ("best table by symbol and positions since", "fit of the gain by lookahead")
"""Rules that know how many positions ago a gate was kept: the searched one, the fitted one."""
LONG_SINCE = 3
"""Positions since a gate was kept that count as any longer time, also where it never was."""


@dataclass(frozen=True)
class Seen:
    """What a rule knows at a gate of a position; a row for each sequence."""

    step: int
    """positions times gates so far."""
    place: int
    symbol: Tensor
    """int64 [rows]; just read."""
    surprise: Tensor
    """[rows]; nats of that symbol under the answer before it; 0 before the first."""
    entropy: Tensor
    """[rows]; nats of that answer."""
    since: Tensor
    """int64 [rows]; positions since this gate was kept last, `LONG_SINCE` where that is longer."""
    state: EpisodeState
    """of the episode before the gate."""


Choose = Callable[[Seen], Any]
"""What is known -> whether each row keeps the gate, bool [rows], or one truth value for all."""


def play(simulator: Simulator, choose: Choose, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Returns of sequences under a rule, and mean compute costs of their positions: [n] each."""
    judged: Any = simulator.on_split(simulator.split, len(indices))
    judged.begin(indices)
    return follow(judged, choose)


def follow(judged: Any, choose: Choose) -> tuple[Tensor, Tensor]:
    """The same of sequences that have begun."""
    before, paid, costs, gates = None, 0.0, 0.0, judged.num_layers
    since = [torch.full((len(judged.indices),), LONG_SINCE) for _ in range(gates)]
    for step in range(judged.num_steps):
        gate, symbol = step % gates, judged.state.images[:, -1]
        if gate == 0:
            nothing = torch.zeros(len(symbol))
            surprise, entropy = nothing, nothing
            if before is not None:
                surprise = -before.gather(1, symbol[:, None])[:, 0]
                entropy = -(before.exp() * before).sum(dim=1)
        place, state = step // gates, judged.state
        kept = choose(Seen(step, place, symbol, surprise, entropy, since[gate], state))
        mask = torch.as_tensor(kept).expand(len(symbol)).unsqueeze(1)
        since[gate] = torch.where(mask[:, 0], 0, (since[gate] + 1).clamp(max=LONG_SINCE))
        taken = judged.step(mask)
        paid, costs = paid + taken.reward, costs + taken.outcome.layer_cost
        if taken.outcome.logits is not None:
            before = taken.outcome.logits.log_softmax(dim=1)
    return torch.as_tensor(paid), torch.as_tensor(costs) / judged.positions


def costs_of(simulator: Simulator, choose: Choose) -> float:
    """Mean compute cost of some sequences under a rule."""
    return float(play(simulator, choose, torch.arange(8))[1].mean())


def searched(
    shape: tuple[int, int], rule: Callable[[np.ndarray], Choose], score: "Score"
) -> Choose:
    """The best rule of bits [gates, n] that single flips find.

    They start from all, from none, and from each gate alone: where one gate can do another's work,
    no flip of a single bit leads from none to one of them.
    """
    starts = [np.full(shape, kept) for kept in (True, False)]
    if shape[0] > 1:
        starts += [
            np.eye(shape[0], dtype=bool)[:, [gate]].repeat(shape[1], axis=1)
            for gate in range(shape[0])
        ]
    ends = []
    for bits in starts:
        highest = score(rule(bits))
        for place in [*np.ndindex(shape)] * 2:
            tried = bits.copy()
            tried[place] = ~tried[place]
            if (value := score(rule(tried))) > highest:
                bits, highest = tried, value
        ends.append((highest, bits))
    return rule(max(ends, key=lambda one: one[0])[1])


Score = Callable[[Choose], float]
"""Mean return of a rule."""


def score_on(simulator: Simulator, *, searched: bool) -> Score:
    """The score on validation sequences: those that searches read, or the others.

    A search of many bits is good on what it has read. So others choose among rules.
    """
    judged = simulator.on_split("validation", SEARCHED)
    order = torch.arange(judged.num_episodes)
    indices = order[:SEARCHED] if searched else order[SEARCHED:]
    return lambda choose: float(play(judged, choose, indices)[0].mean())


def rules_of(
    simulator: Simulator, score: Score, *, counts: bool = False
) -> Iterator[tuple[str, Choose]]:
    """Names and rules that are searched, the best of each kind by a score on validation sequences.

    They cost no products. With `counts` some know how many positions ago a gate was kept.
    """
    validation = simulator.on_split("validation", SEARCHED)
    indices = torch.arange(min(SEARCHED, validation.num_episodes))
    yield "always", same(True)
    yield "never", same(False)
    patterns = [every_kth(every, first) for every in (2, 3, 4) for first in range(every)]
    yield "best every k-th", max(patterns, key=score)

    gates = simulator.num_layers

    def static(bits: np.ndarray) -> Choose:
        return lambda seen: bool(bits[seen.step % gates, seen.place])

    yield "best static pattern", searched((gates, simulator.positions), static, score)
    symbols = validation.data.batch(torch.arange(len(indices) * simulator.positions))[0][:, -1]
    common = symbols.bincount(minlength=129).argsort(descending=True)[:COMMON]
    number = torch.full((129,), COMMON)
    number[common] = torch.arange(len(common))

    def table(bits: np.ndarray) -> Choose:
        of_gate = torch.from_numpy(bits)
        return lambda seen: of_gate[seen.step % gates][number[seen.symbol]]

    yield "best table by symbol", searched((gates, COMMON + 1), table, score)

    def counting(bits: np.ndarray) -> Choose:
        of_gate = torch.from_numpy(bits).view(gates, COMMON + 1, LONG_SINCE + 1)
        return lambda seen: of_gate[seen.step % gates][number[seen.symbol], seen.since]

    if counts:
        shape = gates, (COMMON + 1) * (LONG_SINCE + 1)
        yield COUNTING[0], searched(shape, counting, score)
    for name in ("surprise", "entropy"):
        seen_values: list[Tensor] = []

        def watch(seen: Seen, name: str = name, values: list[Tensor] = seen_values) -> bool:
            values.append(getattr(seen, name))
            return True

        play(validation, watch, indices)
        levels = torch.cat(seen_values[gates:]).quantile(torch.linspace(0, 1, NUM_THRESHOLDS))
        for kept_is in ("above", "below"):
            tried = [
                alone(threshold(name, float(level), kept_is), gates, gate, others)
                for level in levels
                for gate, others in [(None, True), *alone_in(gates)]
            ]
            yield f"best threshold, kept {kept_is} in {name}", max(tried, key=score)


def fitted(simulator: Simulator, behind: Choose) -> tuple[Choose, int]:
    """A rule that keeps a gate where least squares say that it pays, and its MACs of a position.

    What it pays is looked ahead on training sequences that follow the rule `behind`.
    """
    train, gates = simulator.on_split("train", FITTED), simulator.num_layers
    order = torch.randperm(train.num_episodes, generator=torch.Generator().manual_seed(0))
    indices, met = order[:FITTED], []

    def watch(seen: Seen) -> Any:
        met.append(features(seen))
        return behind(seen)

    def features(seen: Seen) -> Tensor:
        observed = simulator.observe(seen.state)
        return torch.cat([observed, one_hot(seen.since, LONG_SINCE + 1)], dim=1)

    def with_one(step: int, kept: bool) -> Choose:
        return lambda seen: kept if seen.step == step else behind(seen)

    play(train, watch, indices)
    gains = []
    for step in range(train.num_steps):
        kept, skipped = (play(train, with_one(step, one), indices)[0] for one in (True, False))
        gains.append(kept - skipped)
    weights = [
        torch.linalg.lstsq(torch.cat(met[gate::gates]), torch.cat(gains[gate::gates])[:, None])
        for gate in range(gates)
    ]
    macs = sum(simulator.observe.lengths[:gates])
    return lambda seen: (features(seen) @ weights[seen.step % gates].solution)[:, 0] > 0, macs


def alone_in(gates: int) -> list[tuple[int | None, bool]]:
    """Each of several gates, with the others kept and skipped."""
    return [(gate, others) for gate in range(gates) for others in (True, False) if gates > 1]


def alone(choose: Choose, gates: int, gate: int | None, others: bool) -> Choose:
    """A rule of one gate, where the others are kept or skipped; of all gates without one."""
    return lambda seen: choose(seen) if gate in (None, seen.step % gates) else others


def same(kept: bool) -> Choose:
    """Keeps every gate, or none."""
    return lambda seen: kept


def every_kth(every: int, first: int) -> Choose:
    """Keeps every so many-th position."""
    return lambda seen: seen.place % every == first


def threshold(name: str, level: float, kept_is: str) -> Choose:
    """Keeps where a number is above a level, or below; the first position always."""

    def choose(seen: Seen) -> Tensor:
        value = getattr(seen, name)
        return (value > level if kept_is == "above" else value < level) | (seen.place == 0)

    return choose


TAUGHT_BY = {
    "always": same(True),
    "every second": every_kth(2, 0),
    "surprise": threshold("surprise", 1.0, "above"),
}
"""Rules under which weights learn."""
