"""Laws of changed lines: one operator or value each, no annotation, and files stay whole."""

import ast
from pathlib import Path

import pytest

from ccenv.runs.lab.robustness import mutations
from ccenv.runs.lab.robustness.mutations import (
    NO_ANSWER,
    NOTICED,
    UNNOTICED,
    Mutation,
    modules_of,
    mutations_of,
    near_tests,
    outcome,
)

LINES = "def larger(x: tuple[int, 3], y=2) -> bool:\n    return x > y and not y == x - 1\n"


@pytest.fixture
def checkout(tmp_path):
    """One module and its test."""
    package = tmp_path / "ccenv" / "near"
    package.mkdir(parents=True)
    (package / "one.py").write_text(LINES)
    near = tmp_path / "tests" / "ccenv" / "near"
    near.mkdir(parents=True)
    law = (
        "from one import larger\n\ndef test_it():\n    assert larger(5)\n    assert not larger(2)\n"
    )
    (near / "test_one.py").write_text(f"import sys\nsys.path.insert(0, {str(package)!r})\n" + law)
    return tmp_path


def test_each_change_is_of_one_operator_or_value_outside_annotations(checkout):
    changed = {one.after.strip() for one in mutations_of(checkout, Path("ccenv/near/one.py"))}
    assert changed == {
        "def larger(x: tuple[int, 3], y=3) -> bool:",
        "return x >= y and not y == x - 1",
        "return x > y or not y == x - 1",
        "return x > y and not y != x - 1",
        "return x > y and not y == x + 1",
        "return x > y and not y == x - 2",
    }
    assert all(
        ast.parse(line.removesuffix(":") + ":pass" if "def" in line else line[7:])
        for line in changed
    )


@pytest.mark.parametrize(
    ("after", "came"),
    [("return x >= y and not y == x - 1", NOTICED), ("return x > y and not y == x - 2", UNNOTICED)],
)
def test_a_change_is_noticed_where_a_test_near_it_fails(checkout, after, came):
    module = Path("ccenv/near/one.py")
    assert near_tests(checkout, module) == [Path("tests/ccenv/near/test_one.py")]
    before = LINES.split("\n")[1]
    assert outcome(checkout, Mutation(module, before, after), 60) == came
    assert (checkout / module).read_text() == LINES


def test_tests_that_do_not_end_are_no_answer(checkout):
    module = Path("ccenv/near/one.py")
    law = checkout / "tests" / "ccenv" / "near" / "test_one.py"
    law.write_text("def test_it():\n    while True:\n        pass\n")
    assert outcome(checkout, Mutation(module, LINES.split("\n")[1], "return x"), 2) == NO_ANSWER


def test_links_to_other_folders_are_not_followed():
    modules = modules_of(mutations.HERE)
    assert Path("agents/reinforce.py") in modules
    assert not [module for module in modules if module.parts[:2] == ("ccenv", "agents")]
