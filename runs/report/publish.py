"""A comparison to a folder: one page, the same tables as Markdown and CSV, plots as PNG and SVG."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.report.dense.section import AGAINST_DENSE, IN_BITS
from ccenv.runs.report.figures import all_figures
from ccenv.runs.report.findings import findings
from ccenv.runs.report.html import page
from ccenv.runs.report.inputs.section import section_of
from ccenv.runs.report.tables import all_tables
from ccenv.runs.show.drawing import drawn_in_style
from ccenv.runs.show.tables import notes, rows_csv, table

PAGE = "index.html"
RESULTS = Path("runs/results")


def publish(
    comparison: Comparison,
    folder: Path,
    results_dir: Path = RESULTS,
    sections: Sequence[Section] = (),
) -> str:
    """Writes a report and returns its main table, with notes, as text.

    Args:
        comparison: with at least one finished run.
        folder: made where it is missing; files of the same names are replaced.
        results_dir: where dense networks of the equal-cost sweeps are recorded.
        sections: the study's own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows, sentences, text = comparison.rows, findings(comparison), answer(comparison)
    (folder / "table.md").write_text(text, encoding="utf-8")
    (folder / "table.csv").write_text(rows_csv(rows), encoding="utf-8")
    tables, parts = all_tables(comparison), made(comparison, results_dir, sections)
    with drawn_in_style():
        figures = all_figures(comparison)
    own = list(parts.values())
    for made_table in itertools.chain(*tables.values(), *(part.tables for part in own)):
        (folder / f"{made_table.name}.md").write_text(made_table.markdown(), encoding="utf-8")
        (folder / f"{made_table.name}.csv").write_text(made_table.csv(), encoding="utf-8")
    for figure in itertools.chain(*figures.values(), *(part.figures for part in own)):
        figure.write(folder)
    view = section_of(comparison)
    (folder / PAGE).write_text(
        page(comparison, sentences, tables, figures, parts, view), encoding="utf-8"
    )
    return text


def answer(comparison: Comparison) -> str:
    """The main table, with notes and findings, as text: what is there before anything is drawn."""
    rows = comparison.rows
    words = "\n".join(f"- {sentence}" for sentence in findings(comparison))
    return f"{comparison.sweep.description}\n\n{table(rows)}\n\n{notes(rows)}\n\n{words}\n"


def made(
    comparison: Comparison, results_dir: Path, sections: Sequence[Section]
) -> dict[Section, Part]:
    """What a study's sections show, and dense networks beside conditional ones in any report."""
    with drawn_in_style():
        return {
            section: section.make(comparison, results_dir)
            for section in (*sections, IN_BITS, AGAINST_DENSE)
        }
