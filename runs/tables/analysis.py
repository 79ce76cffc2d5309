"""Analyses as tables and figures: which gates matter, how tables retrieve blocks, all masks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ccenv.runs.tables.drawing import (
    INK,
    Drawn,
    legend_below,
    legend_height,
    look,
    new_figure,
)
from ccenv.runs.tables.sweep_table import Columns, Row, markdown, read

if TYPE_CHECKING:
    from ccenv.mask_table import BuildPlan
    from ccenv.mask_table.times import UnitTimes

TWO_SIDED = 1.96
"""standard errors of a 95 % interval, of a normal distribution."""


def spread_of(row: Row) -> str | None:
    """Half the interval of what a gate adds to the nll."""
    spread = row["nll_more_error"]
    is_known = row["kept"] != "everything" and spread is not None
    return f"±{TWO_SIDED * spread:.3f}" if is_known else None


GATE_COLUMNS: Columns = {
    "kept": ("left", lambda row: " ".join(filter(None, [row["kept"], row["name"]]))),
    "error %": ("right .2f", lambda row: 100 * row["error"]),
    "nll": ("right .3f", "nll"),
    "nll more": (
        "right +.3f",
        lambda row: None if row["kept"] == "everything" else row["nll_more"],
    ),
    "95 %": ("right", spread_of),
    "compute cost": ("right .3f", "compute_cost"),
}
GATE_NOTES = """\
Error: share of wrong answers; nll in nats; compute cost: executed MACs over the dense network's.
nll more: than with everything kept, mean over the same inputs, with its 95 % interval. Costs of
single gates do not add up: see a random half, and nothing kept."""


def gate_table(rows: Sequence[Row]) -> str:
    """A line for each variant."""
    return markdown(*read(GATE_COLUMNS, rows))


def recall_figure(rows: Sequence[Row]) -> Drawn:
    """Two axes side by side: recall over memory, and over the share of retrieved blocks."""
    probes = sorted({row["probes"] for row in rows})
    names = ["1 probe" if number == 1 else f"{number} probes" for number in probes]
    figure = new_figure(2.4 + legend_height([*names, ""]))
    left, right = figure.subplots(1, 2, sharey=True)
    lines = []
    for place, number in enumerate(probes):
        own = sorted((r for r in rows if r["probes"] == number), key=lambda row: row["entries"])
        values, style = [row["recall"] for row in own], look(place) | {"ms": 3, "lw": 1.2}
        lines += left.plot([row["entries"] for row in own], values, **style)
        right.plot([row["retrieved"] for row in own], values, **style)
    lines += right.plot([0, 1], [0, 1], color=INK, ls="--", lw=0.8)
    left.set(xscale="log", xlabel="numbers in tables", ylabel="recall of the best blocks")
    right.set(xlabel="share retrieved")
    ticks = sorted({row["entries"] for row in rows})[::2]
    left.set_xticks(ticks, [f"{number:,}" for number in ticks])
    left.minorticks_off()
    legend_below(figure, lines, [*names, "by chance"])
    gate = rows[0]["gate"]
    said = "; ".join(
        f"{row['tables']} tables, {row['probes']} probes: {row['recall']:.2f} at "
        f"{row['retrieved']:.2f} retrieved"
        for row in rows
    )
    return Drawn(figure, "recall", f"Recall of the best blocks of {gate}.", said)


MASK_COLUMNS: Columns = {
    "blocks": ("right", "units"),
    "masks": ("right", "num_masks"),
    "static MACs": ("right .3f", "static_cost"),
    "static %": ("right .2f", lambda row: 100 * row["static_error"]),
    "random MACs": ("right .3f", "random_cost"),
    "random %": ("right .2f", lambda row: 100 * row["random_error"]),
    "oracle MACs": ("right .3f", "oracle_cost"),
    "oracle %": ("right .2f", lambda row: 100 * row["oracle_error"]),
    "oracle, equal MACs %": ("right .2f", lambda row: 100 * row["equal_error"]),
    "gap": ("right .2f", lambda row: 100 * (row["static_error"] - row["equal_error"])),
}
MASK_NOTES = """\
Errors in %. Static: the mask of so many blocks with the least error on the inputs that choose.
Random: mean over all masks of so many. Oracle: each input has its own mask, chosen with its label
known, of exactly so many blocks; at equal MACs: of any number, costing no more than the static one
on the mean. Gap: what the oracle has before the static mask at equal MACs, in points. MACs are
shares of the dense network's."""


def all_masks_text(found: Mapping[str, Any]) -> str:
    """What `ccenv table show` found: what a table is of, its rows and how to read them."""
    header, dense = found["header"], found["dense_error"]
    said = (
        f"{header['network']} on {header['dataset']} ({header['split']}), "
        f"{size_text(found['num_masks'], header['num_images'])}, {found['num_bytes']:,} bytes; "
        f"{found['choose']:,} inputs choose, {found['judge']:,} judge (one standard error of an "
        f"error e is sqrt(e (1 - e) / {found['judge']:,})); dense {header['dense_macs']:,} MACs, "
        f"error {'unknown' if dense is None else f'{100 * dense:.2f} %'}"
    )
    if found.get("machine"):
        said += f"; MACs below are shares of the time on {found['machine']}"
    if (placed := found["policy"]) is not None:
        names = ("error", "static_error", "oracle_error", "gap_closed")
        error, static, oracle, closed = (f"{100 * placed[name]:.2f} %" for name in names)
        said += (
            f"\n\npolicy: error {error} at {placed['cost']:.3f} of the dense MACs; at that cost "
            f"the best static mask {static}, the oracle {oracle}: {closed} of the gap closed"
        )
    return f"{said}\n\n{all_masks_table(found['rows'])}\n\n{MASK_NOTES}"


def all_masks_table(rows: Sequence[Row]) -> str:
    """A line for each number of blocks."""
    return markdown(*read(MASK_COLUMNS, rows))


def times_text(times: "UnitTimes") -> str:
    """How long a network takes, and what its units' share is."""
    share = sum(times.units) / times.dense
    return (
        f"{1e6 * times.dense:,.0f} microseconds an input on {times.machine['name']}, "
        f"{len(times.units)} units {100 * share:.0f} % of them"
    )


def size_text(num_masks: int, num_images: int) -> str:
    """How large a table is."""
    return f"{num_masks:,} masks of {num_images:,} inputs"


def plan_text(plan: "BuildPlan") -> str:
    """What is going to be built."""
    return (
        f"{size_text(plan.num_masks, plan.num_images)}: {plan.num_bytes / 1e6:,.1f} MB; "
        f"{plan.num_left:,} inputs are left, about {plan.seconds / 60:,.1f} minutes"
    )
