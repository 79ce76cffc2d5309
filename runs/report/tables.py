"""Makes tables of a report: overview, shapings, density, seeds, speed, settings."""

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ccenv.base.mask_words import BOTH, in_files, kind_in_words
from ccenv.runs.engine.collect_runs import settings_of
from ccenv.runs.engine.origins import machine_name
from ccenv.runs.engine.sweep_runs import Finished, SweepRuns
from ccenv.runs.report.figures import KINDS, kind_of_method
from ccenv.runs.report.views import PlotView
from ccenv.runs.stats.intervals import Interval, with_interval
from ccenv.runs.stats.measures import Result, evaluation
from ccenv.runs.stats.rows import RULE, habits_in_words, make_rows
from ccenv.runs.stats.verdict import AGAINST_RANDOM
from ccenv.runs.tables.shapings import from_least_to_most
from ccenv.runs.tables.sweep_table import (
    Columns,
    Row,
    Table,
    above_random,
    masks_of,
    mean_in,
    named,
    other_error,
    read_columns,
    shown_name,
)

SPEED_COLUMNS: Columns = {
    "row": ("left", "label"),
    "inputs": ("right", "batch_size"),
    "ms": ("right .3f", "milliseconds"),
    "dense ms": ("right .3f", "dense_milliseconds"),
    "speed-up": (
        "right .2f",
        lambda one: (
            Interval(one["speedup"], None, one["speedup_low"], one["speedup_high"])
            if "speedup" in one
            else None
        ),
    ),
    "trained for s": ("right .0f", "total_seconds"),
    "load": ("right .1f", "load"),
    "machine": ("left", lambda one: machine_name(one["machine"])),
}
SPEED_NOTE = (
    "Median time of one pass, the policy included, compared with plain dense products in the "
    "same process, one thread; speed-up with its quartiles. First seed. Load: processes that "
    "wanted to run in the minute before it was timed, its own among them."
)


def speed_table(results: Mapping[str, Sequence[Result]]) -> Table:
    """Measured time of a pass, and of the whole run; the first finished seed of each label."""
    passes = [
        {"label": label, **{k: runs[0].get(k) for k in ("total_seconds", "load", "machine")}}
        | latency
        for label, runs in results.items()
        if runs
        # Of ceilings nothing is timed.
        for latency in runs[0]["latency"] or [{}]
    ]
    return Table("speed", "Speed", *read_columns(SPEED_COLUMNS, passes), SPEED_NOTE)


def settings_tables(finished: Sequence[Finished]) -> list[Table]:
    """Settings that all runs share, and those that tell them apart."""
    by_label = {one.label: settings_of(one.result, json.dumps) for one in finished}
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


def origin_table(finished: Sequence[Finished]) -> Table:
    """Where results were made: runs here or recorded, versions, machine."""
    counts = Counter(
        (
            "recorded" if one.recorded else "run here",
            machine_name(one.result["machine"]),
            ", ".join(f"{k} {v}" for k, v in one.result["versions"].items()),
        )
        for one in finished
    )
    columns = {"runs": "right", "from": "left", "machine": "left", "versions": "left"}
    lines = [[count, *key] for key, count in counts.items()]
    return Table("machines", "Machines and versions", columns, lines)


OVERVIEW_NOTE = (
    "Mean over seeds with Student's 95 % interval, from three seeds on; less is better in each "
    "column. Costs include the policy's own. A star: on the Pareto front of means. Above "
    "random masks: error minus random masks' at the same total cost, in points, paired by seed; "
    "better or worse only where that 95 % interval excludes 0. Random masks are always sampled."
)
APART = " · "
"""Between a heading as the page shows it and the setting of switches that a file needs."""


def overview(comparison: SweepRuns, views: Sequence[PlotView]) -> list[Table]:
    """The table behind the figure, one for each data set: a column for each setting of a switch."""
    datasets = dict.fromkeys(view.dataset for view in views)
    kinds = dict.fromkeys(view.deterministic for view in views)
    rows = {kind: rows_under(comparison, kind) for kind in kinds}
    tables = []
    for index, name in enumerate(datasets):
        made = overview_table([view for view in views if view.dataset == name], rows, comparison)
        if len(datasets) > 1:
            when = {**made.when, "": f"data-{index}"}
            made = dataclasses.replace(made, name=f"overview-{name}", when=when)
        tables.append(made)
    return tables


def overview_table(
    views: Sequence[PlotView], rows: Mapping[bool | None, Mapping[str, Row]], comparison: SweepRuns
) -> Table:
    """The table of one data set. Several views share a column, such as that of their MACs.

    Args:
        views: of the data set.
        rows: `deterministic` -> label -> row.
        comparison: with its results.
    """
    apart = {kind: APART + kind_in_words(kind, "asked") if len(rows) > 1 else "" for kind in rows}
    points, first = views[0].points, rows[comparison.deterministic]
    columns: dict[str, tuple[str, Mapping[str, Any]]] = {}
    when: dict[str, str] = {}
    columns["row"] = "left", {point.label: named(first[point.label]) for point in points}
    for view in views:
        measure = view.measure
        heading = measure.heading + apart[view.deterministic]
        columns[heading] = (
            "right",
            {
                one.label: with_interval(one.interval, len(one.error), measure.spec, measure.ends)
                for one in view.points
            },
        )
        when[heading] = f"measure-{view.settings['measure']} masks-{view.settings['masks']}"
    for deterministic, by_label in rows.items():
        kinds = {point.label: masks_of(by_label[point.label]) for point in points}
        if len({kinds[point.label] for point in points if by_label[point.label]["learns"]}) > 1:
            # A row may be greedy among sampled ones: it says so, with the error of the other kind.
            columns["masks" + apart[deterministic]] = "left", kinds
            others = {label: other_error(row) for label, row in by_label.items()}
            columns["other masks %" + apart[deterministic]] = "right", others
            when["masks" + apart[deterministic]] = f"masks-{in_files(deterministic, 'asked')}"
            when["other masks %" + apart[deterministic]] = (
                f"measure-error masks-{in_files(deterministic, 'asked')}"
            )
    for view in views:
        # Times and memory are those of any masks.
        by_masks = view.cost.key == "macs"
        costs: dict[str, float | str] = {p.label: view.cost.of(p) for p in view.placed}
        costs |= {p.label: "-" for p in view.points if by_masks and math.isinf(p.macs)}
        heading = view.cost.short + (apart[view.deterministic] if by_masks else "")
        columns[heading] = f"right {view.cost.spec}", costs
        when[heading] = f"cost-{view.cost.key}" + (
            f" masks-{view.settings['masks']}" if by_masks else ""
        )
    for view in views:
        kind = kind_in_words(view.deterministic, "asked")
        heading = f"front{APART}{view.measure.title}, {view.cost.short}, {kind}"
        columns[heading] = "left", {point.label: "*" for point in view.front}
        when[heading] = view.when
    words = {k: KINDS[kind_of_method(runs[0])][0] for k, runs in comparison.results.items() if runs}
    columns["kind"] = "left", words
    columns["seeds"] = "right", {label: len(row["seeds"]) for label, row in first.items()}
    for deterministic, by_label in rows.items():
        if any(by_label[point.label]["verdict"] in AGAINST_RANDOM for point in points):
            heading = "above random masks %" + apart[deterministic]
            above = {k: above_random(r, ".2%") or r["verdict"] or None for k, r in by_label.items()}
            columns[heading] = "right", above
            when[heading] = f"masks-{in_files(deterministic, 'asked')}"
    labels = {point.label for point in points}
    forms = {name: form for name, (form, cells) in columns.items() if labels & cells.keys()}
    lines = [[columns[name][1].get(point.label) for name in forms] for point in points]
    return Table(
        "overview", f"Results on {views[0].dataset}", forms, lines, OVERVIEW_NOTE, when=when
    )


def rows_under(comparison: SweepRuns, deterministic: bool | None) -> dict[str, Row]:
    """Label -> row under one kind of masks."""
    rows: Sequence[Row] = comparison.rows
    if deterministic != comparison.deterministic:
        rows = [dataclasses.asdict(row) for row in make_rows(comparison.results, deterministic)]
    return {row["label"]: row for row in rows}


def seeds_table(comparison: SweepRuns) -> Table:
    """What each run reached, under both kinds of masks."""
    columns = {"row": "left", "seed": "right"}
    for masks in map(kind_in_words, BOTH):
        columns |= {f"test error %, {masks}": "right .2f", f"nll, {masks}": "right .3f"}
        columns[f"MACs, {masks}"] = "right ,.0f"
    lines = []
    for label, results in comparison.results.items():
        for result in results:
            lines.append([label, result["seed"]])
            for one in (evaluation(result, greedy) for greedy in BOTH):
                macs = "-" if one["macs"] is None else one["macs"]
                lines[-1] += [100 * one["error"], one["nll"], macs]
    return Table("seeds", "Results of each seed", columns, lines, "On test data.")


def density_table(rows: Sequence[Row]) -> Table:
    """Share of blocks kept in each gated layer."""
    depth = max(len(row["density"]) for row in rows)
    columns = {"row": "left", "compute cost": "right .3f", "total cost": "right .3f"}
    columns |= {f"layer {number}": "right .3f" for number in range(depth)} | {"habit": "left"}
    lines = []
    for row in rows:
        costs = row["compute_cost"]["mean"], mean_in(row, "total_cost")
        densities = [*row["density"], *[None] * (depth - len(row["density"]))]
        lines.append([shown_name(row), *costs, *densities, habits_in_words(row)])
    note = (
        "Costs: executed MACs over the dense network's, without and with the policy's own. Layers: "
        f"share of blocks kept on test inputs, mean over seeds. Habit: if any. {RULE}"
    )
    return Table("density", "Compute cost and density", columns, lines, note, shaded=True)


WITHIN = 0.02
"""Of the limit: so near counts as met."""
LIMIT_NOTE = (
    "Training cost: mean compute cost of the images in the last tenth of training, sampled masks. "
    f"Miss: its distance from the limit over the limit; met: at most {WITHIN:.0%}, or below the "
    "limit at a multiplier of 0, where nothing has to be held back. Last column: the last "
    "multiplier, of the whole dense network, in units of the reward."
)


def limit_table(results: Mapping[str, Sequence[Result]]) -> Table:
    """A line for each label whose multiplier moved to reach a limit, its agent's or its reward's.

    Limits and costs are mean compute costs; those of the last tenth of training are compared.
    """
    lines = []
    for label, of_label in results.items():
        kept = []
        for one in of_label:
            last, settings = one.get("last_tenth", {}), one["settings"]
            if (price := last.get("price")) is None:
                continue
            chosen = settings["environment"]["reward_kwargs"] | settings["agent_settings"]
            if (limit := chosen.get("cost_limit")) is not None:
                miss = last["compute_cost"] / limit - 1
                is_met = abs(miss) <= WITHIN or (miss < 0 and price == 0)
                kept.append((limit, last["compute_cost"], 100 * miss, is_met, price))
        if kept:
            limits, costs, misses, met, prices = zip(*kept, strict=True)
            lines.append(
                [
                    label,
                    limits[0],
                    sum(costs) / len(costs),
                    from_least_to_most(misses, "+.2f"),
                    f"{sum(met)} of {len(met)}",
                    from_least_to_most(prices, ".3g"),
                ]
            )
    columns = {"agent": "left", "limit": "right g", "training cost": "right .4f"}
    columns |= dict.fromkeys(("miss %", "met", "price"), "right")
    return Table("cost-limits", "Cost limits", columns, lines, LIMIT_NOTE)


def all_tables(comparison: SweepRuns, views: Sequence[PlotView] = ()) -> dict[str, list[Table]]:
    """Every table of the report, by the heading that it stands below; `views` for the overview."""
    rows = comparison.rows
    return {
        "Results": overview(comparison, views),
        "Reward shapings": comparison.shaping_tables,
        "Learning curves": [],
        "Compute cost, density and blocks": [density_table(rows), limit_table(comparison.results)],
        "Each seed": [seeds_table(comparison)],
        "Speed": [speed_table(comparison.results)],
        "Settings": settings_tables(comparison.finished),
        "Machines and versions": [origin_table(comparison.finished)],
    }
