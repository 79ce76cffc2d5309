"""Cost limits kept: results of runs under one -> mean cost at the end of training against it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ccenv.runs.show.tables import Table
from ccenv.runs.stats.results import Result

WITHIN = 0.02
"""Of the limit: so near counts as met."""
NOTE = (
    "Training cost: mean compute cost of the images in the last tenth of training, masks as drawn. "
    f"Miss: its distance from the limit over the limit; met: at most {WITHIN:.0%}, or below the "
    "limit at a price of 0, where nothing has to be held back. Price: the last one, of the whole "
    "dense network, in units of the reward."
)


@dataclass(frozen=True)
class Kept:
    """One run under a cost limit."""

    label: str
    """its row."""
    seed: int
    """its seed."""
    limit: float
    """mean compute cost to reach."""
    cost: float
    """mean compute cost of the last tenth of training."""
    price: float
    """the last."""

    @property
    def miss(self) -> float:
        """Distance from the limit, in limits; below 0 for less cost."""
        return self.cost / self.limit - 1

    @property
    def is_met(self) -> bool:
        """Whether the limit was reached, or needed no price."""
        return abs(self.miss) <= WITHIN or (self.miss < 0 and self.price == 0)


def kept_limits(results: Mapping[str, Sequence[Result]]) -> list[Kept]:
    """Runs whose price moved for the sake of a limit."""
    return [
        Kept(label, one["seed"], limit, one["last_tenth"]["compute_cost"], price)
        for label, found in results.items()
        for one in found
        if (price := one.get("last_tenth", {}).get("price")) is not None
        if (limit := limit_of(one["settings"])) is not None
    ]


def limit_of(settings: Mapping[str, Any]) -> float | None:
    """The cost limit of a run's agent, or else of its reward."""
    places = (settings["agent_settings"], settings["environment"]["reward_kwargs"])
    return next((place["cost_limit"] for place in places if "cost_limit" in place), None)


def limit_tables(results: Mapping[str, Sequence[Result]]) -> list[Table]:
    """One line for each label under a limit; no table where there is none."""
    kept = kept_limits(results)
    if not kept:
        return []
    columns = {"agent": "left", "limit": "right g", "training cost": "right .4f", "miss %": "right"}
    columns |= {"met": "right", "price": "right"}
    labels = dict.fromkeys(one.label for one in kept)
    lines = [limit_line([one for one in kept if one.label == label]) for label in labels]
    return [Table("cost-limits", "Cost limits", columns, lines, NOTE)]


def limit_line(runs: Sequence[Kept]) -> list[Any]:
    """All seeds of one label: means, and the smallest and largest miss and price."""
    misses, prices = [100 * one.miss for one in runs], [one.price for one in runs]
    return [
        runs[0].label,
        runs[0].limit,
        sum(one.cost for one in runs) / len(runs),
        f"{min(misses):+.2f} to {max(misses):+.2f}",
        f"{sum(one.is_met for one in runs)} of {len(runs)}",
        f"{min(prices):.3g} to {max(prices):.3g}",
    ]
