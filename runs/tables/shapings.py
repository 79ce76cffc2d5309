"""Rewards compared: `Shapings` of one agent, or rows of several -> tables of a terminal and a page.

At common costs and errors for one agent; for several a line for each reward over all of them.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ccenv.runs.stats.intervals import (
    FEWEST,
    Interval,
    mean_interval,
    paired_difference,
    with_interval,
)
from ccenv.runs.stats.measures import UNKNOWN, dataset_of, shown_evaluation
from ccenv.runs.stats.rows import RULE, random_masks_at_cost, runs_fallen
from ccenv.runs.stats.shapings import RISEN, BySeed, Results, Shapings
from ccenv.runs.stats.verdict import AGAINST_RANDOM
from ccenv.runs.tables.sweep_table import Columns, Row, Table, by_dataset, read_columns

NOTE = (
    "What one agent reaches under each reward, over its cost weights. At MACs of one input, the "
    "policy's own included: test error, of rows that no cheaper one beats on validation data, "
    "linear between two of them (drawing one of the two policies for each input reaches that). At "
    "an error: the least MACs. Both at numbers that all seeds of all rewards reach. At a share of "
    "the rise of its own return on validation data: thousands of training inputs, mean over cost "
    "weights. Last column: minus the first reward, paired by seed. Student's 95 % intervals, each "
    "for itself; less is better."
)
SHORT_NOTE = (
    "At MACs: test error in %. At an error: MACs. At a share of the return's rise: thousands of "
    "training inputs. Minus the first: paired by seed."
)
"""The same where there is little room."""


def shapings_table(shapings: Shapings, among: int = 1) -> Table:
    """A line for each reward at each common cost and error, and for how soon it learns.

    Args:
        shapings: of one data set.
        among: how many data sets there are; several are named.
    """
    measure, rewards, more = shapings.measure, shapings.rewards, (0.0, math.inf)
    groups: list[tuple[str, Mapping[str, BySeed], str, tuple[float, float]]] = []
    for macs in shapings.common_costs:
        errors = {one.name: one.errors_at(macs) for one in rewards}
        groups.append((f"{macs:,.0f} MACs", errors, measure.spec, measure.ends))
    for error in shapings.common_errors:
        at = f"{measure.factor * error:.3g} {measure.unit}{' error' * bool(measure.sign)}"
        groups.append((at, {one.name: one.macs_at(error) for one in rewards}, ",.0f", more))
    if all(one.soon for one in rewards):
        thousands = {one.name: {k: n / 1000 for k, n in one.soon.items()} for one in rewards}
        groups.append((f"{100 * RISEN:.0f} % of rise", thousands, ".1f", more))
    lines: list[Sequence[str]] = []
    for at, numbers, spec, ends in groups:
        first = numbers[rewards[0].name]
        for name, by_seed in numbers.items():
            mean = with_interval(mean_interval(list(by_seed.values())), len(by_seed), spec, ends)
            difference = None if by_seed is first else paired_difference(by_seed, first)
            shared = len(set(by_seed) & set(first))
            # Where a group of lines is stands in the first of them alone.
            place = at if by_seed is first else ""
            lines.append([place, name, mean, signed(difference, shared, spec)])
    name = "shapings-at-cost" + (f"-{shapings.dataset}" if among > 1 else "")
    columns = {"at": "left", "reward": "left", "mean": "right", "minus the first": "right"}
    title = f"{shapings.agent} under each reward, {shapings.dataset}"
    return Table(name, title, columns, lines, NOTE)


def signed(difference: Interval | None, num_seeds: int, spec: str) -> str:
    """A difference with its interval, its mean's sign written; "" where there is none.

    >>> signed(Interval(0.012, 0.001, 0.01, 0.02), 3, ".1%"), signed(None, 3, ".1%")
    ('+1.2 [1.0, 2.0]', '')
    """
    if difference is None:
        return ""
    text = with_interval(difference, num_seeds, spec, (-float("inf"), float("inf")))
    return text if text.startswith("-") else f"+{text}"


def from_least_to_most(numbers: Sequence[float], spec: str) -> str:
    """The smallest and the largest."""
    return f"{min(numbers):{spec}} to {max(numbers):{spec}}"


def from_to(rows: Sequence[Row], number: str, factor: float, spec: str) -> str:
    """The least and the greatest mean of a number of rows."""
    return from_least_to_most([factor * row[number]["mean"] for row in rows if row[number]], spec)


def count_verdicts(rows: Sequence[Row]) -> str:
    """How many rows have less error than random masks, the same, more, or no verdict.

    Rows of few seeds have none, as in the sentences.
    """
    judged = [row["verdict"] for row in rows if len(row["seeds"]) >= FEWEST]
    counts = [judged.count(verdict) for verdict in AGAINST_RANDOM]
    return " / ".join(map(str, [*counts, len(rows) - sum(counts)]))


def fallen(rows: Sequence[Row]) -> str:
    """How many runs ignore the input, by how."""
    num_runs = sum(len(row["seeds"]) for row in rows)
    return "\n".join(
        f"{word}: {number} of {num_runs}" for word, number in runs_fallen(rows).items()
    )


SHAPING_COLUMNS: Columns = {
    "shaping": ("left", "name"),
    "agents": ("right", lambda one: len({row["agent"] for row in one["rows"]})),
    "error above random masks' %": ("right", "above random"),
    "test error %": ("right", lambda one: from_to(one["rows"], "error", 100, ".2f")),
    "total cost": ("right", lambda one: from_to(one["rows"], "total_cost", 1, ".3f")),
    "random: less / same / more / none": ("right", lambda one: count_verdicts(one["rows"])),
    "collapsed runs": ("left", lambda one: fallen(one["rows"])),
}
SHAPING_NOTE = (
    "Error above random masks': error minus random masks' of the same network at the same total "
    "cost (between two rates on a logarithmic axis of cost), paired by seed; mean over the rows of "
    "each agent that learned under every shaping of the table, over these agents, then over seeds, "
    "with Student's 95 % interval. Lines are in "
    "the order of its mean, which is no verdict where intervals overlap. Error and total cost (the "
    "policy's own included): the smallest and the largest of all rows' means, such as of one agent "
    "under several cost weights. Random: rows with less error than random masks of the same "
    "total cost, not significantly different, with more, or with no verdict, as in the overview."
)


Policy = tuple[str, str, str]
"""Data set, reward and agent."""
Above = Mapping[Policy, Mapping[int, float]]
"""Policy -> seed -> error above random masks'."""


def policies_above_random(results: Results, deterministic: bool | None) -> Above:
    """Error minus random masks' at the same total cost: mean over the rows that have one.

    Seeds are those that all these rows have finished.
    """
    groups: dict[Policy, list[dict[int, float]]] = {}
    for label, (floors, _) in random_masks_at_cost(results, deterministic).items():
        if floors:
            first, *_ = runs = results[label]
            errors = {r["seed"]: shown_evaluation(r, deterministic)["error"] for r in runs}
            above = {seed: errors[seed] - floor for seed, floor in floors.items()}
            policy = dataset_of(first), first["reward"], first["agent"]
            groups.setdefault(policy, []).append(above)
    return {
        policy: {
            seed: sum(one[seed] for one in rows) / len(rows)
            for seed in sorted(set.intersection(*map(set, rows)))
        }
        for policy, rows in groups.items()
    }


def summary_tables(rows: Sequence[Row], above: Above) -> list[Table]:
    """What each shaping gives over all agents, where an agent learned under several.

    Else rewards differ with agents, and say nothing. Shapings are in rising order of their mean
    error above random masks' of the agents that learned under all of them; those without a seed
    that all these agents have finished come last.
    """
    tables, datasets = [], by_dataset(rows)
    for dataset, of_dataset in datasets.items():
        groups: dict[str, list[Row]] = {}
        for row in of_dataset:
            if row["learns"] and row["shaping"] != UNKNOWN:
                groups.setdefault(row["shaping"], []).append(row)
        under = [{row["agent"] for row in group} for group in groups.values()]
        if sum(map(len, under)) == len(set().union(*under)):
            continue
        shared = set.intersection(*under)
        agents = list(dict.fromkeys(row["agent"] for row in of_dataset if row["agent"] in shared))
        shapings: list[dict[str, Any]] = []
        for name, group in groups.items():
            numbers = [above.get((dataset, name, agent), {}) for agent in agents]
            seeds = sorted(set.intersection(*map(set, numbers))) if numbers else []
            means = [sum(one[seed] for one in numbers) / len(numbers) for seed in seeds]
            mean = mean_interval(means) if means else None
            share = with_interval(mean, len(means), ".2%", (-1, 1)) if mean else None
            shapings.append({"name": name, "above": mean, "above random": share, "rows": group})
        shapings.sort(key=lambda one: one["above"].mean if one["above"] else math.inf)
        note = (
            f"{SHAPING_NOTE} Agents under every shaping: {', '.join(agents) or 'none'}. Collapsed "
            f"runs: {RULE}"
        )
        file_name = "shapings-summary" + (f"-{dataset}" if len(datasets) > 1 else "")
        title = f"What each shaping gives, {dataset}"
        tables.append(Table(file_name, title, *read_columns(SHAPING_COLUMNS, shapings), note))
    return tables
