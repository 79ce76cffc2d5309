"""Draws what learning did: validation curves of all rows, and which blocks each class keeps."""

import functools
import re
from collections.abc import Sequence

import numpy as np

from ccenv.runs.engine.sweep_runs import SweepRuns
from ccenv.runs.report.figures import Looks, Results, Style
from ccenv.runs.stats.measures import Result
from ccenv.runs.stats.shapings import compares_shapings
from ccenv.runs.tables.drawing import (
    Panel,
    Picture,
    Series,
    drawn_maps,
    file_part,
    legend_height,
    plain_ticks,
    plotted,
)
from ccenv.runs.tables.sweep_table import Row, shown_name

CURVES = {"error": "error in %", "total_cost": "total cost"}
RETURNS = {"mean_return": "return"}


def curve_figures(comparison: SweepRuns, looks: Looks) -> list[Picture]:
    """Validation error and total cost over inputs seen: a figure for each data set and shaping.

    Where rewards are compared, a figure for each agent, with returns; of one agent for each cost
    weight.
    """
    is_one_agent = compares_shapings(comparison.results)
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in comparison.rows:
        runs = comparison.results[row["label"]]
        if any(len(result.get("curve", [])) > 2 for result in runs):
            is_joined = looks.methods[row["label"]] in looks.joined
            alike = f"reward {row['shaping']}"
            if is_joined:
                alike = cost_weight_of(runs[0]) if is_one_agent else f"agent {row['agent']}"
            groups.setdefault((row["dataset"], alike), []).append(row)
    figures = []
    for (dataset, alike), rows in groups.items():
        part = file_part(dataset, re.sub("^(reward|agent) ", "", alike).replace(" ", "-"))
        name = "curves" if len(groups) == 1 else f"curves-{part}"
        panels = curve_panels(comparison.results, rows, looks)
        height = 0.4 + 1.7 * len(panels) + legend_height([one.name for one in panels[0].series])
        ends = ", ".join(f"{row['label']} {100 * row['error']['mean']:.1f} %" for row in rows)
        caption = f"Validation data of {dataset}, {alike}. Bands: lowest to highest seed."
        if len(panels) > len(CURVES):
            caption += " Returns of different rewards are in different units."
        alt = f"Validation error and total cost over training inputs; test error in the end: {ends}"
        draw = functools.partial(plotted, panels, height)
        figures.append(Picture(draw, name, caption, alt))
    return figures


def cost_weight_of(result: Result) -> str:
    """The cost weight of a run's reward in words, as it was given."""
    arguments = result["settings"]["environment"]["reward_kwargs"]
    weight = arguments.get("cost_weight")
    return "no cost weight" if weight is None else f"cost weight {weight:g}"


def curve_panels(results: Results, rows: Sequence[Row], looks: Looks) -> list[Panel]:
    """One line for each row: mean and range over the seeds that got as far.

    A panel of returns where rewards are compared, and all results say them.
    """
    curves = {
        row["label"]: [p for run in results[row["label"]] for p in run.get("curve", [])]
        for row in rows
    }
    is_joined = all(looks.methods[label] in looks.joined for label in curves)
    names = [looks.methods[label] for label in curves]
    has_returns = is_joined and all("mean_return" in p for ps in curves.values() for p in ps)
    shown = CURVES | (RETURNS if has_returns else {})
    panels = []
    for number, title in shown.items():
        series = []
        for row in rows:
            by_inputs: dict[int, list[float]] = {}
            for point in curves[row["label"]]:
                value = (100 if number == "error" else 1) * point[number]
                by_inputs.setdefault(point["images_seen"], []).append(value)
            inputs = sorted(by_inputs)
            low, mean, high = (
                [float(f(by_inputs[n])) for n in inputs] for f in (min, np.mean, max)
            )
            # A reward's name is enough where a figure has one row of it.
            is_alone = is_joined and names.count(looks.methods[row["label"]]) == 1
            name = looks.methods[row["label"]] if is_alone else shown_name(row)
            solid: Style = {"ls": "-"} if is_alone else {}
            style = looks.line(row["label"]) | {"lw": 1.2} | solid
            series.append(Series(name, inputs, mean, style, (low, high)))
        ends: Style = {} if number in RETURNS else {"ylim": (0, None)}
        panels.append(Panel(series, {"ylabel": title} | ends))
    *above, last = panels
    below = {**last.settings, "xlabel": "training inputs seen"}
    return [*above, Panel(last.series, below, lambda axes: plain_ticks(axes.xaxis))]


def block_figures(comparison: SweepRuns, looks: Looks) -> list[Picture]:
    """How often each class keeps each block, of one seed of each method's row of least error.

    Of each agent's where several agents' rewards are compared.
    """
    best: dict[str, Row] = {}
    for one in sorted(comparison.rows, key=lambda row: float(row["error"]["mean"])):
        uses = [result.get("block_use") for result in comparison.results[one["label"]]]
        has_choice = any(len(use[0][0]) > 1 for use in uses if use)
        if has_choice and looks.kind(one["label"]) not in ("dense", "random"):
            method = looks.methods[one["label"]]
            best.setdefault(
                one["agent"] if looks.shaped and method in looks.joined else method, one
            )
    figures = []
    for row in best.values():
        first = next(one for one in comparison.results[row["label"]] if one.get("block_use"))
        layers = [np.asarray(layer) / 100 for layer in first["block_use"]]
        means = "; ".join(
            f"layer {i}: {use.mean():.2f} kept, most used: block {int(use.mean(0).argmax())}"
            for i, use in enumerate(layers)
        )
        name = f"blocks-{file_part(row['label'].replace(' ', '-'))}"
        caption = f"{shown_name(row)}, seed {first['seed']}: share of inputs that keep a block."
        alt = f"Map of block use by class for {row['label']}; {means}"
        figures.append(Picture(functools.partial(drawn_maps, layers), name, caption, alt))
    return figures
