"""What `runs/docs/contributing.md` says is all: with those lines, what is new is used by name."""

import json
import re
from pathlib import Path

import pytest

import ccenv.rewards
from ccenv import agents, networks
from ccenv.runs import commands, studies
from ccenv.runs.commands import cli
from ccenv.runs.sweeps import SWEEPS

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "runs" / "docs" / "contributing.md"
PARTS = '''
"""An agent, a reward, a network and a section of a report."""

import torch

from ccenv.agents.base import Agent
from ccenv.agents.distributions import IndependentBlocks, keep_probability
from ccenv.networks.core.mlp import GatedMLP
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.tables.sweep_table import Table


class Added(Agent):
    """Learns one keep probability for each block."""

    def __init__(self, env, *, seed=0, added_rate=0.1):
        """Starts with every block as likely as not.

        Args:
            env: what it acts in.
            seed: of what is random in it.
            added_rate: Adam's.
        """
        super().__init__(env, seed=seed)
        self.scores = [torch.zeros(n, requires_grad=True) for n in self.num_blocks]
        self.optimizer = torch.optim.Adam(self.scores, lr=added_rate)

    def distribution(self, observation, layer):
        return IndependentBlocks(keep_probability(self.scores[layer]).expand(len(observation), -1))

    def update(self, rollout):
        loss = torch.zeros(())
        for layer, mask in enumerate(rollout.actions):
            log_prob = self.distribution(rollout.observations[layer], layer).log_prob(mask)
            loss = loss - (log_prob * rollout.returns[layer]).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.item()}


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
    parser = Parser(prog="ccenv added")
    parser.add_argument("name")
    return parser


@program("ccenv added")
def main(arguments=None):
    """Says hello; see --help."""
    print(f"hello {make_parser().parse_args(arguments).name}")
    return 0
'''
SETTINGS = {
    "dataset": "synthetic",
    "network": "added_network",
    "reward": "added_reward",
    "num_blocks": "(4,4)",
    "block_size": 4,
    "images": 64,
    "batch_size": 32,
}
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
TABLES = {
    "an agent": ("agents/__init__.py", "AGENTS"),
    "a reward": ("ccenv/rewards/__init__.py", "REWARDS"),
    "a network": ("ccenv/networks/__init__.py", "NETWORKS"),
    "a study": ("runs/studies/__init__.py", "SECTIONS"),
    "a command": ("runs/commands/cli.py", "GROUPS"),
}
"""What is added -> the file and the table in it of which the page says that it gets a line."""


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
    (tmp_path / "added.py").write_text(COMMAND)
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    monkeypatch.setitem(cli.COMMANDS, "added", "say hello")
    monkeypatch.setitem(studies.STUDIES, "added_study", studies.shipped_study("added_study"))
    monkeypatch.setitem(SWEEPS, "added_study", studies.STUDIES["added_study"].sweep)
    return tmp_path


def said(capsys, *words):
    """What a command prints, if it goes well."""
    assert cli.main([str(word) for word in words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


@pytest.mark.parametrize("kind", TABLES)
def test_the_page_names_the_table_that_gets_a_line(kind):
    file, table = TABLES[kind]
    [row] = re.findall(rf"^\| {kind} \| .*", PAGE.read_text(), re.MULTILINE)
    links = [(PAGE.parent / link).resolve() for link in re.findall(r"\]\(([^)#]+)\)", row)]
    assert ROOT / file in links or any((ROOT / file).is_relative_to(link) for link in links)
    assert re.search(rf"^{table}\b.*=", (ROOT / file).read_text(), re.MULTILINE)


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
    assert shown in json.dumps(json.loads(said(capsys, "list", kind, name, "--json"))[name])


def test_a_command_that_is_added_runs(added, capsys):
    assert said(capsys, "added", "you") == "hello you\n"


def test_what_is_added_is_trained_exported_validated_and_compared_by_name(added, capsys):
    words = [f"{name}={value}" for name, value in SETTINGS.items()]
    place = [f"--{kind}-dir={added / kind}" for kind in ("log", "report", "results")]
    given = [*words, "added_rate=0.2", f"log_dir={added / 'log'}", "--export"]
    said(capsys, "train", "added", *given)
    assert "✅" in said(capsys, "validate", added / "log")
    assert "\nadded " in said(capsys, "compare", "added_study", "--no-run", "--page", *place)
    [table] = (added / "report").rglob("added.md")
    assert "Runs that were added" in table.read_text()
