"""A comparison to a folder: one page that needs nothing else, tables, plots as PNG and SVG.

Jinja2 fills `page.html.jinja` and escapes every text (labels and module names are the user's). What
moves (sorting, charts) is script inside the page; without it all numbers and pictures are there.
"""

import base64
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from ccenv.runs.engine.jobs import Comparison, names_of, origins
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.report.chart import chart, embedded, scripts
from ccenv.runs.report.dense import AGAINST_DENSE, IN_BITS
from ccenv.runs.report.families import make_families
from ccenv.runs.report.figures import WIDE, all_figures, file_name
from ccenv.runs.report.findings import findings
from ccenv.runs.report.input_page import section_of
from ccenv.runs.report.tables import all_tables
from ccenv.runs.tables.drawing import INK, Drawn, drawn_in_style
from ccenv.runs.tables.sweep_table import Table, by_dataset, notes, rows_csv, table

TEMPLATE, SCRIPT, STYLE = "page.html.jinja", "page.js", "page.css"
INPUTS = "inputs.html.jinja"
INPUT_SCRIPTS = ("mlp.js", "policy.js", "price.js", "inputs.js")


def page(
    comparison: Comparison,
    findings: Sequence[str],
    tables: Mapping[str, Sequence[Table]],
    figures: Mapping[str, Sequence[Drawn]],
    parts: Mapping[Section, Part],
    view: Mapping[str, Any] | None = None,
) -> str:
    """Fills the template."""
    charts = charts_of(comparison)
    template = environment_of_pages().get_template(TEMPLATE)
    return template.render(
        sweep=comparison.sweep,
        num_finished=len(comparison.finished),
        num_runs=len(comparison.finished) + len(comparison.missing),
        missing=names_of(comparison.missing),
        origins=origins(comparison),
        findings=findings,
        tables=tables,
        figures=figures,
        parts=parts,
        charts=charts,
        ink=INK,
        vega=scripts() if charts else "",
        own_script=own_file(SCRIPT),
        style=own_file(STYLE),
        view=view and Markup(embedded(view)),
        view_script=input_scripts(),
    )


def input_page(view: Mapping[str, Any]) -> str:
    """A page of single inputs alone."""
    names = [agent["name"] for agent in view["agents"]]
    kind = "as drawn" if view["masks"] == "sampled" else "most probable"
    template = environment_of_pages().get_template(INPUTS)
    return template.render(
        title=" and ".join(names),
        about=f"Test inputs of {view['dataset']}, one by one; masks {kind}.",
        style=own_file(STYLE),
        view=Markup(embedded(view)),
        view_script=input_scripts(),
    )


def input_scripts() -> str:
    """What draws single inputs."""
    return "\n".join(map(own_file, INPUT_SCRIPTS))


def own_file(name: str) -> str:
    """A file beside this one."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def charts_of(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """Name of a figure -> the same as an interactive chart; empty where Altair is not installed."""
    families, charts = make_families(comparison.results), {}
    for name, rows in by_dataset(comparison.rows).items():
        if spec := chart(rows, families):
            errors = [row["error"]["mean"] for row in rows]
            wide = 0 < min(errors) * WIDE < max(errors)
            content = {"spec": Markup(embedded(spec)), "wide": wide}
            charts[file_name("front", name, comparison.rows)] = content
    return charts


def environment_of_pages() -> Environment:
    """Where templates are, and how they escape and format."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"data_uri": data_uri, "share": share, "breakable": breakable}
    return environment


def data_uri(svg: str) -> str:
    """An image inside the page."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def share(cell: str) -> str | None:
    """A cell that is a share of 1, None of any other.

    >>> share("0.250"), share("rloo"), share("1,024")
    ('0.250', None, None)
    """
    try:
        return cell if 0 <= float(cell) <= 1 else None
    except ValueError:
        return None


def breakable(text: str) -> Markup:
    """Lets long names break where a person would break them, and nowhere else.

    >>> breakable("block_dropout")
    Markup('block_<wbr>dropout')
    """
    return Markup(re.sub(r"([_:/])(?=\w)", r"\1<wbr>", str(escape(text))))


PAGE = "index.html"
RESULTS = Path("runs/results")


def publish(
    comparison: Comparison,
    folder: Path,
    results_dir: Path = RESULTS,
    sections: Sequence[Section] = (),
) -> str:
    """Writes a report and returns its main table, with notes, as text."""
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
