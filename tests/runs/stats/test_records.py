"""Rows are records: what a row says stands in its fields, and no label is read for it."""

import ast
from pathlib import Path

from made_results import runs

from ccenv.runs.config.sweep_file import sweep_of
from ccenv.runs.stats.cost_points import make_point

RUNS = Path(__file__).parents[3] / "runs"
READS = ("partition", "rpartition", "split", "rsplit", "startswith", "endswith", "removeprefix")
READS += ("removesuffix", "find", "index", "match", "search", "fullmatch", "findall")


def is_label(node):
    """Whether an expression is a row's label."""
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Constant) and node.slice.value == "label"
    return getattr(node, "attr", getattr(node, "id", "")) == "label"


def reads_of_labels(text):
    """Lines that take a label apart, or look for a part of it."""
    for node in ast.walk(ast.parse(text)):
        read = []
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in READS:
            read = [node.func.value, *node.args]
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            read = node.comparators
        if any(map(is_label, read)):
            yield node.lineno


def test_no_label_is_read_for_what_a_row_is():
    found = {path.name: list(reads_of_labels(path.read_text())) for path in RUNS.rglob("*.py")}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_a_row_of_a_file_says_its_fields_and_its_label_follows_from_them():
    said = {"place": "here", "method": "ours", "budget": "{num_kept} of 8", "setting": "rate 1"}
    rows = [{"agent": "rloo", "shared": "a", "each": [{"num_kept": 2, "budget": said["budget"]}]}]
    (row,) = sweep_of(
        {"name": "s", "rows": rows, "shared": {"a": {**said, "budget": "none"}}}
    ).cells
    assert row.label == "here: ours 2 of 8, rate 1"
    assert (row.place, row.method, row.budget, row.setting) == ("here", "ours", "2 of 8", "rate 1")
    assert set(row.settings) == {"num_kept"}


def test_a_rows_method_is_what_its_sweep_says_or_its_agent_and_a_dense_network_chooses_nothing():
    results = {
        "counts": runs("dense", 100, 0.2, method="ngram"),
        "dense 8": runs("dense", 200, 0.1),
        "exits": runs("confidence", 150, 0.1, method="one exit"),
    }
    points = [make_point(label, found, False) for label, found in results.items()]
    assert [point.method for point in points] == ["ngram", "dense", "one exit"]
    assert [point.is_fixed for point in points] == [True, True, False]
