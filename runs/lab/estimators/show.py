"""The study of estimators as text and figures: rows of its results -> Markdown, drawings."""

from collections.abc import Mapping, Sequence
from typing import Any

from ccenv.runs.stats.intervals import Interval
from ccenv.runs.tables.drawing import (
    INK,
    THEIRS,
    Drawn,
    legend_below,
    legend_height,
    new_figure,
    nth_look,
    plain_logarithms,
)
from ccenv.runs.tables.sweep_table import markdown

Row = Mapping[str, Any]
DRAWN = (
    "exact gradient",
    "reinforce",
    "reinforce, mean baseline",
    "leave-one-out, 2",
    "leave-one-out, 8",
    "disarm, 2",
    "vimco, 8",
    "normalised, 8",
    "both ways",
    "straight-through",
    "reinmax",
)
"""Estimators of the figure of curves; the table has all."""


def moments_table(rows: Sequence[Row]) -> str:
    """Size, angle and noise of each estimator, for each policy."""
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    columns = {"estimator": "left", "masks": "right"}
    for policy in policies:
        columns |= {f"{policy}: size": "right .2f", f"{policy}: angle": "right .0f"}
        columns |= {f"{policy}: noise": "right .2f"}
    lines = []
    for name, own in by_estimator(rows).items():
        line: list[Any] = [name, str(own[policies[0]]["masks"])]
        for policy in policies:
            row = own[policy]
            # Where returns are over their deviation the size has another unit.
            size = None if name.startswith("normalised") else Interval(**row["size"])
            noise = row["noise"]["mean"]
            line += [size, Interval(**row["angle"]), noise]
        lines.append(line)
    return markdown(columns, lines)


def curves_table(rows: Sequence[Row]) -> str:
    """Regret at the end of each estimator, for each policy, with its rate."""
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    columns = {"estimator": "left"}
    for policy in policies:
        columns |= {f"{policy}: early": "right .3f", f"{policy}: regret": "right .3f"}
        columns |= {f"{policy}: rate": "right g"}
    lines = []
    for name, own in by_estimator(rows).items():
        line: list[Any] = [name]
        for policy in policies:
            regret = [Interval(**at) for at in own[policy]["regret"]]
            line += [regret[len(regret) // 2].mean, regret[-1], own[policy]["rate"]]
        lines.append(line)
    one = rows[0]["static"]
    blanks: list[Any] = [None, one, None]
    lines.append(["best mask for all", *blanks * len(policies)])
    return markdown(columns, lines)


def by_estimator(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    """Estimator -> policy -> row."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(row["estimator"], {})[row["policy"]] = row
    return found


def curves_figure(rows: Sequence[Row]) -> Drawn:
    """Regret over looked-up masks, a panel a policy."""
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    names = [name for name in DRAWN if name in by_estimator(rows)]
    figure = new_figure(2.1 * len(policies) + legend_height(names))
    lines: list[Any] = []
    for place, policy in enumerate(policies):
        axes = figure.add_subplot(len(policies), 1, place + 1)
        for index, name in enumerate(names):
            row = by_estimator(rows)[name][policy]
            at, means = row["look_ups"], [one["mean"] for one in row["regret"]]
            marks = {"color": INK} if name == "exact gradient" else nth_look(index - 1)
            (line,) = axes.plot(at, means, lw=1.0, markersize=3, **marks)
            if place == 0:
                lines.append(line)
            if row["regret"][0]["low"] is not None:
                low, high = ([one[end] for one in row["regret"]] for end in ("low", "high"))
                axes.fill_between(at, low, high, color=marks["color"], alpha=0.15, lw=0)
        axes.axhline(rows[0]["static"], color=THEIRS, lw=0.8, ls="--")
        axes.set(xscale="log", ylabel=f"regret in nats, {policy}")
        plain_logarithms(axes.xaxis)
    axes.set(xlabel="masks looked up")
    legend_below(figure, lines, names)
    caption = "Regret after equal numbers of masks; dashed: the best mask for all inputs."
    ends = ", ".join(
        f"{name} {by_estimator(rows)[name][policies[-1]]['regret'][-1]['mean']:.3f}"
        for name in names
    )
    return Drawn(figure, "regret", caption, f"Regret at the end, {policies[-1]}: {ends}")
