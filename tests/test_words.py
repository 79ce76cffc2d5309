"""Pages and code use the field's words, and user pages stay short: no private word comes back."""

import ast
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
PRIVATE_WORD = re.compile(rf"\b(?:{'|'.join(PRIVATE)})s?\b")
MOST_COLUMNS, MOST_WORDS, MOST_LETTERS = 7, 12_000, 100
CODE = [
    path
    for folder in ("ccenv", "agents", "runs")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if ROOT / "runs" / "lab" not in path.parents
]
"""The product: its lab says what was measured and tried, as the long parts of the pages do."""


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
    assert not PRIVATE_WORD.findall(text)
    assert not re.findall(r"(?<![\w.)])\.\d+", text), "numbers carry a leading zero"
    rows = re.findall(r"^\|(.*)\|$", page.read_text(), flags=re.MULTILINE)
    columns = [len(re.findall(r"(?<!\\)\|", row)) + 1 for row in rows]
    assert max(columns, default=0) <= MOST_COLUMNS


def test_code_of_user_pages_needs_no_scrolling():
    for page in PAGES:
        for block in re.findall(r"^```\w+\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            # A command without a remark is as long as it is.
            code = [line for line in block.splitlines() if line[:6] != "ccenv " or " # " in line]
            assert max(map(len, code), default=0) <= MOST_LETTERS, page


def test_user_pages_are_short():
    assert len(PAGES) > 40
    assert len(words(ROOT / "README.md")) <= 600
    assert sum(len(words(page)) for page in PAGES) <= MOST_WORDS


def sentences(code):
    """(line, text) of all docstrings, errors, help, notes and captions: strings of three words.

    Without examples, names in backticks and the names of arguments that are explained.
    """
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = re.sub(r"^ *>>> .*\n(?:.*\S.*\n)*|`[^`]*`|^ +\w+: ", "", node.value, flags=re.M)
            if len(text.split()) > 2:
                yield node.lineno, text.lower()


def test_strings_of_the_code_have_no_private_words():
    codes = {path.relative_to(ROOT).as_posix(): path.read_text() for path in CODE}
    assert len(codes) > 200
    places = [
        f"{name}:{line} {word}"
        for name, code in codes.items()
        if PRIVATE_WORD.search(code.lower())
        for line, text in sentences(code)
        for word in PRIVATE_WORD.findall(text)
    ]
    assert not places


HOLLOW = {"found", "own", "given", "known", "said"}
"""Names that say how a value came and not what it is."""
PROMISED_NAMES = {
    ("runs/replay/verdict.py", "found"),
    ("ccenv/annexes/mask_table/builder.py", "said"),
}
"""What others call so: a key of `ccenv validate --json`, a keyword of `mask_table.build`."""


def hollow_names(code):
    """(line, name) of the variables, arguments and fields of a module that are called so."""
    for node in ast.walk(ast.parse(code)):
        is_bound = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        name = node.id if is_bound else getattr(node, "arg", None)
        if name in HOLLOW and isinstance(node, ast.Name | ast.arg):
            yield node.lineno, name


def test_names_of_variables_say_what_they_hold():
    names = {
        f"{file}:{line} {name}"
        for folder in ("ccenv", "agents", "runs")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for file in [path.relative_to(ROOT).as_posix()]
        for line, name in hollow_names(path.read_text())
        if (file, name) not in PROMISED_NAMES
    }
    assert not names


KINDS_OF_MASKS = {"sampled", "mode", "greedy"}
"""Words of files and commands; the code says `deterministic`."""
READS_KINDS = ("ccenv/base/mask_words.py", "ccenv/mdp/choosers.py", "ccenv/annexes/deploy/fused/")
"""The door; and where a rule of a chooser is called so, which is no kind of a result's masks."""


def kinds_as_a_switch(code):
    """Lines of a module that compare a word for masks, or have one as an argument's value."""
    for node in ast.walk(ast.parse(code)):
        values = []
        if isinstance(node, ast.Compare):
            values = [node.left, *node.comparators]
        elif isinstance(node, ast.arguments):
            values = [*node.defaults, *node.kw_defaults]
        elif isinstance(node, ast.keyword) and node.arg in ("draw", "deterministic"):
            values = [node.value]
        words = [v.value for v in values if isinstance(v, ast.Constant)]
        if KINDS_OF_MASKS.intersection(word for word in words if isinstance(word, str)):
            yield node.lineno if hasattr(node, "lineno") else words


def test_sampled_or_greedy_masks_are_one_switch_which_is_called_deterministic():
    planted = "x = f(draw='mode')\nif kind == 'greedy': pass\n"
    assert sorted(kinds_as_a_switch(planted)) == [1, 2]
    places = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in CODE
        if not path.relative_to(ROOT).as_posix().startswith(READS_KINDS)
        for line in kinds_as_a_switch(path.read_text())
    }
    assert not places
