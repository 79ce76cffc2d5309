"""What Sphinx reads: a checkout -> a folder of pages and pictures."""

import re
import shutil
from pathlib import Path, PurePosixPath

from ccenv.runs.lab.docs_build.facts import DICTIONARIES, PROMISED
from ccenv.runs.lab.docs_build.links import BRANCH, colab, moved, project_address, target
from ccenv.runs.lab.docs_build.site import PICTURES

DOCS, RESULTS = PurePosixPath("runs/docs"), PurePosixPath("runs/results/README.md")
FIRST_RESULTS = PurePosixPath("results/index.md")
"""Where the results' README goes, beside their pages."""
API = "reference/api.md"
DOCUMENTED = [name for name in PROMISED if name not in DICTIONARIES]
"""Names whose docstrings the page of the API shows."""
NAME = re.compile(
    rf"^```.*?^```$|(?<![`\[])`({'|'.join(map(re.escape, DOCUMENTED))})`(?![`\]])",
    flags=re.MULTILINE | re.DOTALL,
)
"""A block of code, or a documented name in the text."""
INTERVAL = re.compile(
    r"^```.*?^```$|`[^`]*`|\[(-?[\d.,]+), (-?[\d.,]+)\]", flags=re.MULTILINE | re.DOTALL
)
"""A block of code, code in the text, or an interval."""


def stage(root: Path, folder: Path) -> None:
    """Writes all pages; their links lead to pages, copied pictures, or the project's site."""
    for path in sorted((root / DOCS).rglob("*.md")):
        page = PurePosixPath(path.relative_to(root).as_posix())
        text = path.read_text() + (directives() if str(page).endswith(API) else "")
        write(root, folder, page.relative_to(DOCS), text, page)
    write(root, folder, FIRST_RESULTS, (root / RESULTS).read_text(), RESULTS)


def linked(text: str) -> str:
    """A page whose documented names lead to their docstrings.

    >>> linked("`ccenv.train` trains.")
    '{py:obj}`ccenv.train` trains.'
    """
    return NAME.sub(lambda m: f"{{py:obj}}`{m[1]}`" if m[1] else m[0], text)


def unbroken(text: str) -> str:
    r"""A page whose intervals stand in one line each.

    >>> unbroken("0.5 [0.4, 0.6], `[1, 2]`")
    '0.5 [0.4,\xa00.6], `[1, 2]`'
    """
    return INTERVAL.sub(lambda m: f"[{m[1]},\N{NO-BREAK SPACE}{m[2]}]" if m[1] else m[0], text)


def directives() -> str:
    """What Sphinx's autodoc shows of every promised name."""
    parts = []
    for name in DOCUMENTED:
        is_class = name.rpartition(".")[2][0].isupper()
        kind, more = ("autoclass", "\n   :members:") if is_class else ("autofunction", "")
        parts.append(f"```{{eval-rst}}\n.. {kind}:: {name}{more}\n```\n")
    return "\n".join(["", "## In full", "", *parts])


def write(root: Path, folder: Path, place: PurePosixPath, text: str, page: PurePosixPath) -> None:
    """Writes a page to a place in the folder; its links start from its place in the checkout."""
    up = "../" * (len(place.parts) - 1)

    def move(link: str, is_picture: bool) -> str:
        path, mark = target(link, page)
        if is_picture:
            return up + copied(root, folder, path)
        if path == RESULTS:
            return f"{up}{FIRST_RESULTS}{mark}"
        if path.is_relative_to(DOCS) and path.suffix == ".md":
            return f"{up}{path.relative_to(DOCS)}{mark}"
        address = project_address(root)
        opened = colab(address, path) if path.suffix == ".ipynb" else None
        return opened or f"{address}/blob/{BRANCH}/{path}{mark}"

    out = folder / place
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(moved(linked(unbroken(text)), move))


def copied(root: Path, folder: Path, picture: PurePosixPath) -> str:
    """Copies a picture beside the pages; its place from the folder."""
    if not (root / picture).is_file():
        raise ValueError(
            f"expected {picture}, which a page shows, got no such file; "
            "python -m ccenv.runs.lab tables PAGE --figures draws pictures of recorded results"
        )
    (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(root / picture, folder / PICTURES / picture.name)
    return f"{PICTURES}/{picture.name}"
