"""A comparison to the report's tables: overview, fronts, shapings, densities, speed, settings."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ccenv.runs.engine.jobs import Comparison, Finished, machine_name
from ccenv.runs.report.findings import limit_tables
from ccenv.runs.report.shapings import shaping_tables
from ccenv.runs.stats.degenerate import RULE
from ccenv.runs.stats.fronts import (
    ALL,
    Front,
    against,
    front_verdict,
    leader,
    make_fronts,
    name_in,
)
from ccenv.runs.stats.intervals import FEWEST, Interval, told, with_interval
from ccenv.runs.tables.sweep_table import (
    Row,
    Table,
    by_dataset,
    interval,
    main_tables,
    name_of,
)


def speed_table(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """Measured time of a pass, and of the whole run; the first finished seed of each label."""
    columns = {"agent": "left", "images": "right", "ms": "right .3f", "dense ms": "right .3f"}
    columns |= {"speed-up": "right .2f", "trained for s": "right .0f"}
    columns |= {"load": "right .1f", "machine": "left"}
    lines = []
    for label, found in results.items():
        for result in found[:1]:
            place = result.get("load"), machine_name(result["machine"])
            rest = [result["total_seconds"], *place]
            # Of ceilings nothing is timed.
            for latency in result["latency"] or [None]:
                lines.append([label, *speed_cells(latency), *rest])
    note = (
        "Median time of one pass, looking and choosing included, beside plain dense products in "
        "the same process, one thread; speed-up with its quartiles. First seed. Load: "
        "processes that wanted to run in the minute before it was timed, its own among them."
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
    names = list(dict.fromkeys(name for found in by_label.values() for name in found))
    shared = {
        name: values.pop()
        for name in names
        if len(values := {found.get(name) for found in by_label.values()}) == 1
    }
    lines = [
        [label, "\n".join(f"{n} = {v}" for n, v in found.items() if n not in shared)]
        for label, found in by_label.items()
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
    "Front area: hypervolume of (cost, error) against (1, 1), cost being MACs over those of the "
    "widest dense network of the table; 1 would be no error at no cost. Who has one cell is judged "
    "by one point, who has more by all. Mean and Student's 95 % "
    "interval over seeds; IQM: interquartile mean with its stratified bootstrap interval (with 3 "
    "seeds that interval holds the truth only 3 times in 4). Paired: difference from the front of "
    "the highest mean over the seeds of both; that front is marked 'largest' if it is best by the "
    "rule of the verdict at the top, else 'reference'. P(more): how often a run has more area than "
    "one of that front, ties one half."
)


def overview(rows: Sequence[Row]) -> list[Table]:
    """The few columns that a reader looks at first; one table for each data set."""
    columns = {"agent": "left", "seeds": "right", "test error %": "right ±.2%"}
    columns |= {"MACs": "right ,.0f", "total cost": "right .3f", "front": "left"}
    columns |= {"against random": "left", "95 %": "right", "IQM": "right .2%"}
    groups = by_dataset(rows)
    return [
        Table(
            "overview" if len(groups) == 1 else f"overview-{name}",
            f"Error and cost on {name}",
            columns,
            [overview_line(row) for row in found],
            "Error: mean ± standard deviation over seeds and Student's 95 % interval, from three "
            "seeds on; IQM with its bootstrap interval. MACs and total cost include the policy's "
            "own. Front (*): on the Pareto front of mean error and MACs. Against random: error "
            "compared with random masks of the same compute cost; better or worse only where the "
            "95 % intervals do not overlap.",
        )
        for name, found in groups.items()
    ]


def overview_line(row: Row) -> list[Any]:
    """One line of the overview."""
    error, iqm, num_seeds = interval(row, "error"), interval(row, "error_iqm"), len(row["seeds"])
    says_chance = num_seeds >= FEWEST and bool(error.sd)
    return [
        name_of(row),
        num_seeds,
        error,
        row["macs"]["mean"],
        row["total_cost"]["mean"],
        "*" if row["on_front"] else None,
        verdict_of(row),
        told(error, num_seeds, ".2%"),
        iqm if says_chance else Interval(iqm.mean),
    ]


def verdict_of(row: Row) -> str:
    """Whether a row is better than random masks, and by how few seeds."""
    is_few = len(row["seeds"]) < FEWEST and row["verdict"] in ("better", "worse", "no difference")
    return f"{row['verdict']} ({len(row['seeds'])} seeds)" if is_few else str(row["verdict"])


def front_tables(comparison: Comparison) -> list[Table]:
    """Areas under fronts, one table for each data set and one for all."""
    fronts = [front for front in make_fronts(comparison.results, comparison.draw) if front.by_seed]
    datasets = list(dict.fromkeys(front.dataset for front in fronts))
    columns = {"agent": "left", "front area": "right .3f", "IQM": "right .3f"}
    columns |= {"paired": "right .3f", "P(more)": "right .2f"}
    columns |= {"cells": "right", "seeds": "right", "reward shaping": "left"}
    tables = []
    for name in datasets:
        found = [front for front in fronts if front.dataset == name]
        where = "all data sets together" if name == ALL else name
        first = leader(found)
        mark = "largest" if front_verdict(found).best else "reference"
        lines = [front_line(front, first, mark, name_in(front, found)) for front in found]
        file_name = "fronts" if len(datasets) == 1 else f"fronts-{name}"
        tables.append(Table(file_name, f"Front areas, {where}", columns, lines, FRONT_NOTE))
    return tables


def front_line(front: Front, first: Front | None, mark: str, name: str) -> list[Any]:
    """One front compared with the leader's, in whose line stands the mark."""
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


def density_table(rows: Sequence[Row]) -> Table:
    """Share of blocks kept in each gated layer."""
    layers = max(len(row["density"]) for row in rows)
    columns = {"agent": "left"} | {f"layer {i}": "right .3f" for i in range(layers)}
    lines = [
        [name_of(row), *row["density"], *[None] * (layers - len(row["density"])), row["habit"]]
        for row in rows
    ]
    note = f"Share of blocks kept on test images, mean over seeds. Habit: if any. {RULE}"
    columns |= {"habit": "left"}
    return Table("density", "Density of each layer", columns, lines, note, shaded=True)


def memory_tables(rows: Sequence[Row]) -> list[Table]:
    """Bytes of each row's network beside its error and MACs; none where no result says them."""
    known = [row for row in rows if row.get("memory_bytes") is not None]
    columns = {"agent": "left", "test error %": "right ±.2%", "MACs": "right ,.0f"}
    columns |= {"memory kB": "right ,.1f"}
    lines = [
        [name_of(row), interval(row, "error"), row["macs"]["mean"], row["memory_bytes"] / 1000]
        for row in known
    ]
    note = (
        "Memory: parameters and buffers of the network as they are stored, of a pruned one the "
        "values that are left, their indices and its biases, of counts their tables; and four "
        "bytes for each number of the policy. Tables that cost no MACs cost memory."
    )
    return [Table("memory", "Memory of each row", columns, lines, note)] if known else []


def all_tables(comparison: Comparison) -> dict[str, list[Table]]:
    """Every table of the report, by section."""
    rows = comparison.rows
    return {
        "overview": [*overview(rows), *limit_tables(comparison.results)],
        "columns": main_tables(rows),
        "fronts": front_tables(comparison),
        "shapings": shaping_tables(
            rows,
            make_fronts(comparison.results, comparison.draw, family=lambda run: str(run["agent"])),
        ),
        "density": [density_table(rows)],
        "speed": [speed_table(comparison.results), *memory_tables(rows)],
        "settings": settings_tables(comparison.finished),
        "origin": [origin_table(comparison.finished)],
    }
