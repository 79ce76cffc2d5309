"""What the reports of the paper's studies add: its figures with ours drawn over them."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.stats.cost_points import Point, borrowed, in_turns, make_point, times_in
from ccenv.runs.stats.dense_comparison import chosen
from ccenv.runs.studies.paper.figures import (
    Points,
    Results,
    density_figures,
    fig1_figure,
    fig1_of,
    fig1_table,
    front_figures,
    lambda_s_figures,
    lambda_v_figures,
)
from ccenv.runs.tables.drawing import Drawn

Draw = Callable[[Results, Points, Sequence[Point]], list[Drawn]]
"""(results by label, the same as points, dense networks of the same images) -> figures."""


def drawn_over(draw: Draw, comparison: Comparison, results_dir: Path) -> Part:
    """A figure of the paper; times measured in turns stand in place of the runs' own."""
    datasets = (row["dataset"] for row in comparison.rows)
    elsewhere = borrowed(datasets, results_dir, comparison.name)
    dense = [point for points in elsewhere.values() for point in chosen(points)]
    times = times_in(results_dir, comparison.name)["sampled"]
    results = {label: found for label, found in comparison.results.items() if found}
    points = [make_point(label, found, "sampled") for label, found in results.items()]
    by_label = {point.label: in_turns(point, times) for point in points}
    return Part(figures=draw(results, by_label, dense))


def block_use(comparison: Comparison, results_dir: Path) -> Part:
    """Fig. 1, of the first condnet with a result."""
    fig1 = fig1_of(comparison.results)
    return Part() if fig1 is None else Part([fig1_table(*fig1)], [fig1_figure(*fig1)])


def section(make: Callable[[Comparison, Path], Part]) -> Section:
    """A section of this name in any report."""
    return Section("paper", "Beside the paper", make)


FIG_1 = section(block_use)
FIG_3 = section(partial(drawn_over, front_figures))
FIG_5A = section(partial(drawn_over, lambda_s_figures))
FIG_5B = section(partial(drawn_over, lambda_v_figures))
FIG_5_7 = section(partial(drawn_over, density_figures))
