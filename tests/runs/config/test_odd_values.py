"""Law of `ccenv train`: what a setting cannot be is said in one line."""

import dataclasses
import re
import shutil

import pytest

import ccenv
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.rewards import make_reward
from ccenv.runs.commands import train
from ccenv.runs.config.agent_settings import (
    agent_parameters,
    find_agent,
)
from ccenv.runs.config.values import parse_value
from ccenv.runs.lab.robustness.odd import NO_VALUES
from ccenv.runs.store.identity import Program
from ccenv.simulator.settings import setting_defaults
from tests.ccenv.base.test_odd_settings import ODD, refused

PROBE = {**PROBE_SETTINGS, "images": 32, "batch_size": 32, "progress": False, "latency": False}
AGENTS = ["reinforce", "rloo", "condnet", "actor_critic", "fixed_mask", "sb3_ppo"]
OTHERS = [*setting_defaults(), "context", *(f.name for f in dataclasses.fields(Program))]


@pytest.mark.parametrize(
    ("agent", "changed", "hint"),
    [
        ("reinforce", {"learning_rate": 1e308}, "expected finite parameters of reinforce"),
        ("reinforce", {"network": "mlp", "weights": "cotrain", "weights_kwargs": None}, ""),
        ("reinforce", {"reward_kwargs": None}, ""),
        (
            "sb3_ppo",
            {"network": "mlp", "weights": "cotrain", "num_blocks": 3, "images": 8, "batch_size": 4},
            "",
        ),
    ],
)
def test_what_stops_a_run_is_told_in_one_line_and_sound_settings_run(
    agent, changed, hint, tmp_path, capsys
):
    pairs = {**PROBE, "log_dir": tmp_path} | changed
    words = [f"{name}={value}".replace(" ", "") for name, value in pairs.items()]
    assert train.main([agent, *words, "--json"]) == (2 if hint else 0)
    said = capsys.readouterr()
    told = [line for line in said.err.splitlines() if line.startswith("ccenv train: ")]
    assert len(told) == bool(hint)
    assert all(hint in line for line in told)
    assert "Traceback" not in said.err
    assert bool(said.out) == (not hint)


def test_an_object_is_known_for_a_reward_without_being_called(tmp_path, monkeypatch):
    text = """
from ccenv.mdp.dynamics import StepOutcome

def fires(path): raise SystemExit
def named(outcome): raise SystemExit
def annotated(step: StepOutcome): raise SystemExit
def quoted(step: "StepOutcome", price=1.0): raise SystemExit
class Fires:
    def __init__(self, path): raise SystemExit
"""
    (tmp_path / "odd_rewards.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("named", "annotated", "quoted"):
        assert make_reward(f"odd_rewards:{name}").name == f"odd_rewards:{name}"
    for name in ("fires", "Fires"):
        with pytest.raises(ValueError, match="to be a function"):
            make_reward(f"odd_rewards:{name}")


@pytest.mark.parametrize("name", [*OTHERS, "learning_rate", "keep_best"])
def test_an_odd_value_is_refused_in_words_of_ours_and_leaves_nothing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for odd in ODD:
        settings = {**PROBE, "log_dir": str(tmp_path / "logs"), name: odd}
        if not refused(lambda settings=settings: ccenv.train("reinforce", **settings)):
            shutil.rmtree(tmp_path / "logs")
        assert not [*tmp_path.iterdir()], (name, odd)


@pytest.mark.parametrize("text", [*NO_VALUES, "'\\d'"])
def test_what_is_no_number_is_read_without_a_word(text, recwarn):
    assert not isinstance(parse_value(text), int | float)
    assert not recwarn.list


@pytest.mark.parametrize("agent", ["reinforce", "rloo", "condnet", "fixed_mask"])
def test_help_says_what_each_setting_means(agent, capsys):
    with pytest.raises(SystemExit):
        train.main([agent, "--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in AGENTS)
    own = agent_parameters(find_agent(agent))[0]
    for name in {*own, *OTHERS} - {"context", "log_dir"}:
        assert re.search(rf"^  {name}=.*  \S", shown, re.MULTILINE), name
