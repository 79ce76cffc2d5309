"""Law of odd input: whatever is given is taken, or refused by name; what once crashed is kept."""

import pytest

from ccenv.runs.commands.registry import COMMANDS
from ccenv.runs.lab.robustness import command_lines, constructors
from ccenv.runs.lab.robustness.command_lines import REFUSED, SOUND, TAKEN, WORK, Crash
from ccenv.runs.lab.robustness.fuzz import ODD_FILES, apart, fuzz

COMMAND_LINES = [
    ["train", "--config", "deep.json"],
    ["train", "--config", "not-utf.toml"],
    ["compare", "ccenv.runs.lab.robustness.tiny:SETTINGS"],
    ["table", "show", "odd.json"],
    ["eval", "\x00"],
    ["analyze", "gates", "dataset=synthetic", "activation=[]"],
    ["table", "times", "mlp", "synthetic", "activation=[]"],
    ["analyze", "retrieval", "dataset=synthetic", "activation={}"],
    ["train", "reinforce", "activation=None"],
]
"""Found by `python -m ccenv.runs.lab fuzz`, or by hand."""
CONSTRUCTORS = [
    ("agent", "sb3_ppo", {"learning_rate": 1j}),
    ("agent", "entropy_threshold", {"threshold": {"depth": 8}}),
    ("agent", "gumbel", {"target_density": True, "hidden_units": -1, "embedding_size": ""}),
    ("data", "train", {"dataset": {"train": ([[1]], "x"), "test": ([[1]], [0])}}),
    ("agent", "allocation", {"num_offers": 9**30}),
]


WITHOUT_FILES = [
    (command, line)
    for command in WORK
    for line in SOUND[command]
    if WORK[command] and not set(line) & set(command_lines.PLACES)
]
"""Sound command lines of work that name none of the samples."""


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
def test_odd_constructors_build_or_refuse_by_name():
    found = [constructors.came_of(given) for given in CONSTRUCTORS]
    assert found == [REFUSED] * len(found)
    fuzzed = fuzz(constructors.constructors(), constructors.came_of, 100, 5.0, seed=1)
    assert fuzzed.came.total()
    assert not fuzzed.crashes


def test_every_command_is_fuzzed():
    assert WORK.keys() == SOUND.keys() == COMMANDS.keys()


@pytest.mark.parametrize("command", WORK)
def test_every_name_that_is_put_out_of_work_exists(command, monkeypatch):
    with command_lines.without_work(command):
        pass
    monkeypatch.setitem(WORK, command, ("ccenv.runs.commands.serve:ThreadingHTTPServer",))
    with pytest.raises(AttributeError), command_lines.without_work(command):
        pass


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(("command", "line"), WITHOUT_FILES)
def test_a_sound_command_line_comes_to_where_its_work_begins_and_no_further(command, line):
    with pytest.raises(command_lines.WorkBeginsError), command_lines.without_work(command):
        command_lines.program().main([command, *line])


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("command", "line"), [("train", SOUND["train"][0]), ("analyze", SOUND["analyze"][1])]
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
