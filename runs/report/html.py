"""Tables and figures to one page that needs nothing else: no network, no server, no script.

Jinja2 fills `page.html.jinja` and escapes every text (labels and module names are the user's).
"""

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from ccenv.runs.engine.jobs import Comparison, names_of, origins
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.show.drawing import Drawn
from ccenv.runs.show.tables import Table

TEMPLATE = "page.html.jinja"


def page(
    comparison: Comparison,
    findings: Sequence[str],
    tables: Mapping[str, Sequence[Table]],
    figures: Mapping[str, Sequence[Drawn]],
    parts: Mapping[Section, Part],
) -> str:
    """Fills the template.

    Args:
        comparison: what is shown.
        findings: sentences for the top of the page.
        tables: by section, see `ccenv.runs.report.tables.all_tables`.
        figures: by section, see `ccenv.runs.report.figures.all_figures`.
        parts: of the study, and dense networks.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"data_uri": data_uri, "share": share, "breakable": breakable}
    return environment.get_template(TEMPLATE).render(
        sweep=comparison.sweep,
        num_finished=len(comparison.finished),
        num_runs=len(comparison.finished) + len(comparison.missing),
        missing=names_of(comparison.missing),
        origins=origins(comparison),
        findings=findings,
        tables=tables,
        figures=figures,
        parts=parts,
    )


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
