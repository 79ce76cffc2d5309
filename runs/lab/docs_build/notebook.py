"""Notebooks of tutorials: a Markdown page -> an .ipynb file with its cells, and with outputs."""

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ccenv.runs.lab.docs_build.links import COLAB, absolute, colab, project_address

NOTEBOOKS = ("train", "agent", "reward")
"""Tutorials that are notebooks too, below `notebooks` beside the pages."""
FENCE = re.compile(r"^```(python|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")
TIMEOUT = 900
"""Seconds that one cell may take."""
COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
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
    """A page as a notebook without outputs."""
    made: list[dict[str, Any]] = []
    for number, (kind, source) in enumerate(cells(text)):
        cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": source}
        made.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return as_text(
        {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": made}
    )


def with_badge(text: str, address: str, path: PurePosixPath) -> str:
    """A page that begins with Colab's badge, where the project lies on GitHub; else as it is."""
    opened = colab(address, path)
    if opened is None:
        return text
    badge = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({opened})"
    return f"{badge}\n\nOn Colab, first run `%pip install git+{address}` in a new cell.\n\n{text}"


def as_text(whole: Mapping[str, Any]) -> str:
    """A notebook's file."""
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def sources(text: str) -> list[tuple[str, str]]:
    """Kind and text of each cell of a notebook's file, whatever came out of it."""
    cells = json.loads(text)["cells"]
    return [(cell["cell_type"], "".join(cell["source"])) for cell in cells]


def differing_notebooks(root: Path, docs: PurePosixPath) -> dict[Path, str]:
    """Notebooks whose cells are not their tutorial's, with the texts that they should have.

    Outputs are not compared; a new text keeps them while its code is the same, prose may differ.
    """
    address, changed = project_address(root), {}
    for name in NOTEBOOKS:
        page = docs / "tutorials" / f"{name}.md"
        place = docs / "notebooks" / f"{name}.ipynb"
        path, page_text = root / place, absolute((root / page).read_text(), page, address)
        text = notebook(with_badge(page_text, address, place))
        before = path.read_text() if path.is_file() else None
        if before is None or sources(before) != sources(text):
            changed[path] = text if before is None else with_outputs(text, before)
    return changed


def with_outputs(text: str, before: str) -> str:
    """A notebook with the outputs of an earlier one, if their code cells are the same."""
    code_before, document = code_cells(json.loads(before)), json.loads(text)
    code = code_cells(document)
    if ["".join(c["source"]) for c in code_before] != ["".join(c["source"]) for c in code]:
        return text
    for cell, earlier in zip(code, code_before, strict=True):
        cell |= {key: earlier[key] for key in ("execution_count", "outputs")}
    return as_text(document)


def code_cells(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The cells of a notebook that run."""
    return [cell for cell in document["cells"] if cell["cell_type"] == "code"]


def executed(text: str) -> str:
    """Runs a notebook; what it wrote is gone afterwards, what it said is kept."""
    try:
        import nbclient
        import nbformat
    except ImportError as error:
        raise ValueError(
            f"expected nbclient and ipykernel to run notebooks, got {error}; "
            'pip install -e ".[docs]"'
        ) from error
    notebook = nbformat.reads(text, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        place = os.path.realpath(folder)
        client = nbclient.NotebookClient(
            notebook,
            timeout=TIMEOUT,
            resources={"metadata": {"path": place}},
            record_timing=False,
            coalesce_streams=True,
        )
        client.execute()
    ran = json.loads(nbformat.writes(notebook))["cells"]
    whole = json.loads(text)
    for cell, ran_cell in zip(whole["cells"], ran, strict=True):
        if cell["cell_type"] == "code":
            cell["execution_count"] = ran_cell["execution_count"]
            cell["outputs"] = [kept(output, place) for output in ran_cell["outputs"]]
    return as_text(whole)


def kept(output: dict[str, Any], folder: str) -> dict[str, Any]:
    """An output as a reader sees it, without the folder that it was made in."""
    if output["output_type"] != "stream":
        return output
    lines = (settled(line) for line in "".join(output["text"]).split("\n"))
    text = "\n".join(line for line in lines if line is not None).replace(f"{Path(folder)}/", "")
    return output | {"text": text.splitlines(keepends=True)}


def settled(line: str) -> str | None:
    r"""A line without colours; None where parts of it were overwritten, as progress is.

    >>> settled("1 of 2\r2 of 2\r"), settled("error 0.1\r"), settled("a\x1b[0m")
    (None, 'error 0.1', 'a')
    """
    shown = COLOUR.sub("", line).rstrip("\r")
    return None if "\r" in shown else shown
