"""Notebooks of tutorials: a Markdown page -> the text of an .ipynb file with the same cells."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ccenv.runs.lab.docs_build.links import absolute, project_address

NOTEBOOKS = ("train", "agent", "reward")
"""Tutorials that are notebooks too, below `notebooks` beside the pages."""
FENCE = re.compile(r"^```(python|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")
BY_HAND = "tensorboard"
"""A command that never ends; a notebook shows it as text."""


def cells(text: str) -> Iterator[tuple[str, str]]:
    r"""Kind and text of each cell: prose, code, files that are written, commands.

    >>> list(cells("A\n```bash\nccenv list\n```\n```python\n# a.py\nb = 1\n```\n"))
    [('markdown', 'A'), ('code', '!ccenv list'), ('code', '%%writefile a.py\nb = 1')]
    """
    end = 0
    for fence in FENCE.finditer(text):
        if prose := text[end : fence.start()].strip():
            yield "markdown", prose
        end = fence.end()
        language, code = fence[1], fence[2].strip()
        if language == "bash":
            is_shown = code.startswith(BY_HAND)
            commands = "\n".join(f"!{line}" for line in code.splitlines())
            yield ("markdown", f"    {code}") if is_shown else ("code", commands)
        elif match := FILE.match(code):
            yield "code", f"%%writefile {match[1]}\n{code[match.end() :].strip()}"
        else:
            yield "code", code
    if prose := text[end:].strip():
        yield "markdown", prose


def notebook(text: str) -> str:
    """A page as a notebook without outputs.

    Args:
        text: Markdown whose links lead somewhere from everywhere.
    """
    made: list[dict[str, Any]] = []
    for number, (kind, source) in enumerate(cells(text)):
        cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": source}
        made.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return as_text(
        {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": made}
    )


def as_text(whole: Mapping[str, Any]) -> str:
    """A notebook's file."""
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def sources(text: str) -> list[tuple[str, str]]:
    """Kind and text of each cell of a notebook's file, whatever came out of it."""
    found = json.loads(text)["cells"]
    return [(cell["cell_type"], "".join(cell["source"])) for cell in found]


def differing_notebooks(root: Path, docs: PurePosixPath) -> dict[Path, str]:
    """Notebooks whose cells are not their tutorial's, with the texts that they should have.

    What came out of cells is not compared; new texts have no outputs.

    Args:
        root: the checkout.
        docs: folder of the pages in it.
    """
    address, found = project_address(root), {}
    for name in NOTEBOOKS:
        page = docs / "tutorials" / f"{name}.md"
        text = notebook(absolute((root / page).read_text(), page, address))
        path = root / docs / "notebooks" / f"{name}.ipynb"
        if not path.is_file() or sources(path.read_text()) != sources(text):
            found[path] = text
    return found
