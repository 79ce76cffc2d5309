"""Pages for newcomers use the field's words: no private word of earlier pages comes back."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "runs" / "docs"
PRIVATE = (
    "rival",
    "told apart",
    "front area",
    "bill",
    "most probable masks",
    "as drawn",
    "somebody",
    "nobody",
    "beside",
    "networks that people have",
    "best mask for all",
    "cheap to see",
    "in one line",
)
NAMES = ("index", "install", "examples", "faq", "challenge", "howto/tensorboard")
PLAIN = [ROOT / "README.md", *(DOCS / f"{name}.md" for name in NAMES)]
"""Pages that are written so; the others follow."""


def prose(page):
    """A page without its code and without addresses."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"\]\([^)]*\)|`[^`]*`", "", text).lower()


@pytest.mark.parametrize("page", PLAIN, ids=lambda page: page.name)
def test_pages_for_newcomers_have_no_private_words(page):
    text = prose(page)
    assert not [word for word in PRIVATE if re.search(rf"\b{word}s?\b", text)]


def test_pages_for_newcomers_are_short():
    assert len(prose(ROOT / "README.md").split()) <= 600
    assert sum(len(prose(page).split()) for page in PLAIN) <= 2500
