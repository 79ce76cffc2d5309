"""User pages use the field's words and stay short: no private word of earlier pages comes back."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "runs" / "docs"
LONG = ("Results", "Lab notes")
"""Parts of the documentation that say what was measured and tried, at any length."""
PRIVATE = (
    "rival",
    "told",
    "front area",
    "(?<!pareto )front",
    "bill",
    "price",
    "most probable masks",
    "as drawn",
    "somebody",
    "nobody",
    "whoever",
    "beside",
    "anew",
    "people have",
    "best mask for all",
    "cheap to see",
    "in one line",
    "block_dropout",
    "ngram",
)
MOST_COLUMNS, MOST_WORDS = 7, 12_000


def user_pages():
    """The README and every page that the index lists outside of the long parts."""
    listed = re.findall(
        r"^```\{toctree\}\n.*?:caption: ([^\n]+)\n\n(.*?)^```$",
        (DOCS / "index.md").read_text(),
        flags=re.MULTILINE | re.DOTALL,
    )
    names = [name for caption, block in listed if caption not in LONG for name in block.split()]
    return [ROOT / "README.md", DOCS / "index.md", *(DOCS / f"{name}.md" for name in names)]


PAGES = user_pages()


def prose(page):
    """A page without code, addresses, and tables that are made of recorded results."""
    text = re.sub(
        r"^```.*?^```$|^<!-- table: .*?^<!-- end -->$",
        "",
        page.read_text(),
        flags=re.MULTILINE | re.DOTALL,
    )
    return re.sub(r"\]\([^)]*\)|`[^`]*`", "", text).lower()


def words(page):
    """The words that were written for a page: without lists that are made of docstrings."""
    written = re.sub(r"^<!-- made: .*?^<!-- end -->$", "", prose(page), flags=re.M | re.S)
    return [word for word in written.split() if re.search(r"\w", word)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_user_page_has_no_private_words_and_plain_numbers_and_tables(page):
    text = prose(page)
    assert not [word for word in PRIVATE if re.search(rf"\b{word}s?\b", text)]
    assert not re.findall(r"(?<![\w.)])\.\d+", text), "numbers carry a leading zero"
    rows = re.findall(r"^\|(.*)\|$", page.read_text(), flags=re.MULTILINE)
    columns = [len(re.findall(r"(?<!\\)\|", row)) + 1 for row in rows]
    assert max(columns, default=0) <= MOST_COLUMNS


def test_user_pages_are_short():
    assert len(PAGES) > 40
    assert len(words(ROOT / "README.md")) <= 600
    assert sum(len(words(page)) for page in PAGES) <= MOST_WORDS
