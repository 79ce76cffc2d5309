"""HTML by Sphinx, MyST and furo: a folder of staged pages -> a folder of HTML."""

import importlib.util
import re
import shutil
import sys
from collections.abc import MutableSequence
from pathlib import Path
from typing import Any

from ccenv.runs.store.provenance import versions

NEEDED = {"sphinx": "sphinx", "myst_parser": "myst-parser", "furo": "furo"}
PICTURES = "pictures"
HEADING = re.compile(r"^#+ (.*)$")
CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
SETTINGS: dict[str, Any] = {
    "project": "ccenv",
    "copyright": "the ccenv developers",
    "extensions": ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"],
    "html_theme": "furo",
    # Lines of 100 letters fit.
    "html_theme_options": {"light_css_variables": {"code-font-size": "74%"}},
    "html_title": "ccenv",
    "html_copy_source": False,
    "myst_heading_anchors": 4,
    "myst_enable_extensions": ["fieldlist"],
    "autodoc_member_order": "bysource",
    "autodoc_typehints": "none",
    "napoleon_google_docstring": True,
    "napoleon_numpy_docstring": False,
}
"""Sphinx's; there is no conf.py, because the folder that it would lie in is made anew each time."""


def check_tools() -> None:
    """Looks for what the build needs."""
    missing = [shown for name, shown in NEEDED.items() if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"expected {', '.join(NEEDED.values())} to be installed, got no {', '.join(missing)}; "
            'pip install -e ".[docs]"'
        )


def as_restructured(lines: MutableSequence[str]) -> None:
    """Changes a docstring in place so that Sphinx reads its Markdown: headings and code.

    >>> lines = ["## Action space", "`a` or `b:c`."]
    >>> as_restructured(lines)
    >>> lines
    ['.. rubric:: Action space', '', '``a`` or ``b:c``.']
    """
    changed: list[str] = []
    for line in CODE.sub(r"``\1``", "\n".join(lines)).split("\n"):
        match = HEADING.match(line)
        changed += [f".. rubric:: {match[1]}", ""] if match else [line]
    lines[:] = changed


def build_site(source: Path, out: Path) -> int:
    """Builds the pages; a warning is an error.

    Returns:
        0, or 1 where something was wrong, which stands on stderr.
    """
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    release = versions()["ccenv"]
    with patch_docutils(), docutils_namespace():
        app = Sphinx(
            srcdir=source,
            confdir=None,
            outdir=out,
            doctreedir=source.with_name(f"{source.name}-trees"),
            buildername="html",
            confoverrides={**SETTINGS, "version": release, "release": release},
            status=None,
            warning=sys.stderr,
            warningiserror=True,
        )
        app.connect("autodoc-process-docstring", restructure, priority=100)
        app.build()
    # Sphinx copies what Markdown shows; a page's own HTML shows some of these too.
    shutil.copytree(source / PICTURES, out / PICTURES, dirs_exist_ok=True)
    return int(app.statuscode)


def restructure(
    app: Any, what: str, name: str, documented: Any, options: Any, lines: list[str]
) -> None:
    """Sphinx's event before a docstring is read."""
    as_restructured(lines)
