"""Marked places of pages: a text with `<!-- made: NAME -->` marks -> the same, made anew."""

import re
from pathlib import Path

from ccenv.base.registry import check_names
from ccenv.runs.lab.docs_build.facts import FACTS

MARKED = re.compile(r"(<!-- made: ([\w -]+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def made_anew(text: str) -> str:
    """A text whose marked places hold what the code says now.

    Raises:
        ValueError: if a name between marks is unknown; the nearest right one is suggested.
    """

    def replace(match: re.Match[str]) -> str:
        check_names([match[2]], FACTS, "marked place")
        return f"{match[1]}\n{FACTS[match[2]]()}\n\n{match[3]}"

    return MARKED.sub(replace, text)


def differing(folder: Path) -> dict[Path, str]:
    """Pages of a folder whose marked places are not what the code says, with their new texts."""
    before = {page: page.read_text() for page in sorted(folder.rglob("*.md"))}
    after = {page: made_anew(text) for page, text in before.items() if MARKED.search(text)}
    return {page: text for page, text in after.items() if text != before[page]}
