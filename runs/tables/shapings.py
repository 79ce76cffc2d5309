"""Rewards at common costs and errors: `Shapings` -> the table of a terminal and of the page."""

from collections.abc import Sequence

from ccenv.runs.stats.intervals import (
    Interval,
    mean_interval,
    paired_difference,
    with_interval,
)
from ccenv.runs.stats.shapings import BySeed, Shapings
from ccenv.runs.tables.sweep_table import Table

NOTE = (
    "What one agent reaches under each reward, over its cost weights: rows that no cheaper one "
    "beats on validation data, test numbers of each seed linear in the MACs between two of them "
    "(drawing one of the two policies for each input reaches that). Costs and errors: those that "
    "all seeds of all rewards reach. MACs: of one input, the policy's own included. Last column: "
    "difference from the first reward, paired by seed. Student's 95 % intervals, each for itself; "
    "less is better."
)


def shapings_table(shapings: Shapings, among: int = 1) -> Table:
    """A line for each reward at each common cost, then at each common error.

    Args:
        shapings: of one data set.
        among: how many data sets there are; several are named.
    """
    first, measure = shapings.fronts[0].name, shapings.measure
    lines: list[Sequence[str]] = []
    for macs in shapings.common_costs:
        numbers = {front.name: front.errors_at(macs) for front in shapings.fronts}
        what = f"{measure.titled} at {macs:,.0f} MACs"
        lines += compared(what, numbers, measure.spec, measure.ends)
    for error in shapings.common_errors:
        numbers = {front.name: front.macs_at(error) for front in shapings.fronts}
        at = f"{measure.factor * error:.3g}{measure.sign or ' ' + measure.unit}"
        lines += compared(f"MACs at {at}", numbers, ",.0f", (0.0, float("inf")))
    name = "shapings-at-cost" + (f"-{shapings.dataset}" if among > 1 else "")
    columns = {"what": "left", "reward": "left", "mean": "right", f"minus {first}": "right"}
    title = f"{shapings.agent} under each reward, {shapings.dataset}"
    return Table(name, title, columns, lines, NOTE)


def compared(
    what: str, numbers: dict[str, BySeed], spec: str, ends: tuple[float, float]
) -> list[Sequence[str]]:
    """Lines of one cost or one error; its name stands in the first of them alone."""
    lines: list[Sequence[str]] = []
    first = next(iter(numbers.values()))
    for name, by_seed in numbers.items():
        mean = with_interval(mean_interval(list(by_seed.values())), len(by_seed), spec, ends)
        difference = None if by_seed is first else paired_difference(by_seed, first)
        shared = len(set(by_seed) & set(first))
        lines.append(["" if lines else what, name, mean, signed(difference, shared, spec)])
    return lines


def signed(difference: Interval | None, num_seeds: int, spec: str) -> str:
    """A difference with its interval, its mean's sign written; "" where there is none.

    >>> signed(Interval(0.012, 0.001, 0.01, 0.02), 3, ".1%"), signed(None, 3, ".1%")
    ('+1.2 [1.0, 2.0]', '')
    """
    if difference is None:
        return ""
    text = with_interval(difference, num_seeds, spec, (-float("inf"), float("inf")))
    return text if text.startswith("-") else f"+{text}"
