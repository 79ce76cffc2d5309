"""A comparison to a folder: one page, the same tables as Markdown and CSV, plots as PNG and SVG."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from runs.engine.jobs import Comparison
from runs.report.dense_figures import dense_figures
from runs.report.dense_tables import dense_tables
from runs.report.figures import all_figures
from runs.report.findings import findings
from runs.report.html import page
from runs.report.tables import all_tables
from runs.show.drawing import Drawn, drawn_in_style
from runs.show.tables import NOTES, Table, rows_csv, table
from runs.stats.contests import Contest, Point, Times, chosen, make_contests
from runs.stats.recorded_dense import dense_elsewhere
from runs.stats.rows import MODES
from runs.studies.ablation.section import ablation
from runs.studies.paper.fig1 import fig1_figure, fig1_of, fig1_table
from runs.studies.paper.figures import paper_figures
from runs.timing.front_times import recorded_times, times_path

PAGE = "index.html"
RESULTS = Path("runs/results")


def publish(comparison: Comparison, folder: Path, results_dir: Path = RESULTS) -> str:
    """Writes a report and returns its main table, with notes, as text.

    Args:
        comparison: with at least one finished run.
        folder: made where it is missing; files of the same names are replaced.
        results_dir: where dense networks of the equal-cost sweeps are recorded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows, elsewhere = comparison.rows, borrowed(comparison, results_dir)
    times = times_in(results_dir, comparison.sweep.name)
    contests = contests_of(comparison, elsewhere, times)
    sentences = findings(comparison)
    words = "\n".join(f"- {sentence}" for sentence in sentences)
    text = f"{comparison.sweep.description}\n\n{table(rows)}\n\n{NOTES}\n\n{words}\n"
    (folder / "table.md").write_text(text)
    (folder / "table.csv").write_text(rows_csv(rows))
    tables = all_tables(comparison)
    with drawn_in_style():
        figures = all_figures(comparison)
        tables["dense"], figures["dense"] = against_dense(contests)
        tables["paper"], figures["paper"] = beside_the_paper(comparison, elsewhere, times)
        tables["ablation"], figures["ablation"] = ablation(comparison)
    for made in itertools.chain.from_iterable(tables.values()):
        (folder / f"{made.name}.md").write_text(made.markdown())
        (folder / f"{made.name}.csv").write_text(made.csv())
    for figure in itertools.chain.from_iterable(figures.values()):
        figure.write(folder)
    (folder / PAGE).write_text(page(comparison, sentences, tables, figures))
    return text


def against_dense(
    contests: Mapping[str, Sequence[Contest]],
) -> tuple[list[Table], list[Drawn]]:
    """Tables and figures of dense against conditional networks, under each kind of masks."""
    tables: list[Table] = []
    figures: list[Drawn] = []
    for draw, under_draw in contests.items():
        tables += dense_tables(under_draw, draw, DRAWS[draw])
        figures += dense_figures(under_draw, draw, DRAWS[draw])
    return tables, figures


def beside_the_paper(
    comparison: Comparison,
    elsewhere: Mapping[str, Sequence[Point]],
    times: Mapping[str, Times | None],
) -> tuple[list[Table], list[Drawn]]:
    """Tables and figures that stand for one of the paper; none where the sweep is none of it."""
    dense = [point for points in elsewhere.values() for point in chosen(points)]
    figures = paper_figures(comparison, dense, times["sampled"])
    fig1 = fig1_of(comparison.sweep.name, comparison.results)
    if fig1 is None:
        return [], figures
    return [fig1_table(*fig1)], [*figures, fig1_figure(*fig1)]


DRAWS = {
    "sampled": "Masks as drawn.",
    "mode": "Most probable masks; validation errors are theirs too where they are known.",
}


def borrowed(comparison: Comparison, results_dir: Path) -> dict[str, list[Point]]:
    """Data set -> dense networks that its equal-cost sweep recorded."""
    datasets = dict.fromkeys(row["dataset"] for row in comparison.rows)
    return dense_elsewhere(datasets, results_dir, comparison.sweep.name)


def times_in(results_dir: Path, sweep_name: str) -> dict[str, Times | None]:
    """Masks -> times of a sweep's rows that were measured in turns, None where there are none."""
    path = times_path(results_dir, sweep_name)
    return {draw: recorded_times(path, draw) for draw in MODES}


def contests_of(
    comparison: Comparison,
    elsewhere: Mapping[str, Sequence[Point]],
    times: Mapping[str, Times | None],
) -> dict[str, list[Contest]]:
    """Masks -> dense against conditional networks; most probable too where some are learned."""
    learned = any(row["learns"] for row in comparison.rows)
    shown = MODES if learned and comparison.masks == "sampled" else (comparison.masks,)
    return {draw: make_contests(comparison.results, draw, elsewhere, times[draw]) for draw in shown}
