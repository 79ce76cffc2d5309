"""The study of estimators as text and figures: rows of its results -> Markdown, drawings."""

from collections.abc import Mapping, Sequence
from typing import Any

from ccenv.runs.stats.intervals import Interval
from ccenv.runs.tables.drawing import (
    COLORS,
    INK,
    THEIRS,
    Drawn,
    legend_below,
    legend_height,
    look,
    new_figure,
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


REACHED = {
    "MACs": ">{cost[mean]:.3f}",
    "nll": ">{score[mean]!n:.3f}",
    "static": ">{static[mean]!n:.3f}",
    "random": ">{random[mean]!n:.3f}",
    "oracle": ">{oracle[mean]!n:.3f}",
    "gap closed": ">{gap_closed!i:.3f}",
}
"""Of a policy: MACs, its nll and those of baselines at the same cost, share of the gap closed."""
POLICIES = {"budget": ">{budget:.2f}", "policy": "<{policy}", "learner": "<{learner}"} | REACHED
AGENTS = {
    "budget": ">{budget:.2f}",
    "agent": "<{agent}",
    "seeds": ">{seeds}",
    **REACHED,
    "likeliest: MACs": ">{mode_cost[mean]:.3f}",
    "likeliest: gap": ">{mode_gap!i:.3f}",
}
LOOKS = {"look": "<{look}", "inputs": ">{inputs:,}", "run before": ">{beforehand:.3f}"} | REACHED


def looks_figure(rows: Sequence[Row]) -> Drawn:
    """Share of the gap closed with each look, from the least to the most."""
    ordered = sorted(rows, key=lambda row: row["gap_closed"]["mean"])
    figure = new_figure(0.8 + 0.22 * len(rows))
    axes = figure.add_subplot()
    gaps = [Interval(**row["gap_closed"]) for row in ordered]
    places = range(len(rows))
    paid = [row["beforehand"] for row in ordered]
    axes.barh(places, [gap.mean for gap in gaps], color=[COLORS[int(p > 0)] for p in paid])
    for place, gap in zip(places, gaps, strict=True):
        if gap.low is not None and gap.high is not None:
            axes.plot([gap.low, gap.high], [place, place], color=INK, lw=1.0)
    axes.axvline(0.0, color=INK, lw=0.8)
    axes.set_yticks(list(places), [f"{row['look']} ({row['inputs']:,})" for row in ordered])
    axes.set(xlabel="share of the gap closed")
    caption = "What better looks, and more inputs (in brackets), are worth."
    alt = "; ".join(f"{row['look']}: {gap:.3f}" for row, gap in zip(ordered, gaps, strict=True))
    return Drawn(figure, "gap", caption, alt)


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
            marks = {"color": INK} if name == "exact gradient" else look(index - 1)
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


def policies_figure(rows: Sequence[Row]) -> Drawn:
    """Share of the gap closed at each budget, a line a way."""
    ways = list(dict.fromkeys((row["policy"], row["learner"]) for row in rows))
    ways = [way for way in ways if way[0] != "constant"]
    names = [f"{learner}, {policy}" for policy, learner in ways]
    figure = new_figure(2.6 + legend_height(names))
    axes, lines = figure.add_subplot(), []
    for index, (policy, learner) in enumerate(ways):
        own = [row for row in rows if (row["policy"], row["learner"]) == (policy, learner)]
        at = [row["budget"] for row in own]
        gaps = [Interval(**row["gap_closed"]) for row in own]
        marks = {"color": COLORS[index % len(COLORS)], "marker": "so"[policy == "hidden"]}
        style = "-" if policy == "hidden" else ":"
        lines += axes.plot(at, [gap.mean for gap in gaps], ls=style, lw=1.0, markersize=3, **marks)
    axes.axhline(0.0, color=INK, lw=0.8)
    axes.set(xlabel="share of the dense network's MACs", ylabel="share of the gap closed")
    legend_below(figure, lines, names)
    caption = "Share of the gap between mixtures of static masks and the oracle, unseen images."
    alt = "; ".join(
        f"{row['learner']}, {row['policy']} at {row['budget']:.2f}: "
        f"{Interval(**row['gap_closed']):.3f}"
        for row in rows
        if (row["policy"], row["learner"]) in ways
    )
    return Drawn(figure, "gap", caption, alt)
