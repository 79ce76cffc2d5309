"""A comparison to a folder: one page, the same tables as Markdown and CSV, plots as PNG and SVG."""

from pathlib import Path

from runs.jobs import Comparison
from runs.page.figures import all_figures
from runs.page.findings import findings
from runs.page.html import page
from runs.page.report_tables import all_tables
from runs.report import NOTES, rows_csv, table

PAGE = "index.html"


def publish(comparison: Comparison, folder: Path) -> str:
    """Writes a report and returns its main table, with notes, as text.

    Args:
        comparison: with at least one finished run.
        folder: made where it is missing; files of the same names are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows, said = comparison.rows, findings(comparison)
    words = "\n".join(f"- {sentence}" for sentence in said)
    text = f"{comparison.sweep.description}\n\n{table(rows)}\n\n{NOTES}\n\n{words}\n"
    (folder / "table.md").write_text(text)
    (folder / "table.csv").write_text(rows_csv(rows))
    tables, figures = all_tables(comparison), all_figures(comparison)
    for one in (each for found in tables.values() for each in found):
        (folder / f"{one.name}.md").write_text(one.markdown())
        (folder / f"{one.name}.csv").write_text(one.csv())
    for figure in (each for found in figures.values() for each in found):
        figure.write(folder)
    (folder / PAGE).write_text(page(comparison, said, tables, figures))
    return text
