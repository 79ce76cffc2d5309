"""Laws of the board: short names that tell runs apart, in TensorBoard's own backend."""

import socket

import pytest
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from torch.utils.tensorboard.writer import SummaryWriter

from ccenv.runs.commands import plot
from ccenv.runs.config.settings import make_plan
from ccenv.runs.report import board
from ccenv.runs.store import folder as run_folder

RATES = ({}, {"learning_rate": 0.5}, {"reward_kwargs": {"cost_weight": 2.0}})


def begin(agent, settings, log_dir):
    """A run that has written its settings and one point."""
    plan = make_plan(agent, {**settings, "log_dir": str(log_dir)})
    run_folder.begin(plan.folder(), plan.config())
    write_point(plan.folder())
    return plan.folder()


def write_point(folder):
    with SummaryWriter(str(folder)) as writer:
        writer.add_scalar("eval/error", 0.5, 0)


@pytest.fixture
def logs(tmp_path):
    for settings in RATES:
        for seed in (0, 1):
            begin("reinforce", settings | {"seed": seed}, tmp_path / "logs")
    begin("dense", {}, tmp_path / "logs")
    return tmp_path


def test_runs_are_named_by_what_differs_between_them_and_the_seed(logs):
    names = board.board_names(logs)
    assert sorted(names.values()) == [
        "dense seed 0",
        "reinforce learning_rate=0.01 reward_kwargs.cost_weight=2.0 seed 0",
        "reinforce learning_rate=0.01 reward_kwargs.cost_weight=2.0 seed 1",
        "reinforce learning_rate=0.01 seed 0",
        "reinforce learning_rate=0.01 seed 1",
        "reinforce learning_rate=0.5 seed 0",
        "reinforce learning_rate=0.5 seed 1",
    ]


def test_folders_without_settings_and_copies_keep_their_path(logs):
    copied = begin("dense", {}, logs / "other" / "logs")
    write_point(logs / "PPO_1")
    (logs / "torn").mkdir()
    write_point(logs / "torn")
    (logs / "torn" / "config.json").write_text("{")
    names = board.board_names(logs)
    assert names[logs / "PPO_1"] == "PPO_1"
    assert names[logs / "torn"] == "torn"
    assert names[copied] == copied.relative_to(logs).as_posix()
    assert len(set(names.values())) == len(names)


def test_runs_that_come_later_are_added_and_those_that_are_shown_keep_their_names(logs):
    multiplexer = EventMultiplexer()
    names = board.add_runs(multiplexer, logs, {})
    assert set(multiplexer.Runs()) == set(names.values())
    assert "eval/error" in multiplexer.Runs()["dense seed 0"]["tensors"]
    later = begin("dense", {"images": 512}, logs / "logs")
    after = board.add_runs(multiplexer, logs, names)
    assert after == names | {later: "dense images=512 seed 0"}
    assert set(multiplexer.Runs()) == set(after.values())


@pytest.fixture
def taken():
    with socket.socket() as one:
        one.bind(("localhost", 0))
        one.listen()
        yield one.getsockname()[1]


def test_a_folder_that_is_none_two_folders_and_a_port_that_is_taken_are_refused_in_one_line(
    logs, taken, monkeypatch, capsys
):
    monkeypatch.setattr(board, "keep_adding", lambda multiplexer, root: None)
    refused = (
        ([str(logs / "none")], "expected a folder with runs"),
        ([str(logs), str(logs)], "expected one folder with --tensorboard, got 2"),
        ([str(logs), f"--port={taken}"], f"expected a free port, got {taken}"),
    )
    for words, message in refused:
        assert plot.main([*words, "--tensorboard"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"ccenv plot: {message}")
