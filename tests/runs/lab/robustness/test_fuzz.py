"""Law of odd input: whatever is given is taken, or refused by name; what once crashed is kept."""

import numpy as np
import pytest
from torch import nn

import ccenv
from ccenv.runs.lab.robustness import command_lines, functions
from ccenv.runs.lab.robustness.command_lines import REFUSED, SOUND, TAKEN, WORK, Crash
from ccenv.runs.lab.robustness.functions import ROW
from ccenv.runs.lab.robustness.fuzz import ODD_FILES, apart, fuzz

COMMAND_LINES = [
    ["train", "--config", "deep.json"],
    ["train", "--config", "not-utf.toml"],
    ["data", "math:pi"],
    ["compare", "ccenv.runs.lab.robustness.tiny:SETTINGS"],
    ["table", "show", "odd.json"],
    ["eval", "\x00"],
    ["table", "times", "mlp", "synthetic", "activation=[]"],
    ["train", "reinforce", "activation=None"],
]
"""Found by `python -m ccenv.runs.lab fuzz`, or by hand."""

WRONG = {
    "load": {"folder": [0, None]},
    "compare": {
        "shard": [1], "jobs": ["x", 0, -1], "log_dir": [0], "report_dir": [0],
        "results_dir": [0], "change": [None], "add": [("a",)],
        "record": [np.zeros(2)], "trust": ["mine"],
    },
    "evaluate": {
        "policy": [np.array(3), None, nn.Linear(2, 2)], "batch_size": [0, "x"], "seed": [-1, "x"],
        "deterministic": [np.zeros(2)],
    },
    "collect_rollout": {"simulator": [None], "policy": [None], "generator": [0]},
    "check_network": {"example": [None, ROW[0]], "seed": [-1]},
    "check_vector_env": {"seed": [None, "x"], "refuses_after_close": [np.zeros(2)]},
    "explain_backend": {"x": [None], "weight": [3], "in_mask": ["x"], "backend": [np.zeros(2)]},
    "block_sparse_linear": {"activation": [nn.Linear], "backend": [np.zeros(2)]},
    "GatedMLP": {"in_features": [(4, 4)], "activation": [nn.Linear(4, 4)]},
    "GatedMLP.forward": {"inputs": [None, ROW[0]], "masks": [None, [0.5]]},
    "GatedSequential": {"parts": [0], "head": [nn.Linear(4, 4)], "example": [None]},
    "gate": {"positions": [np.zeros((2, 2))]},
    "gateable": {"every": [np.ones((4, 4), dtype=object), "x"]},
    "Gate": {"num_blocks": [None, "x"], "look_size": [None]},
    "vector env": {"options": [1]},
    "env": {"options": [1]},
    "train": {"seeds": [0.5, 0, 9**30], "anew": [np.zeros(2)], "network": [nn.Linear(2, 2)]},
    "Agent.learn": {"num_images": [None, "x"]},
    "SkippingClassifier.load": {"path": [0, "nowhere"], "trust": ["mine"]},
    "load_split": {"dataset": ["\0"], "transforms": [[[1]]]},
    "given_split": {"images": [[[1]], [[0.5], [1, 2]]], "labels": ["x"]},
    "agent sb3_ppo": {"learning_rate": [1j]},
    "agent entropy_threshold": {"threshold": [{"depth": 8}]},
    "agent gumbel": {"hidden_units": [-1], "embedding_size": [""]},
    "agent allocation": {"num_offers": [9**30]},
}  # fmt: skip
"""Function -> argument -> values to which Python, numpy or torch once answered."""


@pytest.fixture
def place(tmp_path):
    for name, text in ODD_FILES.items():
        (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    with apart(tmp_path):
        yield tmp_path


@pytest.mark.usefixtures("place")
def test_odd_command_lines_are_taken_or_refused_by_name():
    found = [command_lines.came_of(words) for words in COMMAND_LINES]
    assert found == [REFUSED] * len(found)
    fuzzed = fuzz(command_lines.lines(), command_lines.came_of, 50, 5.0, seed=1)
    assert fuzzed.came.total()
    assert not fuzzed.crashes


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_refused_in_our_words(name):
    calls = [(name, {one: odd}) for one, values in WRONG[name].items() for odd in values]
    found = [functions.came_of(call) for call in calls]
    assert found == [REFUSED] * len(found), [one for one in found if one != REFUSED]


@pytest.mark.usefixtures("place")
def test_odd_arguments_of_functions_are_taken_or_refused_in_our_words():
    fuzzed = fuzz(functions.calls(), functions.came_of, 100, 5.0, seed=1)
    assert fuzzed.came.total()
    assert not fuzzed.crashes


def test_every_function_of_the_package_is_fuzzed():
    made_by_subclasses = {"GatedNetwork", "Stage"}
    public = {name for name in ccenv.__all__ if callable(getattr(ccenv, name))}
    assert public - made_by_subclasses <= functions.FUNCTIONS.keys()


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("command", "line"), [("train", SOUND["train"][0]), ("table", SOUND["table"][0])]
)
def test_a_command_line_that_reaches_real_training_is_a_crash(command, line, monkeypatch, tmp_path):
    # Weights that another test has learned would be read, not learned.
    monkeypatch.setenv("CCENV_CACHE", str(tmp_path))
    assert command_lines.came_of([command, *line]) == TAKEN
    # As if the name had become that of something else.
    monkeypatch.setitem(WORK, command, ())
    found = command_lines.came_of([command, *line])
    assert isinstance(found, Crash)
    assert "RealWorkError" in found.error
