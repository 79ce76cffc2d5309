"""Rewards at common costs and errors: `Shapings` -> the table of a terminal and of the page."""

from collections.abc import Mapping, Sequence

from ccenv.runs.stats.intervals import (
    Interval,
    mean_interval,
    paired_difference,
    with_interval,
)
from ccenv.runs.stats.shapings import RISEN, BySeed, Shapings
from ccenv.runs.tables.sweep_table import Table

NOTE = (
    "What one agent reaches under each reward, over its cost weights. At MACs of one input, the "
    "policy's own included: test error, of rows that no cheaper one beats on validation data, "
    "linear between two of them (drawing one of the two policies for each input reaches that). At "
    "an error: the least MACs. Both at numbers that all seeds of all rewards reach. At a share of "
    "the rise of its own return on validation data: thousands of training inputs, mean over cost "
    "weights. Last column: minus the first reward, paired by seed. Student's 95 % intervals, each "
    "for itself; less is better."
)
SHORT_NOTE = (
    "At MACs: test error in %. At an error: MACs. At a share of the return's rise: thousands of "
    "training inputs. Minus the first: paired by seed."
)
"""The same where there is little room."""


def shapings_table(shapings: Shapings, among: int = 1) -> Table:
    """A line for each reward at each common cost and error, and for how soon it learns.

    Args:
        shapings: of one data set.
        among: how many data sets there are; several are named.
    """
    measure = shapings.measure
    lines: list[Sequence[str]] = []
    for macs in shapings.common_costs:
        numbers = {one.name: one.errors_at(macs) for one in shapings.rewards}
        lines += shapings_rows(f"{macs:,.0f} MACs", numbers, measure.spec, measure.ends)
    for error in shapings.common_errors:
        numbers = {one.name: one.macs_at(error) for one in shapings.rewards}
        at = f"{measure.factor * error:.3g} {measure.unit}{' error' * bool(measure.sign)}"
        lines += shapings_rows(at, numbers, ",.0f", (0.0, float("inf")))
    soon = {one.name: one.soon for one in shapings.rewards}
    if all(soon.values()):
        thousands = {k: {seed: n / 1000 for seed, n in v.items()} for k, v in soon.items()}
        lines += shapings_rows(
            f"{100 * RISEN:.0f} % of rise", thousands, ".1f", (0.0, float("inf"))
        )
    name = "shapings-at-cost" + (f"-{shapings.dataset}" if among > 1 else "")
    columns = {"at": "left", "reward": "left", "mean": "right", "minus the first": "right"}
    title = f"{shapings.agent} under each reward, {shapings.dataset}"
    return Table(name, title, columns, lines, NOTE)


def shapings_rows(
    at: str, numbers: Mapping[str, BySeed], spec: str, ends: tuple[float, float]
) -> list[Sequence[str]]:
    """Lines of one cost or one error; its name stands in the first of them alone."""
    lines: list[Sequence[str]] = []
    first = next(iter(numbers.values()))
    for name, by_seed in numbers.items():
        mean = with_interval(mean_interval(list(by_seed.values())), len(by_seed), spec, ends)
        difference = None if by_seed is first else paired_difference(by_seed, first)
        shared = len(set(by_seed) & set(first))
        lines.append(["" if lines else at, name, mean, signed(difference, shared, spec)])
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
