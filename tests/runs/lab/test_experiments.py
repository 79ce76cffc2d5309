"""Laws of the lab's experiments: one table each, found by discovery."""

import re
import string

import pytest

from ccenv.runs.lab.registry import experiments


@pytest.mark.parametrize("name", experiments())
def test_an_experiment_says_its_table_once_by_columns_or_as_a_pivot(name):
    one = experiments()[name]
    assert bool(one.columns) != (one.pivot is not None)
    for heading, text in one.columns.items():
        # What cannot be formatted would be found when all has been measured.
        assert re.match(r"[<>]\??", text), heading
        assert list(string.Formatter().parse(text[1:].removeprefix("?"))), heading


def test_no_two_kinds_of_results_have_one_table():
    kinds = [one.recorded_kind for one in experiments().values()]
    assert len(set(kinds)) == len(kinds)
