"""Results of runs to rows of a table: means, intervals over seeds, the Pareto front, verdicts.

Rows of different data sets are in one list but are never compared with each other. Policies that
satisfy a reward without using the input at all are named: "always on", "uniform", ...
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ccenv.base.mask_words import BOTH, in_files
from ccenv.runs.stats.intervals import (
    Interval,
    compare_intervals,
    mean_interval,
    paired_difference,
)
from ccenv.runs.stats.measures import (
    RANDOM_MASKS,
    Result,
    bits_in,
    dataset_of,
    evaluation,
    mask_gap,
    memory_of,
    method_of,
    network_shape,
    repeated,
    shown_evaluation,
    shown_masks,
)

FLOORS = (RANDOM_MASKS, "dense")
"""Agents that stand on the Pareto front of random masks."""
Curve = Sequence[tuple[float, float]]
"""(total cost, error) of random masks of several rates, by cost: the least error for so much."""


@dataclass(frozen=True)
class OtherMasks:
    """What a policy does under the kind of masks that its row does not show, mean over seeds."""

    masks: str
    """which, as in `Row`."""
    error: float
    """share of wrong answers."""
    total_cost: float | None
    """executed MACs and the policy's own over the dense network's; None where these are unknown."""


@dataclass(frozen=True)
class Row:
    """One label of a sweep, judged on test inputs."""

    label: str
    """what the sweep calls it."""
    method: str
    """what it is a variant of."""
    agent: str
    """its name."""
    dataset: str
    """inputs that it is judged on."""
    shaping: str
    """the reward that it learned from; says nothing about its rank."""
    seeds: tuple[int, ...]
    """those with a result."""
    masks: str
    """how masks were chosen, as files say it; see `shown_masks`."""
    learns: bool
    """False for rules."""
    uses_labels: bool
    """True for ceilings."""
    error: Interval
    """share of wrong answers."""
    compute_cost: Interval
    """executed MACs over the dense network's."""
    total_cost: Interval | None
    """the same with the policy's MACs; None where these are unknown."""
    macs: Interval | None
    """executed MACs of an input with the policy's own; comparable between networks."""
    mode_error: Interval
    """share of wrong answers with greedy masks instead of sampled ones."""
    mode_macs: Interval | None
    """MACs of an input with those."""
    other_error: Interval | None
    """share of wrong answers with the other of sampled and greedy masks; None of rules and
    functions."""
    density: tuple[float, ...]
    """share of blocks kept in each gated layer."""
    speedup: dict[str, float]
    """inputs of a pass -> dense time over time, median over seeds; empty for ceilings."""
    on_front: bool
    """whether no other row (ceilings aside) has less error and fewer MACs."""
    dropout_error: Interval | None
    """random masks' error at the same total cost; None where their rates do not reach it."""
    above_random: Interval | None
    """the one number: error minus random masks' at the same total cost, paired by seed."""
    verdict: str
    """whether that interval is below 0 ("better") or above; else why there is none."""
    memory_bytes: float | None
    """of network and policy, mean over seeds; None where a result was recorded before it was."""
    habits: dict[str, int]
    """ways in which a learned policy ignores the input -> in how many seeds; see `HABITS`."""
    bits: Interval | None = None
    """of a text: bits a symbol, nll / ln 2; None where inputs are no symbols."""
    added: bool = False
    """whether it stands among another's rows."""
    same_as: str = ""
    """label of the row whose results it repeats in all common seeds, and in how many if one row has
    more; "" of all others."""
    other_masks: OtherMasks | None = None
    """the other kind of masks, where error or cost are far off; see `far_off`."""


def make_rows(
    results: Mapping[str, Sequence[Result]], deterministic: bool | None = None
) -> list[Row]:
    """Summarises the results of each label."""
    present = {label: runs for label, runs in results.items() if runs}
    same = repeated(present)
    for label, other in same.items():
        fewer, more = sorted(len(present[name]) for name in (label, other))
        same[label] += f" in {fewer} of {more} seeds" if fewer < more else ""
    random = random_masks_at_cost(present, deterministic)
    rows = [
        make_row(label, runs, deterministic, random.get(label, ({}, "")), same.get(label, ""))
        for label, runs in present.items()
    ]
    places: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row.macs and not row.uses_labels:
            places.setdefault(row.dataset, []).append((row.macs.mean, row.error.mean))
    return [
        dataclasses.replace(
            row,
            on_front=row.macs is not None
            and not row.uses_labels
            and not dominated((row.macs.mean, row.error.mean), places[row.dataset]),
        )
        for row in rows
    ]


def dominated(point: tuple[float, float], others: Iterable[tuple[float, float]]) -> bool:
    """Whether another point is at least as good in both and better in one.

    >>> dominated((0.5, 0.1), [(0.5, 0.1), (0.4, 0.2)])
    False
    """
    return any(x <= point[0] and y <= point[1] and (x, y) != point for x, y in others)


def make_row(
    label: str,
    results: Sequence[Result],
    deterministic: bool | None,
    random: tuple[Mapping[int, float], str],
    same_as: str,
) -> Row:
    """Summarises the results of one label.

    Args:
        label: what the sweep calls it.
        results: one a seed, at least one.
        deterministic: see `make_rows`.
        random: random masks' errors as `random_masks_at_cost` gives them.
        same_as: see `Row`.
    """
    first, verdicts = results[0], [shown_evaluation(r, deterministic) for r in results]
    modes = [shown_evaluation(r, True) for r in results]
    shown = shown_masks(first, deterministic)
    has_others = first["learns"] and shown is not None

    def mean_of(name: str, verdicts: Sequence[Mapping[str, Any]] = verdicts) -> Interval:
        return mean_interval([v[name] for v in verdicts])

    def known_mean(name: str, verdicts: Sequence[Mapping[str, Any]] = verdicts) -> Interval | None:
        numbers = known([v[name] for v in verdicts])
        return mean_interval(numbers) if numbers else None

    floors, verdict = random
    errors = {r["seed"]: v["error"] for r, v in zip(results, verdicts, strict=True)}
    above = paired_difference(errors, floors)
    if above is not None:
        verdict = compare_intervals(above, Interval(0.0, 0.0, 0.0, 0.0))
    bits = known([bits_in(r, v) for r, v in zip(results, verdicts, strict=True)])
    memory = known([memory_of(result) for result in results])
    speedups: dict[str, list[float]] = {}
    for result in results:
        for latency in result["latency"]:
            speedups.setdefault(str(latency["batch_size"]), []).append(latency["speedup"])
    return Row(
        label=label,
        method=method_of(first),
        agent=first["agent"],
        dataset=dataset_of(first),
        shaping=first["reward"],
        seeds=tuple(r["seed"] for r in results),
        masks=in_files(shown),
        learns=first["learns"],
        uses_labels=first["uses_labels"],
        error=mean_of("error"),
        compute_cost=mean_of("compute_cost"),
        total_cost=known_mean("total_cost"),
        macs=known_mean("macs"),
        mode_error=mean_of("error", modes),
        mode_macs=known_mean("macs", modes),
        other_error=mean_of("error", [evaluation(r, not shown) for r in results])
        if has_others
        else None,
        density=tuple(np.mean([v["density"] for v in verdicts], axis=0).tolist()),
        speedup={size: float(np.median(values)) for size, values in speedups.items()},
        on_front=False,
        dropout_error=mean_interval(list(floors.values())) if floors else None,
        above_random=above,
        verdict=verdict,
        memory_bytes=float(np.mean(memory)) if memory else None,
        habits=habits_of(results, [v["density"] for v in verdicts]) if first["learns"] else {},
        bits=mean_interval(bits) if bits else None,
        added=first.get("added", False),
        same_as=same_as,
        other_masks=far_off(results, shown) if first["learns"] else None,
    )


FAR = 0.25
"""Relative difference of two costs that a reader should know of."""


def far_off(results: Sequence[Result], shown: bool | None) -> OtherMasks | None:
    """Error and cost of one row's other kind of masks, None where they are much as those shown.

    Much: errors by `mask_gap`, or compute costs by more than a quarter of the larger one.

    >>> def run(sampled, greedy):
    ...     costs = {"sampled": sampled, "mode": greedy}
    ...     shared = {"split": "test", "error": 0.05, "num_images": 500, "agent": "rloo"}
    ...     return {"agent": "rloo", "evaluations": [
    ...         {**shared, "mode": m, "compute_cost": c, "total_cost": c} for m, c in costs.items()
    ...     ]}
    >>> far_off([run(0.2, 0.1)], False), far_off([run(0.2, 0.19)], False)
    (OtherMasks(masks='mode', error=0.05, total_cost=0.1), None)
    """
    if shown is None:
        return None

    def mean_of(name: str, greedy: bool) -> float:
        return float(
            np.mean(known([evaluation(one, greedy)[name] for one in results]) or [math.nan])
        )

    errors, costs = (
        [mean_of(name, greedy) for greedy in BOTH] for name in ("error", "compute_cost")
    )
    num_inputs = sum(evaluation(one, shown)["num_images"] for one in results)
    is_far = max(costs) - min(costs) > FAR * max(costs)
    if not is_far and not mask_gap(errors[0], errors[1], num_inputs):
        return None
    total, other = mean_of("total_cost", not shown), in_files(not shown)
    return OtherMasks(other, mean_of("error", not shown), None if math.isnan(total) else total)


def known(numbers: Sequence[float | None]) -> list[float]:
    """Numbers of all seeds; none where that of one is not known."""
    present = [number for number in numbers if number is not None]
    return present if len(present) == len(numbers) else []


def random_masks_at_cost(
    results: Mapping[str, Sequence[Result]], deterministic: bool | None
) -> dict[str, tuple[dict[int, float], str]]:
    """Label -> (seed -> random masks' error at the total cost of that seed's run; or why not).

    Of all but ceilings and the random masks themselves, and of seeds that random masks have, too;
    none of these has one unless all have.
    """
    floors: dict[str, list[Result]] = {}
    for runs in results.values():
        if runs and runs[0]["agent"] in FLOORS:
            floors.setdefault(dataset_of(runs[0]), []).extend(runs)
    at_cost = {}
    for label, runs in results.items():
        if not runs or runs[0]["agent"] in FLOORS or runs[0]["uses_labels"]:
            continue
        curves = dropout_curves(floors.get(dataset_of(runs[0]), []), deterministic, runs[0])
        costs = {r["seed"]: shown_evaluation(r, deterministic)["total_cost"] for r in runs}
        why = "outside its costs" if curves else "no block_dropout"
        if None in costs.values():
            errors, why = [], "unknown cost"
        else:
            costs = {seed: cost for seed, cost in costs.items() if seed in curves}
            errors = known([error_at(curves[seed], cost) for seed, cost in costs.items()])
        at_cost[label] = dict(zip(costs, errors, strict=bool(errors))), why
    return at_cost


def dropout_curves(
    floors: Iterable[Result], deterministic: bool | None, like: Result
) -> dict[int, Curve]:
    """For each seed random masks' (total cost, error), up to the dense network's.

    A rate that a cheaper one beats has that one's error: spending more is no must.

    Args:
        floors: results of agents in `FLOORS`.
        deterministic: see `make_rows`.
        like: whose network they must have: random blocks of another are no floor.
    """
    blocks, rest = network_shape(like)
    curves: dict[int, list[tuple[float, float]]] = {}
    for result in floors:
        own_blocks, own_rest = network_shape(result)
        # With every block kept, blocks make no difference.
        is_dense = "dense" in (result["agent"], like["agent"])
        if own_rest == rest and (is_dense or own_blocks == blocks):
            verdict = shown_evaluation(result, deterministic)
            curves.setdefault(result["seed"], []).append((verdict["total_cost"], verdict["error"]))
    fronts: dict[int, Curve] = {}
    for seed, points in curves.items():
        costs, errors = zip(*sorted(points), strict=True)
        least = np.minimum.accumulate(errors).tolist()
        fronts[seed] = list(zip(costs, least, strict=True))
    return fronts


def error_at(curve: Curve, cost: float) -> float | None:
    """Error at a cost, linear in its logarithm between two rates; None beyond them.

    Where the dense network is the end of the curve, that is the end for dearer policies, too.

    >>> round(error_at([(0.01, 1.0), (1.0, 0.0)], 0.1), 3)
    0.5
    """
    costs, errors = zip(*[point for point in curve if point[0] > 0] or [(1.0, 1.0)], strict=True)
    cost = min(cost, costs[-1]) if costs[-1] >= 1 else cost
    if len(costs) < 2 or not costs[0] <= cost <= costs[-1]:
        return None
    return float(np.interp(np.log(cost), np.log(costs), errors))


NEARLY = 0.02
"""A density so near to 0 or 1 counts as such."""
SLACK = 0.02
"""Standard deviation of block use between classes, or blocks, that is no difference."""
HABITS = ("always on", "always off", "uniform", "same for all classes")
"""Kinds of degenerate policies."""
RULE = (
    f"Always on: at least {1 - NEARLY:.0%} of the blocks of every layer are kept; always off: at "
    f"most {NEARLY:.0%}. Same for all classes: in every layer the use of a block has a standard "
    f"deviation between classes of at most {SLACK} beyond what drawing masks for so few images "
    "would give; uniform: between blocks too. "
    "Each seed is judged by itself; where not all fell into it, their number is said."
)
"""The rule, for the report."""


def habits_of(
    results: Sequence[Mapping[str, Any]], densities: Sequence[Sequence[float]]
) -> dict[str, int]:
    """Degenerate behaviour of one label's policies.

    Args:
        results: one for each seed; their `block_use` is in per cent, [layer][class][block].
        densities: of each, share of blocks kept in each gated layer.

    Returns:
        Word of `HABITS` -> number of seeds, in that order; without those that no seed has.
    """
    words = [habit_of(result, density) for result, density in zip(results, densities, strict=True)]
    return {word: words.count(word) for word in HABITS if word in words}


def habits_in_words(row: Mapping[str, Any]) -> str:
    """The word where all seeds have it, else each with its seeds.

    >>> habits_in_words({"habits": {"uniform": 2, "always on": 1}, "seeds": range(5)})
    'uniform (2 of 5 seeds); always on (1 of 5 seeds)'
    """
    habits, num_seeds = row["habits"], len(row["seeds"])
    if list(habits.values()) == [num_seeds]:
        return str(next(iter(habits)))
    return "; ".join(f"{word} ({number} of {num_seeds} seeds)" for word, number in habits.items())


def habit_of(result: Mapping[str, Any], density: Sequence[float]) -> str:
    """Degenerate behaviour of one policy, "" if there is none."""
    if all(value >= 1 - NEARLY for value in density):
        return "always on"
    if all(value <= NEARLY for value in density):
        return "always off"
    if not result.get("block_use"):
        return ""
    (images, *_) = (int(e["num_images"]) for e in result["evaluations"] if e["split"] == "test")
    is_even = True
    for layer in result["block_use"]:
        use = np.asarray(layer, dtype=np.float64) / 100
        # Variance of each block's use that drawing masks for so few inputs gives.
        chance = (use * (1 - use)).mean(axis=0) / images
        between_classes = np.maximum(use.var(axis=0) - len(use) * chance, 0)
        if np.sqrt(between_classes).mean() > SLACK:
            return ""
        between_blocks = max(0.0, use.mean(axis=0).var() - chance.mean())
        is_even = is_even and math.sqrt(between_blocks) <= SLACK
    return "uniform" if is_even else "same for all classes"


def runs_fallen(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Word of `HABITS` -> number of runs, over all rows and their seeds."""
    counts: Counter[str] = Counter()
    for row in rows:
        counts.update(row["habits"])
    return {word: counts[word] for word in HABITS if counts[word]}
