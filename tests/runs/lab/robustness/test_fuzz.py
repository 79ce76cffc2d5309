"""Law of odd input: whatever is given is taken, or refused by name; what once crashed is kept."""

import pytest

from ccenv.runs.lab.robustness import command_lines, constructors
from ccenv.runs.lab.robustness.fuzz import apart, fuzz
from ccenv.runs.lab.robustness.samples import ODD_FILES

COMMAND_LINES = [
    ["train", "--config", "deep.json"],
    ["train", "--config", "not-utf.toml"],
    ["compare", "ccenv.runs.lab.robustness.tiny:SETTINGS"],
    ["table", "show", "odd.json"],
    ["eval", "\x00"],
]
"""Found by `python -m ccenv.runs.lab faults fuzz`, or by hand."""
CONSTRUCTORS = [
    ("agent", "sb3_ppo", {"learning_rate": 1j}),
    ("agent", "entropy_threshold", {"threshold": {"depth": 8}}),
    ("agent", "gumbel", {"target_density": True, "hidden_units": -1, "embedding_size": ""}),
    ("data", "train", {"dataset": {"train": ([[1]], "x"), "test": ([[1]], [0])}}),
]


@pytest.fixture
def place(tmp_path):
    for name, text in ODD_FILES.items():
        (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    with apart(tmp_path):
        yield tmp_path


@pytest.mark.usefixtures("place")
def test_odd_command_lines_are_taken_or_refused_by_name():
    found = [command_lines.taken(words) for words in COMMAND_LINES]
    assert found == [None] * len(found)
    fuzzed = fuzz(command_lines.lines(), command_lines.taken, 50, 5.0, seed=1)
    assert fuzzed.tried
    assert not fuzzed.crashes


@pytest.mark.usefixtures("place")
def test_odd_constructors_build_or_refuse_by_name():
    found = [constructors.taken(given) for given in CONSTRUCTORS]
    assert found == [None] * len(found)
    fuzzed = fuzz(constructors.constructors(), constructors.taken, 100, 5.0, seed=1)
    assert fuzzed.tried
    assert not fuzzed.crashes
