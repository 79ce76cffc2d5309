"""Links of a Markdown page: (text, what becomes of each) -> the same text in another place."""

import functools
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

LINK = re.compile(r"(?P<is_picture>!?)\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<to>[^()\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
ATTRIBUTE = re.compile(r'(?P<name>\bsrc|\bsrcset)="(?P<to>[^"\s]+)"')
"""Pictures of HTML in a page, which has one for narrow screens beside that for wide ones."""
MARK, BRANCH = "#", "main"
GITHUB, COLAB = "https://github.com/", "https://colab.research.google.com"

Move = Callable[[str, bool], str]
"""(link as it stands, whether it is a picture's) -> link as it shall be."""


def moved(text: str, move: Move) -> str:
    """A text with its relative links changed; blocks of code and links with a scheme stay.

    >>> moved("[a](b.md) [c](https://d) ![e](f.png)", lambda link, _: f"../{link}")
    '[a](../b.md) [c](https://d) ![e](../f.png)'
    >>> moved('<source srcset="a.svg">', lambda link, _: f"../{link}")
    '<source srcset="../a.svg">'
    """

    def place(to: str, is_picture: bool) -> str:
        return to if "://" in to or to.startswith(MARK) else move(to, is_picture)

    def link(match: re.Match[str]) -> str:
        to = place(match["to"], bool(match["is_picture"]))
        return f"{match['is_picture']}[{match['text']}]({to})"

    def attribute(match: re.Match[str]) -> str:
        return f'{match["name"]}="{place(match["to"], True)}"'

    def changed(prose: str) -> str:
        return ATTRIBUTE.sub(attribute, LINK.sub(link, prose))

    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [changed(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, changed(text[end:])])


def target(link: str, page: PurePosixPath) -> tuple[PurePosixPath, str]:
    """Where a link of a page leads: path from the root of the checkout, and the mark behind it.

    >>> target("../design.md#floors", PurePosixPath("runs/docs/howto/data.md"))
    (PurePosixPath('runs/docs/design.md'), '#floors')
    """
    path, _, mark = link.partition(MARK)
    target_path = PurePosixPath(os.path.normpath(page.parent / path))
    return target_path, f"{MARK}{mark}" if mark else ""


def absolute(text: str, page: PurePosixPath, address: str) -> str:
    """A page whose links lead to the project's site, so that it can be read anywhere."""

    def move(link: str, is_picture: bool) -> str:
        path, mark = target(link, page)
        return f"{address}/{'raw' if is_picture else 'blob'}/{BRANCH}/{path}{mark}"

    return moved(text, move)


@functools.cache
def project_address(root: Path) -> str:
    """The project's address as `pyproject.toml` has it: the one place where it is filled in."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return str(project["urls"]["Repository"]).rstrip("/")


def colab(address: str, notebook: PurePosixPath) -> str | None:
    """Where Google Colab opens a notebook of a project on GitHub; None of a project elsewhere.

    >>> colab("https://github.com/one/project", PurePosixPath("runs/a.ipynb"))
    'https://colab.research.google.com/github/one/project/blob/main/runs/a.ipynb'
    >>> colab("https://example.org/project", PurePosixPath("runs/a.ipynb"))
    """
    if not address.startswith(GITHUB):
        return None
    return f"{COLAB}/github/{address.removeprefix(GITHUB)}/blob/{BRANCH}/{notebook}"
