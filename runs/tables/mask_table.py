"""Tables of all masks as text: (what `ccenv table show` found, a plan) -> Markdown."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ccenv.runs.tables.sweep_table import markdown

if TYPE_CHECKING:
    from ccenv.mask_table import Plan
    from ccenv.mask_table.times import UnitTimes

COLUMNS = {
    "blocks": "right",
    "masks": "right",
    "static MACs": "right .3f",
    "static %": "right .2f",
    "random MACs": "right .3f",
    "random %": "right .2f",
    "oracle MACs": "right .3f",
    "oracle %": "right .2f",
    "oracle, equal MACs %": "right .2f",
    "gap": "right .2f",
}
NOTES = """\
Errors in %. Static: the mask of so many blocks with the least error on the inputs that choose.
Random: mean over all masks of so many. Oracle: each input has its own mask, chosen with its label
known, of exactly so many blocks; at equal MACs: of any number, costing no more than the static one
on the mean. Gap: what the oracle has before the static mask at equal MACs, in points. MACs are
shares of the dense network's."""


def text(found: Mapping[str, Any]) -> str:
    """What a table is of, its rows and how to read them."""
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
    if found["policy"] is not None:
        said = f"{said}\n\n{policy_text(found['policy'])}"
    return f"{said}\n\n{recorded_table(found['rows'])}\n\n{NOTES}"


def recorded_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of a recorded result."""
    return markdown(COLUMNS, [cells(row) for row in rows])


def policy_text(placed: Mapping[str, Any]) -> str:
    """Where a policy stands."""
    names = ("error", "static_error", "oracle_error", "gap_closed")
    error, static, oracle, closed = (f"{100 * placed[name]:.2f} %" for name in names)
    return (
        f"policy: error {error} at {placed['cost']:.3f} of the dense MACs; at that cost the best "
        f"static mask {static}, the oracle {oracle}: {closed} of the gap closed"
    )


def cells(row: Mapping[str, Any]) -> list[Any]:
    """One line."""
    kinds = ("static", "random", "oracle")
    pairs = [(row[f"{kind}_cost"], 100 * row[f"{kind}_error"]) for kind in kinds]
    gap = 100 * (row["static_error"] - row["equal_error"])
    numbers = [number for pair in pairs for number in pair]
    return [row["units"], row["num_masks"], *numbers, 100 * row["equal_error"], gap]


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


def plan_text(plan: "Plan") -> str:
    """What is going to be built."""
    return (
        f"{size_text(plan.num_masks, plan.num_images)}: {plan.num_bytes / 1e6:,.1f} MB; "
        f"{plan.num_left:,} inputs are left, about {plan.seconds / 60:,.1f} minutes"
    )
