"""Faults are drawn by a seed, planted in a copy and judged by tests that execute their line."""

import ast
import random

import pytest

from ccenv.runs.lab.mutants import choice, program
from ccenv.runs.lab.mutants.checkout import Checkout, start_worker
from ccenv.runs.lab.mutants.operators import OPERATORS, faults_of, is_other

SOURCE = b'''
"""Not a fault: 1 + 1."""
import torch

def value(x: "1 < 2", first, second):
    with torch.no_grad():
        y = x.sum(dim=1).clamp(min=0.5) - x[0]
    if first < second:
        raise ValueError(f"expected {first - 1}")
    x.sort(first, second)
    return -y.detach()
'''
PLANTED = {
    "comparison": ["if first <= second:", "if first >= second:"],
    "sign": ["y = x.sum(dim=1).clamp(min=0.5) + x[0]", "return y.detach()"],
    "off by one": ["y = x.sum(dim=1).clamp(min=0.5) - x[1]"],
    "swapped operands": ["y = (x[0]) - (x.sum(dim=1).clamp(min=0.5))"],
    "axis": ["y = x.sum(dim=0).clamp(min=0.5) - x[0]"],
    "dropped clamp": ["y = x.sum(dim=1) - x[0]"],
    "dropped detach": ["return -y", "with torch.enable_grad():"],
    "changed constant": [
        "y = x.sum(dim=1).clamp(min=0.5) - x[1]",
        "y = x.sum(dim=1).clamp(min=1.0) - x[0]",
        "y = x.sum(dim=2).clamp(min=0.5) - x[0]",
    ],
    "removed statement": ["pass", "pass"],
    "exchanged arguments": ["x.sort(second, first)"],
}


def test_each_operator_plants_its_faults_and_none_in_texts_types_and_messages():
    faults = faults_of("a.py", SOURCE)
    assert {fault.operator for fault in faults} == OPERATORS.keys() == PLANTED.keys()
    for name, wanted in PLANTED.items():
        assert sorted(fault.after for fault in faults if fault.operator == name) == sorted(wanted)


def test_a_fault_changes_one_statement_of_a_module_and_leaves_python():
    root = program.HERE
    for part in random.Random(0).sample(program.sources(root, "agents"), 4):
        content = (root / part).read_bytes()
        statements = [ast.dump(one) for one in ast.parse(content).body]
        for fault in random.Random(0).sample(faults_of(part, content), 5):
            if is_other(fault, content):
                changed = [ast.dump(one) for one in ast.parse(fault.applied(content)).body]
                assert sum(a != b for a, b in zip(statements, changed, strict=True)) == 1


def test_a_seed_draws_the_same_faults_and_another_seed_others():
    def names(seed):
        return [
            (fault.file, fault.span, fault.text)
            for fault in program.drawn(seed, 30, ["runs/stats"])
        ]

    assert names(0) == names(0)
    assert len(set(names(0))) == 30
    assert names(0) != names(1)


def test_what_changes_nothing_is_named_by_lines_that_are_there_with_a_reason():
    for (file, before, _), why in program.equivalents().items():
        assert before in {
            fault.before for fault in faults_of(file, (program.HERE / file).read_bytes())
        }
        assert why


MODULE = '''
def clamp(x, least=0):
    """At least so much.

    >>> clamp(3)
    3
    """
    if x < least:
        return least
    return x

def unseen(x):
    return x - 1

def endless(x):
    while x > 0:
        x -= 1
    return x
'''
TESTS = """
from agents.one import clamp, endless

def test_below():
    assert clamp(-1) == 0

def test_end():
    assert endless(3) == 0

def test_broken():
    assert clamp(5) == 6
"""


@pytest.fixture
def checkout(tmp_path):
    pytest.importorskip("coverage")
    root, maps = tmp_path / "checkout", tmp_path / "map"
    texts = {"agents/__init__.py": "", "agents/one.py": MODULE, "tests/test_one.py": TESTS}
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    with start_worker(root, ["pytest", "coverage", "hypothesis"]) as worker:
        yield Checkout(root, maps, worker, seed=0)
        worker.kill()


def test_a_fault_is_found_by_a_test_that_passes_without_it_and_the_copy_is_whole_again(checkout):
    maps = checkout.mapped()
    assert set().union(*(covering.seconds for covering in maps)) == {
        "tests/test_one.py::test_below",
        "tests/test_one.py::test_end",
    }
    planted = {
        fault.after: program.tried(fault, checkout, maps, limit=10)
        for fault in faults_of("agents/one.py", MODULE.encode())
    }
    found = planted["if x >= least:"]
    assert (found["outcome"], found["by"]) == ("found", "tests/test_one.py::test_below")
    assert planted["def clamp(x, least=1):"]["outcome"] == "found"
    # Equal numbers are equal.
    assert planted["if x <= least:"]["outcome"] == "survived"
    assert planted["return x - 2"]["outcome"] == "survived"
    assert (checkout.root / "agents/one.py").read_text() == MODULE


def test_doctests_are_tests_and_nearer_than_others():
    near = [
        choice.nearness("agents/one.py", name) for name in ("ccenv/agents/one.py", "tests/a.py")
    ]
    assert near == sorted(near, reverse=True)
    assert near[0] > near[1]


def test_lines_of_a_changed_source_are_known_by_their_text(checkout):
    (covering,) = checkout.mapped()
    before = checkout.read_lines(covering, "agents/one.py")
    assert any(before.values())
    path = checkout.root / "agents/one.py"
    path.write_text("# new\n\n" + path.read_text())
    after = checkout.read_lines(covering, "agents/one.py")
    assert {line + 2: tests for line, tests in before.items()}.items() <= after.items()
