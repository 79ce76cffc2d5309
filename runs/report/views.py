"""What a report's figure and table show: a measure over a cost, at each setting of its switches."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ccenv.base.mask_words import BOTH, in_files
from ccenv.runs.engine.sweep_runs import SweepRuns
from ccenv.runs.stats.cost_points import Point, make_point, times_in
from ccenv.runs.stats.dense_comparison import chosen_variants, dense_elsewhere
from ccenv.runs.stats.measures import (
    BITS,
    ERROR,
    NLL,
    OF_SYMBOLS,
    Measure,
    dataset_of,
    repeated,
)


@dataclass(frozen=True)
class Cost:
    """An axis of costs."""

    key: str
    """in the page's switches and in names of files."""
    short: str
    """in tables and at the switch."""
    title: str
    """on the axis."""
    of: Callable[[Point], float]
    """where a point stands; infinite where that is not known."""
    spec: str
    """how it is written."""


@dataclass(frozen=True)
class PlotView:
    """What the figure and the table show at one setting of the switches."""

    number: int
    """of the data set in the report."""
    dataset: str
    """inputs that all points are judged on."""
    measure: Measure
    """on the upright axis; "errors" of points are numbers of it."""
    cost: Cost
    """on the other one."""
    deterministic: bool | None
    """True for greedy masks, False for sampled ones; None for each agent's own."""
    points: tuple[Point, ...]
    """one for each row."""
    ceilings: frozenset[str]
    """labels of rows that know the labels of inputs."""
    elsewhere: tuple[Point, ...]
    """dense networks of the equal-cost sweep on the same inputs."""

    @property
    def settings(self) -> dict[str, str]:
        """Switch -> its setting."""
        measure = self.measure.name or "error"
        settings = {"data": str(self.number), "measure": measure}
        return settings | {"cost": self.cost.key, "masks": in_files(self.deterministic, "asked")}

    @property
    def when(self) -> str:
        """The settings as tables and figures are marked with them."""
        return " ".join(f"{switch}-{setting}" for switch, setting in self.settings.items())

    def at(self, point: Point) -> tuple[float, float]:
        """Where a point stands: its cost, and what is measured as the axis shows it."""
        return self.cost.of(point), self.measure.factor * point.interval.mean

    @functools.cached_property
    def placed(self) -> list[Point]:
        """Points whose cost is known; what computes nothing has no place in logarithms."""
        return [p for p in self.points if p.macs and 0 < self.cost.of(p) < math.inf]

    @functools.cached_property
    def front(self) -> list[Point]:
        """The Pareto front of means, by cost; ceilings aside."""
        front: list[Point] = []
        for point in sorted(self.placed, key=self.at):
            is_better = not front or point.interval.mean < front[-1].interval.mean
            if is_better and point.label not in self.ceilings:
                front.append(point)
        return front

    @functools.cached_property
    def chosen(self) -> frozenset[str]:
        """Labels of rows that validation chose among those of one method and cost."""
        judged = [point for point in self.points if point.label not in self.ceilings]
        return frozenset(p.label for p in chosen_variants(judged, by_memory=self.measure is BITS))


def make_views(comparison: SweepRuns, results_dir: Path) -> list[PlotView]:
    """Every setting of the switches that there is something to show at."""
    results = {label: runs for label, runs in comparison.results.items() if runs}
    names = list(dict.fromkeys(dataset_of(runs[0]) for runs in results.values()))
    elsewhere = dense_elsewhere(names, results_dir, comparison.name)
    times = times_in(results_dir, comparison.name)
    learned = any(runs[0]["learns"] for runs in results.values())
    views, same = [], repeated(results)
    for number, dataset in enumerate(names):
        rows = {k: runs for k, runs in results.items() if dataset_of(runs[0]) == dataset}
        of_symbols = all(run.get(OF_SYMBOLS) for runs in rows.values() for run in runs)
        ceilings = frozenset(k for k, runs in rows.items() if runs[0]["uses_labels"])
        for measure in (ERROR, BITS if of_symbols else NLL):
            usual = comparison.deterministic
            kinds = BOTH if usual is not None else (None, *BOTH)
            for deterministic in kinds if learned else (usual,):
                at = times[deterministic]
                made = [make_point(k, runs, deterministic, measure, at) for k, runs in rows.items()]
                # Rows that repeat another are its variants, but for the reader's.
                methods = {point.label: point.method for point in made}
                methods |= {
                    k: methods[same[k]] for k in rows if k in same and not rows[k][0].get("added")
                }
                points = tuple(dataclasses.replace(one, method=methods[one.label]) for one in made)
                dense = elsewhere.get(dataset, ()) if measure is ERROR else ()
                views += [
                    PlotView(
                        number,
                        dataset,
                        measure,
                        cost,
                        deterministic,
                        points,
                        ceilings,
                        tuple(dense),
                    )
                    for cost in costs_of(points)
                ]
    return [view for view in views if view.placed]


def costs_of(points: Sequence[Point]) -> list[Cost]:
    """Axes of costs of which something is known."""

    def over(size: int) -> Callable[[Point], float]:
        return lambda point: point.time(size) or math.inf

    title = "MACs of one input, policy included"
    costs = [Cost("macs", "MACs", title, lambda point: point.macs, ",.0f")]
    for size in sorted({size for point in points for size in point.milliseconds}):
        short = f"ms for {'one input' if size == 1 else f'{size} inputs'}"
        costs.append(Cost(f"time-{size}", short, f"{short}, policy included", over(size), ",.3g"))
    if any(point.memory for point in points):
        short, title = "memory in kB", "memory of network and policy in kB"
        costs.append(Cost("memory", short, title, lambda p: p.kilobytes or math.inf, ",.1f"))
    return costs
