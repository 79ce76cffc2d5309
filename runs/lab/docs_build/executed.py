"""Notebooks with their outputs: (text of an .ipynb file) -> the same, run in an empty folder."""

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from ccenv.runs.lab.docs_build.notebook import as_text

TIMEOUT = 900
"""Seconds that one cell may take."""
COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def executed(text: str) -> str:
    """Runs a notebook; what it wrote is gone afterwards, what it said is kept.

    Args:
        text: of the file.

    Raises:
        ValueError: if a library is missing.
        nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    try:
        import nbclient
        import nbformat
    except ImportError as error:
        raise ValueError(
            f"expected nbclient and ipykernel to run notebooks, got {error}; "
            'pip install -e ".[docs]"'
        ) from error
    found = nbformat.reads(text, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        place = os.path.realpath(folder)
        client = nbclient.NotebookClient(
            found,
            timeout=TIMEOUT,
            resources={"metadata": {"path": place}},
            record_timing=False,
            coalesce_streams=True,
        )
        client.execute()
    ran = json.loads(nbformat.writes(found))["cells"]
    whole = json.loads(text)
    for cell, own in zip(whole["cells"], ran, strict=True):
        if cell["cell_type"] == "code":
            cell["execution_count"] = own["execution_count"]
            cell["outputs"] = [kept(output, place) for output in own["outputs"]]
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
