"""With the lines that `runs/docs/contributing.md` names, what is new is used by its name."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import settings

import ccenv.rewards
from ccenv import agents, networks
from ccenv.annexes import agents as systems
from ccenv.runs import commands, studies
from ccenv.runs.commands import cli
from ccenv.runs.sweeps import SWEEPS

ROOT = Path(__file__).parent.parent
PARTS = '''
"""An agent, a reward, a network and a section of a report."""

from ccenv.agents.reinforce import Reinforce
from ccenv.networks.core.mlp import GatedMLP
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.tables.sweep_table import Table


class Added(Reinforce):
    """Learns as it does, at a rate of its own."""

    def __init__(self, env, *, seed=0, added_rate=0.1):
        """Starts.

        Args:
            env: what it acts in.
            seed: of what is random in it.
            added_rate: Adam's.
        """
        super().__init__(env, seed=seed, learning_rate=added_rate)


def added_reward(outcome, added_weight: float = 1.0):
    """Charges every layer when it is computed."""
    return -added_weight * outcome.layer_cost


def added_network(
    in_features, num_blocks=(2,), block_size=2, num_classes=2, activation="relu", head_units=()
):
    """One like the usual one."""
    return GatedMLP(in_features, num_blocks, block_size, num_classes, activation, head_units)


def number_of_runs(comparison, results):
    lines = [[one.label] for one in comparison.finished]
    return Part([Table("added", "Runs that were added", {"run": "left"}, lines)])


SECTION = Section("added", "What was added", number_of_runs)
'''
COMMAND = '''
"""A command that says hello: ccenv added NAME."""

from ccenv.runs.commands.frame import Parser, program


def make_parser():
    parser = Parser(RECIPE)
    parser.add_argument("name")
    return parser


@program("ccenv added")
def main(arguments=None):
    """Says hello; see --help."""
    print(f"hello {make_parser().parse_args(arguments).name}")
    return 0
'''
SLIP = '''
"""An agent that learns nothing: its author took a rollout for two parts."""

from ccenv.agents.reinforce import Reinforce


class Slip(Reinforce):
    """Learns nothing."""

    def update(self, rollout):
        """Fails."""
        left, right = rollout.masks, rollout.returns, rollout.rewards
        return {}
'''
STUDY = """
description = "One that was added."
minutes = 0.1
seeds = [0]

[settings]
dataset = "synthetic"
network = "added_network"
reward = "added_reward"
num_blocks = [4, 4]
block_size = 4
images = 64
batch_size = 32

[[rows]]
agent = "added"
settings = { added_rate = 0.2 }
"""


@pytest.fixture
def added(tmp_path, monkeypatch):
    """A fixture module, a sweep's file, and one line in each table; nothing else is touched."""
    (tmp_path / "added_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(agents.AGENTS, "added", "added_parts:Added")
    monkeypatch.setitem(ccenv.rewards.REWARDS, "added_reward", "added_parts:added_reward")
    monkeypatch.setitem(networks.NETWORKS, "added_network", "added_parts:added_network")
    monkeypatch.setitem(studies.SECTIONS, "added_study", "added_parts:SECTION")
    # The folders of studies are looked through when they are imported.
    monkeypatch.setitem(studies.FILES, "added_study", tmp_path / "added_study.toml")
    studies.FILES["added_study"].write_text(STUDY)
    (tmp_path / "added.py").write_text(COMMAND.replace("RECIPE", recipe_of_parsers()))
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    monkeypatch.setitem(cli.COMMANDS, "added", "say hello")
    monkeypatch.setitem(studies.STUDIES, "added_study", studies.shipped_study("added_study"))
    monkeypatch.setitem(SWEEPS, "added_study", studies.STUDIES["added_study"].sweep)
    return tmp_path


def recipe_of_parsers():
    """The keyword arguments that the page's line of commands gives a parser."""
    page = (ROOT / "runs/docs/contributing.md").read_text()
    line = re.search(r"^\| a command \|.*$", page, flags=re.MULTILINE)[0]
    return ", ".join(re.findall(r"`(\w+=[^`]+)`", line)).replace("NAME", "added")


def printed_by(capsys, *words):
    """What a command prints, if it goes well."""
    assert cli.main([str(word) for word in words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "name", "shown"),
    [
        ("agents", "added", "added_rate"),
        ("rewards", "added_reward", "added_weight"),
        ("networks", "added_network", "num_blocks"),
        ("sweeps", "added_study", "One that was added."),
    ],
)
def test_what_is_added_is_listed_with_its_settings(kind, name, shown, added, capsys):
    assert shown in json.dumps(json.loads(printed_by(capsys, "list", kind, name, "--json"))[name])


def test_a_command_that_is_added_runs(added, capsys):
    assert recipe_of_parsers().startswith('prog="ccenv added"')
    assert printed_by(capsys, "added", "you") == "hello you\n"


@pytest.mark.parametrize("command", ["train", "suite"])
def test_an_error_in_an_added_agent_is_told_with_its_place(command, tmp_path, monkeypatch, capsys):
    (tmp_path / "slip.py").write_text(SLIP)
    monkeypatch.setattr(systems, "__path__", [*systems.__path__, str(tmp_path)])
    monkeypatch.setitem(agents.AGENTS, "slip", "ccenv.annexes.agents.slip:Slip")
    words = {
        "train": ["train", "slip", "dataset=synthetic", "images=64", f"log_dir={tmp_path}"],
        "suite": ["suite", "slip", "--quick", "--skill", "basic", "--folder", tmp_path / "suite"],
    }
    assert cli.main([str(word) for word in words[command]]) != 0
    told = capsys.readouterr().err
    place = SLIP[: SLIP.index("left, right")].count("\n") + 1
    assert (
        f"too many values to unpack (expected 2) (ccenv/annexes/agents/slip.py, line {place})"
        in told
    )
    assert "Traceback" not in told
    # It was given none.
    assert "settings" not in told


def test_what_is_added_is_trained_exported_validated_and_compared_by_name(added, capsys):
    settings = tomllib.loads(STUDY)["settings"]
    words = [f"{name}={value}".replace(" ", "") for name, value in settings.items()]
    place = [f"--{kind}-dir={added / kind}" for kind in ("log", "report", "results")]
    training = [*words, "added_rate=0.2", f"log_dir={added / 'log'}", "--export"]
    printed_by(capsys, "train", "added", *training)
    assert "✅" in printed_by(capsys, "validate", added / "log")
    assert "\nadded " in printed_by(capsys, "compare", "added_study", "--no-run", "--page", *place)
    [table] = (added / "report").rglob("added.md")
    assert "Runs that were added" in table.read_text()


def test_a_property_that_says_no_number_takes_100_examples_at_least():
    assert settings.default.max_examples >= 100
