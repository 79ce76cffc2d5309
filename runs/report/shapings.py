"""Reward shapings against each other: rows and fronts -> a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ccenv.runs.stats.degenerate import RULE, runs_fallen
from ccenv.runs.stats.fronts import Front
from ccenv.runs.stats.intervals import Interval, mean_interval
from ccenv.runs.tables.sweep_table import Row, Table, by_dataset

SUMMARY_NOTE = (
    "Front area: mean over the agents that learned under every shaping of the table, then over "
    "seeds, with Student's 95 % interval; see Fronts for what it is. Lines are in the order of its "
    "mean, which is no verdict where intervals overlap. Error and total cost (the "
    "policy's own included): the smallest and the largest of all agents' means. Random: agents "
    "with less error than random masks of the same compute cost, not significantly different, with "
    "more, or with no verdict, as in the overview."
)
VERDICTS = ("better", "no difference", "worse")


@dataclass(frozen=True)
class Shaping:
    """What agents reach under one reward on one data set."""

    name: str
    """the reward's."""
    areas: Mapping[int, float]
    """seed -> mean front area of the agents that learned under every shaping."""
    rows: Sequence[Row]
    """of all agents that learned under it."""

    @property
    def area(self) -> Interval:
        """Over seeds; there is at least one."""
        return mean_interval(list(self.areas.values()))

    def ends(self, number: str) -> tuple[float, float]:
        """Smallest and largest mean of a number of the rows."""
        means = [row[number]["mean"] for row in self.rows]
        return min(means), max(means)


def learned(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of agents that learned, by shaping, in the table's order."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row["learns"]:
            found.setdefault(row["shaping"], []).append(row)
    return found


def shared_agents(rows: Sequence[Row]) -> list[str]:
    """Agents that learned under every shaping."""
    groups = [{row["agent"] for row in found} for found in learned(rows).values()]
    shared = set.intersection(*groups) if groups else set()
    return [a for a in dict.fromkeys(row["agent"] for row in rows) if a in shared]


def is_compared(rows: Sequence[Row]) -> bool:
    """Whether an agent learned under several shapings."""
    pairs = {(row["agent"], row["shaping"]) for row in rows if row["learns"]}
    return len({agent for agent, _ in pairs}) < len(pairs)


def make_shapings(rows: Sequence[Row], fronts: Sequence[Front]) -> list[Shaping]:
    """Shapings of one data set, in falling order of their mean area.

    Those without a seed that all shared agents have finished come last.
    """
    agents = shared_agents(rows)
    by_name = {(f.shaping, f.agent): f.by_seed for f in fronts if f.dataset == rows[0]["dataset"]}
    shapings = []
    for name, found in learned(rows).items():
        areas = [by_name.get((name, agent), {}) for agent in agents]
        seeds = set.intersection(*(set(one) for one in areas)) if areas else set()
        means = {s: sum(one[s] for one in areas) / len(areas) for s in sorted(seeds)}
        shapings.append(Shaping(name, means, found))
    return sorted(shapings, key=lambda one: -one.area.mean if one.areas else 1.0)


def shaping_tables(rows: Sequence[Row], fronts: Sequence[Front]) -> list[Table]:
    """A line for each shaping, where an agent learned under several.

    Else rewards differ with agents, and say nothing.
    """
    groups = by_dataset(rows)
    return [
        summary(
            found,
            fronts,
            "shapings-summary" if len(groups) == 1 else f"shapings-summary-{dataset}",
            dataset,
        )
        for dataset, found in groups.items()
        if is_compared(found)
    ]


def summary(rows: Sequence[Row], fronts: Sequence[Front], file_name: str, dataset: str) -> Table:
    """What each shaping gives, over all agents."""
    columns = {"shaping": "left", "agents": "right", "front area": "right .3f"}
    columns |= {"test error %": "right", "total cost": "right"}
    columns |= {"random: less / same / more / none": "right", "collapsed runs": "left"}
    lines = [summary_line(shaping) for shaping in make_shapings(rows, fronts)]
    shared = ", ".join(shared_agents(rows)) or "none"
    note = f"{SUMMARY_NOTE} Agents under every shaping: {shared}. Collapsed runs: {RULE}"
    return Table(file_name, f"What each shaping gives, {dataset}", columns, lines, note)


def summary_line(shaping: Shaping) -> list[Any]:
    """One shaping."""
    counts = [sum(row["verdict"] == verdict for row in shaping.rows) for verdict in VERDICTS]
    counts.append(len(shaping.rows) - sum(counts))
    num_runs = sum(len(row["seeds"]) for row in shaping.rows)
    fallen = runs_fallen(shaping.rows)
    return [
        shaping.name,
        len(shaping.rows),
        shaping.area if shaping.areas else None,
        "{:.2f} to {:.2f}".format(*(100 * end for end in shaping.ends("error"))),
        "{:.3f} to {:.3f}".format(*shaping.ends("total_cost")),
        " / ".join(map(str, counts)),
        "\n".join(f"{word}: {number} of {num_runs}" for word, number in fallen.items()),
    ]
