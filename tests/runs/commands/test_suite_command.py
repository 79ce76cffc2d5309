"""Laws of `ccenv suite`: what fails is a row, and the rest goes on."""

import dataclasses
import json

import pytest
import torch

from ccenv.agents.base import Agent
from ccenv.annexes.tasks import TASKS
from ccenv.runs.commands import cli
from ccenv.runs.suite import play as playing


class Mine(Agent):
    learns = True

    def __init__(self, env, *, seed=0, fails_with=""):
        super().__init__(env, seed=seed)
        self.fails_with = fails_with if len(self.num_blocks) == 2 else ""

    def act(self, observation, layer, generator=None):
        if self.fails_with == "nothing":
            return None
        if self.fails_with == "exit":
            raise SystemExit(0)
        if self.fails_with == "nan":
            return torch.full((len(observation), self.num_blocks[layer]), float("nan"))
        return torch.ones(len(observation), self.num_blocks[layer], dtype=torch.bool)


TASKS_OF_TWO = ("basic-4", "depth-2", "noise-10")


@pytest.fixture
def short(monkeypatch, tmp_path):
    """A working folder, and tasks of 200 episodes."""
    for name in TASKS_OF_TWO:
        monkeypatch.setitem(TASKS, name, dataclasses.replace(TASKS[name], episodes=200))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("task", ["memory-2", "together-2", "refresh-8", "updates-16"])
def test_an_agent_for_everything_plays_every_kind_of_gate_at_its_defaults(
    task, monkeypatch, tmp_path
):
    short = dataclasses.replace(TASKS[task], episodes=200)
    said = []
    assert playing.play_all(
        playing.make_player("rloo", {}), [short], [0], tmp_path, say=said.append
    )
    assert said == [f"1 of 1 tasks: {task}"]


def suite(*words, tasks=TASKS_OF_TWO):
    named = [word for name in tasks for word in ("--task", name)]
    return cli.main(["suite", *words, *named, "--seeds", "2"])


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("nothing", "TypeError: expected a mask as a tensor [rows, 4], got None"),
        ("nan", "ValueError: expected gate values in [0, 1], got nan..nan"),
        ("exit", "SystemExit: 0 (test_suite_command.py, line"),
    ],
)
def test_an_agent_that_fails_on_one_task_has_a_row_that_says_why(way, said, short, capsys):
    agent = "test_suite_command:Mine"
    assert suite(agent, f"fails_with={way}", "--json") == 1
    printed = capsys.readouterr()
    rows = {row["skill"]: row for row in json.loads(printed.out)}
    assert set(rows) == {"basic", "noise", "all skills"}
    assert f"depth-2, seed 0: {said}" in printed.err
    assert printed.err.count(said) == 2
    assert "2 of 3 tasks: depth-2\n" in printed.err
    folder = short / "runs" / "suite" / f"test_suite_command.Mine.fails_with.{way}"
    assert len([*folder.rglob("score.json")]) == 4
    assert json.loads((folder / "depth-2/seed-0/run.json").read_text())["error"].startswith(said)


def test_tasks_that_an_agent_cannot_play_are_told_first_and_are_no_failure(short, capsys):
    tasks = ("updates-16", "basic-4", "loads-2")
    assert suite("test_suite_command:Mine", "--folder", "mine", tasks=tasks) == 0
    first, *_, last = capsys.readouterr().err.split("1 of 3 tasks: ")
    assert first.startswith("test_suite_command:Mine cannot play updates-16, loads-2: expected")
    assert (
        "Mine has no score on loads-2, updates-16: expected an agent that learns over sequences"
        in last
    )
    # A folder's page leaves that of another.
    assert (short / "runs/reports/mine/index.html").exists()


class Silent(Mine):
    @property
    def policy_macs(self):
        raise RuntimeError("it will not say")


class Odd(Mine):
    policy_macs = (-1,)


@pytest.mark.parametrize(
    ("agent", "macs"),
    [
        # Of 4 scores from 4 numbers at one gate, and at two; of 8 from 8.
        ("reinforce", {"basic-4": 16, "depth-2": 32, "noise-10": 64}),
        ("test_suite_command:Mine", dict.fromkeys(TASKS_OF_TWO, 0)),
        ("test_suite_command:Silent", dict.fromkeys(TASKS_OF_TWO)),
        ("test_suite_command:Odd", dict.fromkeys(TASKS_OF_TWO)),
    ],
)
def test_what_choosing_costs_is_noted_and_shown_over_the_networks_own_macs(
    agent, macs, short, capsys
):
    assert suite(agent, "--json") == 0
    notes = {n["task"]: n for n in map(json.loads, texts_of(short, "run.json"))}
    assert {task: one["policy_macs"] for task, one in notes.items()} == macs
    rows = json.loads(capsys.readouterr().out)
    dense = {task: TASKS[task].dense_macs for task in TASKS_OF_TWO}
    shares = [None if macs[task] is None else macs[task] / dense[task] for task in TASKS_OF_TWO]
    every = None if None in shares else sorted(shares)[1]
    assert [row["policy_cost"] for row in rows] == [*shares, every]
    assert {row["settings"] for row in rows} == {"one"}
    assert suite(agent) == 0
    shown = capsys.readouterr().out.splitlines()
    (line,) = (one for one in shown if one.startswith("| basic "))
    said = "unknown" if shares[0] is None else f"{shares[0]:.3g}"
    assert line.endswith(f" {said} |")


def texts_of(folder, name):
    return [path.read_text() for path in sorted(folder.rglob(name))]


def test_what_is_finished_is_not_played_again_and_what_was_interrupted_is(
    short, monkeypatch, capsys
):
    played, play = [], playing.play_task

    def spy(player, task, seed, target):
        played.append((task.name, seed))
        return play(player, task, seed, target)

    monkeypatch.setattr(playing, "play_task", spy)
    assert suite("test_suite_command:Mine") == 0
    assert len(played) == 6
    score = short / "runs/suite/test_suite_command.Mine/noise-10/seed-1/score.json"
    content = json.loads(score.read_text())
    score.write_text(json.dumps(content | {"episodes": 100}))
    assert suite("test_suite_command:Mine") == 0
    assert played[6:] == [("noise-10", 1)]
    assert json.loads(score.read_text()) == content
    assert "Skills of test_suite_command:Mine" in capsys.readouterr().out
