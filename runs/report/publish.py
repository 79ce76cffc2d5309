"""Writes the report of a comparison: one page that needs nothing else, its tables and pictures.

Jinja2 fills the templates of this folder and escapes every text (labels and module names are the
user's). The page's script shows one of the figures and the columns of the switches' setting, and
sorts tables; without it the page shows the first setting.
"""

import itertools
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from ccenv.base.files import write_whole
from ccenv.base.mask_words import SHOWN, kind_in_words
from ccenv.runs.engine.origins import origins
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.engine.sweep_runs import SweepRuns, names_of
from ccenv.runs.report.curves import block_figures, curve_figures
from ccenv.runs.report.dense import AGAINST_DENSE
from ccenv.runs.report.figures import make_looks, view_figures
from ccenv.runs.report.tables import APART, all_tables
from ccenv.runs.report.views import PlotView, make_views
from ccenv.runs.stats.measures import BITS
from ccenv.runs.stats.shapings import rewards_are_the_question
from ccenv.runs.store import PAGE
from ccenv.runs.store.recorded import WITH_PACKAGE
from ccenv.runs.tables.drawing import WIDE, Picture, drawn_in_style
from ccenv.runs.tables.sweep_table import Table, notes, table


def publish(
    comparison: SweepRuns,
    folder: Path,
    results_dir: Path = WITH_PACKAGE,
    sections: Sequence[Section] = (),
) -> None:
    """Writes a report.

    Args:
        comparison: what is shown.
        folder: of the page, its tables and its figures; it is made.
        results_dir: of recorded results.
        sections: what a study adds.
    """
    rows = comparison.rows
    words = "\n".join(f"- {sentence}" for sentence in comparison.sentences)
    parts_of_text = (comparison.sweep.description, table(rows), notes(rows), f"{words}\n")
    write_whole(folder / "table.md", "\n\n".join(parts_of_text))
    with drawn_in_style():
        report = make_report(comparison, results_dir, sections)
    parts = [Part(report.overview), *report.parts.values()]
    for made_table in itertools.chain(*(part.tables for part in parts)):
        made_table.write(folder)
    for figure in itertools.chain(*(part.figures for part in parts)):
        figure.write(folder)
    for view in report.views:
        figure = report.narrow[view.when]
        # Of a dozen settings only those that documents show take the time of a PNG.
        figure.write(folder, with_png=view.cost.key == "macs")
    write_whole(folder / PAGE, comparison_page(comparison, report))


@dataclass(frozen=True)
class Report:
    """What a report shows."""

    views: Sequence[PlotView]
    """settings of the switches."""
    narrow: Mapping[str, Picture]
    """setting -> figure, for files and phones."""
    wide: Mapping[str, Picture]
    """the same for screens."""
    overview: Sequence[Table]
    """the table behind the figure, one for each data set."""
    parts: Mapping[str, Part]
    """title -> what is folded; empty parts are left out."""


def make_report(
    comparison: SweepRuns, results_dir: Path, sections: Sequence[Section] = ()
) -> Report:
    """Makes everything that a report shows; pictures are drawn when they are asked for."""
    views, looks = make_views(comparison, results_dir), make_looks(comparison.results)
    tables = all_tables(comparison, views)
    results = tables.pop("Results")
    figures = {
        "Learning curves": curve_figures(comparison, looks),
        "Compute cost, density and blocks": block_figures(comparison, looks),
    }
    made = {one.title: one.make(comparison, results_dir) for one in (AGAINST_DENSE, *sections)}
    made |= {title: Part(of_title, figures.get(title, ())) for title, of_title in tables.items()}
    narrow, wide = (view_figures(comparison, views, looks, *width) for width in ((), (WIDE,)))
    parts = {title: without_repeats(part) for title, part in made.items()}
    shown = {title: part for title, part in parts.items() if part.tables or part.figures}
    return Report(views, narrow, wide, results, shown)


def without_repeats(part: Part) -> Part:
    """A part without empty tables, and without those all of whose lines an earlier one has."""
    tables: list[Table] = []
    for one in part.tables:
        earlier = [t.texts for t in tables if (t.columns, t.when) == (one.columns, one.when)]
        if one.lines and not any(all(line in texts for line in one.texts) for texts in earlier):
            tables.append(one)
    return Part(tables, part.figures)


def comparison_page(comparison: SweepRuns, report: Report) -> str:
    """The page of a comparison."""
    switches: dict[str, dict[str, str]] = {}
    for view in report.views:
        words = (
            view.dataset,
            view.measure.title,
            view.cost.short,
            kind_in_words(view.deterministic, "asked"),
        )
        for (switch, setting), word in zip(view.settings.items(), words, strict=True):
            switches.setdefault(switch, {})[setting] = word
    first = sorted(report.views, key=lambda view: view.measure is not BITS)
    return filled_page(
        "comparison.html.jinja",
        title=comparison.sweep.name,
        about=comparison.sweep.description,
        made_by="ccenv compare",
        comparison=comparison,
        missing=names_of(comparison.missing),
        origins=origins(comparison),
        report=report,
        switches=switches,
        is_of_rewards=rewards_are_the_question(comparison.results),
        # Error over MACs, bits of texts, with the masks of the report's rows.
        first=next(
            (view.when for view in first if view.deterministic == comparison.deterministic), ""
        ),
    )


def input_page(view: Mapping[str, Any]) -> str:
    """A page of single inputs alone."""
    return filled_page(
        "inputs.html.jinja",
        title=" and ".join(agent["name"] for agent in view["agents"]),
        about=f"Test {'sequences' if view.get('is_sequence') else 'inputs'} of {view['dataset']}, "
        f"one by one; {SHOWN[view['masks']]} masks.",
        made_by="ccenv inspect",
        inputs=view,
    )


def filled_page(template: str, **content: Any) -> str:
    """A template of this folder with its content."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.filters |= {"data_uri": data_uri, "inline": inline}
    environment.filters |= {"share": share_in, "breakable": breakable}
    environment.tests["shown_at"] = shown_at
    environment.globals["apart"] = APART
    return environment.get_template(template).render(**content)


def shown_at(when: str, setting: str) -> bool:
    """Whether something is shown at a setting of the switches.

    >>> shown_at("cost-macs", "data-0 cost-macs"), shown_at("", "data-0"), shown_at("b", "a")
    (True, True, False)
    """
    return set(when.split()) <= set(setting.split())


def inline(figure: Picture) -> Markup:
    """A figure as a part of the page, whose marks can be focused and pointed at."""
    picture = figure.svg[figure.svg.index("<svg") :]
    label = f'<svg role="group" aria-label="{escape(figure.alt)}"'
    return Markup(picture.replace("<svg", label, 1))


def data_uri(svg: str) -> str:
    """An image inside the page."""
    return f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"


def share_in(cell: str) -> str | None:
    """A cell that is a share of 1, None of any other.

    >>> share_in("0.250"), share_in("rloo"), share_in("1,024")
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
