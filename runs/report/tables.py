"""Makes tables of a report: overview, shapings, Pareto fronts, density, seeds, speed, settings."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from ccenv.runs.engine.jobs import Comparison, Finished, machine_name
from ccenv.runs.report.figures import KINDS, View, kind
from ccenv.runs.report.findings import limit_tables
from ccenv.runs.stats.degenerate import RULE, runs_fallen
from ccenv.runs.stats.fronts import (
    ALL,
    Front,
    against,
    front_verdict,
    leader,
    make_fronts,
    name_in,
)
from ccenv.runs.stats.intervals import FEWEST, Interval, mean_interval, with_interval
from ccenv.runs.stats.measures import evaluation
from ccenv.runs.stats.rows import make_rows
from ccenv.runs.tables.sweep_table import Row, Table, by_dataset, name_of


def speed_table(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """Measured time of a pass, and of the whole run; the first finished seed of each label."""
    columns = {"row": "left", "inputs": "right", "ms": "right .3f", "dense ms": "right .3f"}
    columns |= {"speed-up": "right .2f", "trained for s": "right .0f"}
    columns |= {"load": "right .1f", "machine": "left"}
    lines = []
    for label, runs in results.items():
        for result in runs[:1]:
            place = result.get("load"), machine_name(result["machine"])
            # Of ceilings nothing is timed.
            for latency in result["latency"] or [None]:
                lines.append([label, *speed_cells(latency), result["total_seconds"], *place])
    note = (
        "Median time of one pass, the policy included, compared with plain dense products in the "
        "same process, one thread; speed-up with its quartiles. First seed. Load: processes that "
        "wanted to run in the minute before it was timed, its own among them."
    )
    return Table("speed", "Speed", columns, lines, note)


def speed_cells(latency: Mapping[str, Any] | None) -> list[Any]:
    """Images, time, dense time, speed-up."""
    if latency is None:
        return [None] * 4
    ends = latency["speedup_low"], latency["speedup_high"]
    times = [latency[name] for name in ("batch_size", "milliseconds", "dense_milliseconds")]
    return [*times, Interval(latency["speedup"], None, *ends)]


def settings_tables(finished: Sequence[Finished]) -> list[Table]:
    """Settings that all runs share, and those that tell them apart."""
    by_label = {one.label: flat(one.result["settings"]) for one in finished}
    names = list(dict.fromkeys(name for settings in by_label.values() for name in settings))
    shared = {
        name: values.pop()
        for name in names
        if len(values := {settings.get(name) for settings in by_label.values()}) == 1
    }
    lines = [
        [label, "\n".join(f"{n} = {v}" for n, v in settings.items() if n not in shared)]
        for label, settings in by_label.items()
    ]
    both = {"setting": "left", "value": "left"}
    return [
        Table("settings", "Settings of every run", both, list(shared.items())),
        Table("settings-cells", "Settings of each", {"agent": "left", "own": "left"}, lines),
    ]


def flat(settings: Mapping[str, Any]) -> dict[str, str]:
    """A run's settings without levels; where it wrote and its seed are not among them."""
    nested = settings["environment"] | settings["agent_settings"]
    own = {k: v for k, v in settings.items() if not isinstance(v, Mapping)}
    left_out = ("seed", "log_dir", "progress")
    return {k: json.dumps(v) for k, v in (own | nested).items() if k not in left_out}


def origin_table(finished: Sequence[Finished]) -> Table:
    """Where results were made: runs here or recorded, versions, machine."""
    kinds: dict[tuple[str, str, str], int] = {}
    for one in finished:
        versions = ", ".join(f"{k} {v}" for k, v in one.result["versions"].items())
        place = "recorded" if one.recorded else "run here"
        key = (place, machine_name(one.result["machine"]), versions)
        kinds[key] = kinds.get(key, 0) + 1
    columns = {"runs": "right", "from": "left", "machine": "left", "versions": "left"}
    lines = [[count, *key] for key, count in kinds.items()]
    return Table("machines", "Machines and versions", columns, lines)


FRONT_NOTE = (
    "Hypervolume of (cost, error) against (1, 1), cost being MACs over those of the "
    "widest dense network of the table; 1 would be no error at no cost. Who has one cell is judged "
    "by one point, who has more by all. Mean and Student's 95 % "
    "interval over seeds; IQM: interquartile mean with its stratified bootstrap interval (with 3 "
    "seeds that interval holds the truth only 3 times in 4). Paired: difference from the "
    "Pareto front of the highest mean over the seeds of both; that one is marked 'largest' if it "
    "is best by the rule of the sentence above, else 'reference'. P(more): how often a run "
    "has more area than one of that Pareto front, ties one half."
)


OVERVIEW_NOTE = (
    "Mean over seeds with Student's 95 % interval, from three seeds on; less is better in each "
    "column. Costs include the policy's own. `front` (*): on the Pareto front of means. Against "
    "random masks: error compared with random masks of the same compute cost; better or worse only "
    "where the 95 % intervals do not overlap. Random masks are always sampled."
)
MASKS = {"sampled": "sampled", "mode": "greedy"}
"""Kind of masks -> in words."""
APART = " · "
"""Between a heading as the page shows it and the setting of switches that a file needs."""


def overview(comparison: Comparison, views: Sequence[View]) -> list[Table]:
    """The table behind the figure, one for each data set: a column for each setting of a switch."""
    datasets = dict.fromkeys(view.dataset for view in views)
    draws = dict.fromkeys(view.draw for view in views)
    rows = {draw: {row["label"]: row for row in rows_under(comparison, draw)} for draw in draws}
    tables = []
    for index, name in enumerate(datasets):
        of_dataset = [view for view in views if view.dataset == name]
        labels = [point.label for point in of_dataset[0].points]
        columns = columns_of(comparison, of_dataset, labels, rows)
        shown = {k: c for k, c in columns.items() if any(v is not None for v in c.cells.values())}
        when = {heading: column.when for heading, column in shown.items()}
        tables.append(
            Table(
                "overview" if len(datasets) == 1 else f"overview-{name}",
                f"Results on {name}",
                {heading: column.form for heading, column in shown.items()},
                [[column.cells.get(label) for column in shown.values()] for label in labels],
                OVERVIEW_NOTE,
                when=when | ({"": f"data-{index}"} if len(datasets) > 1 else {}),
            )
        )
    return tables


class Column(NamedTuple):
    """Of the overview."""

    form: str
    """as in `Table.columns`."""
    cells: Mapping[str, Any]
    """label -> cell."""
    when: str = ""
    """as in `Table.when`."""


def columns_of(
    comparison: Comparison,
    views: Sequence[View],
    labels: Sequence[str],
    rows: Mapping[str, Mapping[str, Row]],
) -> dict[str, Column]:
    """Heading -> column of one data set; several views share one, such as that of their MACs.

    Args:
        comparison: with its results.
        views: of the data set.
        labels: of its rows.
        rows: kind of masks -> label -> row.
    """
    apart = {draw: APART + MASKS[draw] if len(rows) > 1 else "" for draw in rows}
    first = {label: rows[comparison.draw][label] for label in labels}
    columns = {"row": Column("left", {label: name_of(row) for label, row in first.items()})}
    for view in views:
        measure = view.measure
        numbers = {
            point.label: with_interval(point.interval, len(point.error), measure.spec, measure.ends)
            for point in view.points
        }
        when = f"measure-{view.settings['measure']} masks-{view.draw}"
        columns[measure.heading + apart[view.draw]] = Column("right", numbers, when)
    for view in views:
        costs = {point.label: cost for cost, point in view.placed}
        # Times and memory are those of any masks.
        by_masks = view.cost.key == "macs"
        heading = view.cost.short + (apart[view.draw] if by_masks else "")
        when = f"cost-{view.cost.key}" + (f" masks-{view.draw}" if by_masks else "")
        columns[heading] = Column(f"right {view.cost.spec}", costs, when)
    for view in views:
        setting = f"{view.measure.title}, {view.cost.short}, {MASKS[view.draw]}"
        stars = {point.label: "*" for _, point in view.front}
        columns[f"front{APART}{setting}"] = Column("left", stars, view.when)
    kinds = {label: KINDS[kind(comparison.results[label][0])][0] for label in labels}
    columns["kind"] = Column("left", kinds)
    columns["seeds"] = Column("right", {label: len(row["seeds"]) for label, row in first.items()})
    for draw, by_label in rows.items():
        verdicts = {label: verdict_of(by_label[label]) or None for label in labels}
        if any(by_label[label]["verdict"] in VERDICTS for label in labels):
            columns["against random masks" + apart[draw]] = Column(
                "left", verdicts, f"masks-{draw}"
            )
    return columns


def rows_under(comparison: Comparison, draw: str) -> list[Row]:
    """Rows under one kind of masks."""
    if draw == comparison.draw:
        return list(comparison.rows)
    return [asdict(row) for row in make_rows(comparison.results, draw)]


def verdict_of(row: Row) -> str:
    """Whether a row is better than random masks, and by how few seeds."""
    is_few = len(row["seeds"]) < FEWEST and row["verdict"] in ("better", "worse", "no difference")
    return f"{row['verdict']} ({len(row['seeds'])} seeds)" if is_few else str(row["verdict"])


def seeds_table(comparison: Comparison) -> Table:
    """What each run reached, under both kinds of masks."""
    columns = {"row": "left", "seed": "right"}
    for masks in MASKS.values():
        columns |= {f"test error %, {masks}": "right .2f", f"nll, {masks}": "right .3f"}
        columns |= {f"MACs, {masks}": "right ,.0f"}
    lines = []
    for label, results in comparison.results.items():
        for result in results:
            verdicts = [evaluation(result, draw) for draw in MASKS]
            numbers = [x for v in verdicts for x in (100 * v["error"], v["nll"], v["macs"])]
            lines.append([label, result["seed"], *numbers])
    return Table("seeds", "Results of each seed", columns, lines, "On test data.")


def front_tables(comparison: Comparison) -> list[Table]:
    """Hypervolumes, one table for each data set and one for all."""
    fronts = make_fronts(comparison.results, comparison.draw)
    fronts = [front for front in fronts if front.by_seed]
    datasets = list(dict.fromkeys(front.dataset for front in fronts))
    columns = {"agent": "left", "hypervolume": "right .3f", "IQM": "right .3f"}
    columns |= {"paired": "right .3f", "P(more)": "right .2f"}
    columns |= {"cells": "right", "seeds": "right", "reward shaping": "left"}
    tables = []
    for name in datasets:
        compared = [front for front in fronts if front.dataset == name]
        where = "all data sets together" if name == ALL else name
        first = leader(compared)
        mark = "largest" if front_verdict(compared).best else "reference"
        lines = [front_line(front, first, mark, name_in(front, compared)) for front in compared]
        file_name = "fronts" if len(datasets) == 1 else f"fronts-{name}"
        tables.append(Table(file_name, f"Hypervolumes, {where}", columns, lines, FRONT_NOTE))
    return tables


def front_line(front: Front, first: Front | None, mark: str, name: str) -> list[Any]:
    """One Pareto front compared with the leader's, whose row holds the mark."""
    difference, chance = (None, None) if first in (None, front) else against(front, first)
    shared = len(set(front.by_seed) & set(first.by_seed)) if first else 0
    paired = difference and with_interval(difference, shared, ".3f", (-1, 1))
    is_enough = len(front.by_seed) >= FEWEST and bool(front.mean.sd)
    return [
        name + (" (ceiling)" if front.uses_labels else ""),
        with_interval(front.mean, len(front.by_seed), ".3f"),
        front.iqm if is_enough else Interval(front.iqm.mean),
        mark if front is first else paired,
        chance if is_enough or chance is None else Interval(chance.mean),
        len(front.labels),
        len(front.by_seed),
        front.shaping,
    ]


SUMMARY_NOTE = (
    "Hypervolume: mean over the agents that learned under every shaping of the table, then over "
    "seeds, with Student's 95 % interval; see Hypervolumes for what it is. Lines are in the order "
    "of its mean, which is no verdict where intervals overlap. Error and total cost (the "
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
    """seed -> mean hypervolume of the agents that learned under every shaping."""
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
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row["learns"]:
            groups.setdefault(row["shaping"], []).append(row)
    return groups


def shared_agents(rows: Sequence[Row]) -> list[str]:
    """Agents that learned under every shaping."""
    groups = [{row["agent"] for row in rows_of_one} for rows_of_one in learned(rows).values()]
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
    for name, rows_of_one in learned(rows).items():
        areas = [by_name.get((name, agent), {}) for agent in agents]
        seeds = set.intersection(*(set(one) for one in areas)) if areas else set()
        means = {s: sum(one[s] for one in areas) / len(areas) for s in sorted(seeds)}
        shapings.append(Shaping(name, means, rows_of_one))
    return sorted(shapings, key=lambda one: -one.area.mean if one.areas else 1.0)


def shaping_tables(rows: Sequence[Row], fronts: Sequence[Front]) -> list[Table]:
    """A line for each shaping, where an agent learned under several.

    Else rewards differ with agents, and say nothing.
    """
    groups = by_dataset(rows)
    return [
        summary(
            rows_of_one,
            fronts,
            "shapings-summary" if len(groups) == 1 else f"shapings-summary-{dataset}",
            dataset,
        )
        for dataset, rows_of_one in groups.items()
        if is_compared(rows_of_one)
    ]


def summary(rows: Sequence[Row], fronts: Sequence[Front], file_name: str, dataset: str) -> Table:
    """What each shaping gives, over all agents."""
    columns = {"shaping": "left", "agents": "right", "hypervolume": "right .3f"}
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


def density_table(rows: Sequence[Row]) -> Table:
    """Share of blocks kept in each gated layer."""
    layers = max(len(row["density"]) for row in rows)
    columns = {"row": "left", "compute cost": "right .3f", "total cost": "right .3f"}
    columns |= {f"layer {i}": "right .3f" for i in range(layers)} | {"habit": "left"}
    lines = [
        [
            name_of(row),
            row["compute_cost"]["mean"],
            row["total_cost"]["mean"],
            *row["density"],
            *[None] * (layers - len(row["density"])),
            row["habit"],
        ]
        for row in rows
    ]
    note = (
        "Costs: executed MACs over the dense network's, without and with the policy's own. Layers: "
        f"share of blocks kept on test inputs, mean over seeds. Habit: if any. {RULE}"
    )
    return Table("density", "Compute cost and density", columns, lines, note, shaded=True)


def all_tables(comparison: Comparison, views: Sequence[View] = ()) -> dict[str, list[Table]]:
    """Every table of the report that has something to say, by section; `views` for the overview."""
    rows = comparison.rows
    tables = {
        "overview": overview(comparison, views),
        "shapings": shaping_tables(
            rows,
            make_fronts(comparison.results, comparison.draw, family=lambda run: str(run["agent"])),
        ),
        "fronts": front_tables(comparison),
        "density": [density_table(rows), *limit_tables(comparison.results)],
        "seeds": [seeds_table(comparison)],
        "speed": [speed_table(comparison.results)],
        "settings": settings_tables(comparison.finished),
        "origin": [origin_table(comparison.finished)],
    }
    return {name: [one for one in some if one.lines] for name, some in tables.items()}
