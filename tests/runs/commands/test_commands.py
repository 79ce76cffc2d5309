"""Laws of what is typed: a run's command and settings make it again; finished runs are judged."""

import json
import re
import shlex

import pytest
import torch

import ccenv
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.runs.commands import eval as judging
from ccenv.runs.commands import inspect, plot, train
from ccenv.runs.config.command import command_line, read_config
from ccenv.runs.config.settings import make_plan
from ccenv.runs.config.values import parse_pairs
from ccenv.runs.report import publish
from ccenv.runs.store import folder as run_folder
from tests.runs.replay.stored_runs import edit

PLANS = (
    ("dense", {}),
    ("rloo", {"num_kept": 3, "seed": 4, "reward_kwargs": {"cost_weight": 0.5}, "images": 5000}),
    (
        "reinforce",
        {"reward": "lagrangian", "reward_kwargs": {"cost_limit": 0.2}, "log_dir": "my logs"},
    ),
    ("condnet", {"reward": "accuracy_minus_cost", "num_blocks": (4, 5), "eval_every": 777}),
    ("sb3_ppo", {"env": "BlockSelectionMNIST-v0", "activation": "relu", "device": "cpu"}),
    ("dense", {"network": "resnet", "network_kwargs": {"depth": 8}, "weights": "cotrain"}),
    ("actor_critic", {"context": {"cost_weight": (0.05, 5.0)}}),
)


@pytest.mark.parametrize(("agent", "settings"), PLANS)
def test_a_run_s_command_and_its_own_settings_make_the_same_run(agent, settings, tmp_path):
    plan = make_plan(agent, settings)
    command, word, name, *pairs = shlex.split(command_line(plan))
    assert (command, word, name) == ("ccenv", "train", agent)
    assert make_plan(agent, parse_pairs(pairs)).folder() == plan.folder()
    path = tmp_path / "config.json"
    path.write_text(json.dumps(plan.config()))
    found = read_config(path)
    again = make_plan(found.pop("agent"), found)
    assert (again.key(), again.folder()) == (plan.key(), plan.folder())


def test_a_file_of_settings_is_toml_and_the_command_line_goes_before_it(tmp_path):
    path = tmp_path / "mine.toml"
    text = 'agent = "rloo"\nseed = 3\nimages = 500\n[reward_kwargs]\ncost_weight = 0.5\n'
    path.write_text(text)
    options, plans = train.read_words(["--config", str(path), "images=700", "--seeds", "2"])
    assert options.seeds == 2
    assert [plan.program.seed for plan in plans] == [3, 4]
    assert {(plan.agent, plan.program.images) for plan in plans} == {("rloo", 700)}
    assert plans[0].environment["reward_kwargs"] == {"cost_weight": 0.5}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_eval_of_a_run_from_a_machine_with_a_card_leaves_the_run(tmp_path, capsys):
    given = PROBE_SETTINGS | {"images": 64, "batch_size": 64, "log_dir": str(tmp_path)}
    folder = ccenv.train("reinforce", **given).folder
    for name in ("config.json", "result.json"):
        edit(folder / name, lambda c: c.get("settings", c)["environment"].update(device="cuda"))
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    capsys.readouterr()
    assert judging.main([str(folder)]) == 2
    assert capsys.readouterr().err.startswith("ccenv eval: expected device to be 'cpu' or a CUDA")
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_seeds_are_trained_judged_again_and_drawn(tmp_path, monkeypatch, capsys):
    settings = {**PROBE_SETTINGS, "images": 256, "batch_size": 64, "log_dir": tmp_path / "logs"}
    pairs = [f"{name}={value}" for name, value in settings.items()]
    assert train.main(["reinforce", *pairs, "--seeds", "2", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert [first["seed"], second["seed"]] == [0, 1]
    # Those that are finished are taken.
    assert train.main(["reinforce", *pairs, "--seeds", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[1]["seconds"] == second["seconds"]
    assert judging.main([second["folder"], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == second["evaluations"][:2]
    assert judging.main([second["folder"], "--masks", "greedy"]) == 0
    assert "| greedy | test  |" in capsys.readouterr().out
    command = (tmp_path / "logs").rglob(run_folder.COMMAND)
    assert all(path.read_text().startswith("ccenv train reinforce") for path in command)
    page = tmp_path / "two.html"
    assert inspect.main([first["folder"], second["folder"], "--out", str(page)]) == 0
    assert "reinforce, seed 1" in page.read_text()
    drawn = []
    monkeypatch.setattr(publish, "publish", lambda *given: drawn.append(given))
    words = [str(tmp_path / "logs"), "--out", str(tmp_path), "--name", "mine"]
    assert plot.main(words) == 0
    ((comparison, report, _),) = drawn
    assert {label: len(runs) for label, runs in comparison.results.items()} == {"reinforce": 2}
    assert report == tmp_path / "mine"
    said = capsys.readouterr()
    assert re.search(r"^reinforce .*\(2 seeds: too few\)", said.out, re.MULTILINE)
    assert f"report: {report / 'index.html'}" in said.err
