"""Rewards compared: `Shapings` of one agent, or rows of several -> tables of a terminal and a page.

At common costs and errors for one agent; for several a line for each reward over all of them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ccenv.runs.stats.intervals import (
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
    measure = shapings.measure
    lines: list[Sequence[str]] = []
    for macs in shapings.common_costs:
        numbers = {one.name: one.errors_at(macs) for one in shapings.rewards}
        lines += shapings_rows(f"{macs:,.0f} MACs", numbers, measure.spec, measure.ends)
    for error in shapings.common_errors:
        numbers = {one.name: one.macs_at(error) for one in shapings.rewards}
        at = f"{measure.factor * error:.3g} {measure.unit}{' error' * bool(measure.sign)}"
        lines += shapings_rows(at, numbers, ",.0f", (0.0, float("inf")))
    soon = {one.name: one.soon for one in shapings.rewards}
    if all(soon.values()):
        thousands = {k: {seed: n / 1000 for seed, n in v.items()} for k, v in soon.items()}
        lines += shapings_rows(
            f"{100 * RISEN:.0f} % of rise", thousands, ".1f", (0.0, float("inf"))
        )
    name = "shapings-at-cost" + (f"-{shapings.dataset}" if among > 1 else "")
    columns = {"at": "left", "reward": "left", "mean": "right", "minus the first": "right"}
    title = f"{shapings.agent} under each reward, {shapings.dataset}"
    return Table(name, title, columns, lines, NOTE)


def shapings_rows(
    at: str, numbers: Mapping[str, BySeed], spec: str, ends: tuple[float, float]
) -> list[Sequence[str]]:
    """Lines of one cost or one error; its name stands in the first of them alone."""
    lines: list[Sequence[str]] = []
    first = next(iter(numbers.values()))
    for name, by_seed in numbers.items():
        mean = with_interval(mean_interval(list(by_seed.values())), len(by_seed), spec, ends)
        difference = None if by_seed is first else paired_difference(by_seed, first)
        shared = len(set(by_seed) & set(first))
        lines.append(["" if lines else at, name, mean, signed(difference, shared, spec)])
    return lines


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


@dataclass(frozen=True)
class Shaping:
    """What agents reach under one reward on one data set."""

    name: str
    """the reward's."""
    by_seed: Mapping[int, float]
    """seed -> mean error above random masks' of the agents that learned under every shaping."""
    rows: Sequence[Row]
    """of all agents that learned under it."""

    @property
    def above(self) -> Interval | None:
        """Over seeds; None without any."""
        return mean_interval(list(self.by_seed.values())) if self.by_seed else None

    def means(self, number: str) -> list[float]:
        """Of a number of each row."""
        return [row[number]["mean"] for row in self.rows if row[number]]

    @property
    def verdicts(self) -> str:
        """How many rows have less error than random masks, the same, more, or no verdict."""
        counts = [sum(row["verdict"] == verdict for row in self.rows) for verdict in AGAINST_RANDOM]
        return " / ".join(map(str, [*counts, len(self.rows) - sum(counts)]))

    @property
    def collapsed(self) -> str:
        """How many runs ignore the input, by how."""
        num_runs = sum(len(row["seeds"]) for row in self.rows)
        fallen = runs_fallen(self.rows)
        return "\n".join(f"{word}: {number} of {num_runs}" for word, number in fallen.items())


SHAPING_COLUMNS: Columns = {
    "shaping": ("left", lambda one: one.name),
    "agents": ("right", lambda one: len({row["agent"] for row in one.rows})),
    "error above random masks' %": ("right .2%", lambda one: one.above),
    "test error %": (
        "right",
        lambda one: from_least_to_most([100 * mean for mean in one.means("error")], ".2f"),
    ),
    "total cost": (
        "right",
        lambda one: from_least_to_most(one.means("total_cost"), ".3f"),
    ),
    "random: less / same / more / none": ("right", lambda one: one.verdicts),
    "collapsed runs": ("left", lambda one: one.collapsed),
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


def by_shaping(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of agents that learned, by shaping, in the table's order."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row["learns"] and row["shaping"] != UNKNOWN:
            groups.setdefault(row["shaping"], []).append(row)
    return groups


def shared_agents(rows: Sequence[Row]) -> list[str]:
    """Agents that learned under every shaping."""
    groups = [{row["agent"] for row in group} for group in by_shaping(rows).values()]
    shared = set.intersection(*groups) if groups else set()
    return [a for a in dict.fromkeys(row["agent"] for row in rows) if a in shared]


Policy = tuple[str, str, str]
"""Data set, reward and agent."""
Above = Mapping[Policy, Mapping[int, float]]
"""Policy -> seed -> error above random masks'."""


def policies_above_random(results: Results, draw: str) -> Above:
    """Error minus random masks' at the same total cost: mean over the rows that have one.

    Seeds are those that all these rows have finished.
    """
    groups: dict[Policy, list[dict[int, float]]] = {}
    for label, (floors, _) in random_masks_at_cost(results, draw).items():
        if floors:
            first, *_ = runs = results[label]
            errors = {r["seed"]: shown_evaluation(r, draw)["error"] for r in runs}
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


def make_shapings(rows: Sequence[Row], above: Above) -> list[Shaping]:
    """Shapings of one data set, in rising order of their mean error above random masks'.

    Those without a seed that all shared agents have finished come last.
    """
    agents, dataset = shared_agents(rows), rows[0]["dataset"]
    shapings = []
    for name, group in by_shaping(rows).items():
        numbers = [above.get((dataset, name, agent), {}) for agent in agents]
        seeds = set.intersection(*(set(one) for one in numbers)) if numbers else set()
        means = {s: sum(one[s] for one in numbers) / len(numbers) for s in sorted(seeds)}
        shapings.append(Shaping(name, means, group))
    return sorted(shapings, key=lambda one: one.above.mean if one.above else math.inf)


def summary_tables(rows: Sequence[Row], above: Above) -> list[Table]:
    """What each shaping gives over all agents, where an agent learned under several.

    Else rewards differ with agents, and say nothing.
    """
    tables, groups = [], by_dataset(rows)
    for dataset, group in groups.items():
        pairs = {(row["agent"], name) for name, own in by_shaping(group).items() for row in own}
        if len({agent for agent, _ in pairs}) < len(pairs):
            file_name = "shapings-summary" + (f"-{dataset}" if len(groups) > 1 else "")
            columns_and_lines = read_columns(SHAPING_COLUMNS, make_shapings(group, above))
            shared = ", ".join(shared_agents(group)) or "none"
            note = f"{SHAPING_NOTE} Agents under every shaping: {shared}. Collapsed runs: {RULE}"
            title = f"What each shaping gives, {dataset}"
            tables.append(Table(file_name, title, *columns_and_lines, note))
    return tables
