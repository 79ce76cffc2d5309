"""Law of kills: whatever moment a command is killed at, given again it ends as if undisturbed."""

import pytest

from ccenv.runs.lab.robustness.kills import rounds
from ccenv.runs.lab.robustness.left import apart


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "compare", "worker"])
def test_a_killed_command_goes_on_and_ends_as_if_undisturbed(name, tmp_path):
    row = rounds(name, 1, tmp_path, 0)
    assert row["same"] == row["went_on"] == 1
    assert row["compared"] > 50


def test_ends_are_told_apart_by_any_value_and_by_what_one_of_them_lacks():
    whole = {"error": 0.5, "curve": [(1, 0.25)], "weights": "1f"}
    assert not apart(whole, dict(whole))
    assert apart(whole, whole | {"weights": "2f"}) == ["weights"]
    assert apart(whole, {"error": 0.5, "weights": "1f", "new": None}) == ["curve", "new"]
