"""Law of `ccenv train`: what a setting cannot be is said in one line."""

import dataclasses
import io
import re
from contextlib import redirect_stderr, redirect_stdout

import pytest

from ccenv.rewards import make_reward
from ccenv.runs.commands import train
from ccenv.runs.config.agent_settings import (
    agent_parameters,
    find_agent,
)
from ccenv.runs.config.values import parse_value
from ccenv.runs.lab.robustness.odd import NO_VALUES
from ccenv.runs.store import provenance
from ccenv.runs.store.identity import Program
from ccenv.simulator.settings import setting_defaults
from ccenv.tasks.probe import PROBE_SETTINGS

PROBE = {**PROBE_SETTINGS, "images": 32, "batch_size": 32, "progress": False, "latency": False}
AGENTS = ["reinforce", "rloo", "condnet", "actor_critic", "fixed_mask", "sb3_ppo"]
OTHERS = [*setting_defaults(), "context", *(f.name for f in dataclasses.fields(Program))]


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    return tmp_path_factory.mktemp("logs")


def words_of(agent, changed, logs):
    pairs = {**PROBE, "log_dir": logs} | changed
    texts = {k: v if isinstance(v, str) else str(v).replace(" ", "") for k, v in pairs.items()}
    return [agent, *(f"{name}={text}" for name, text in texts.items()), "--json"]


def check_told_in_a_line(words):
    """Carries a command out; returns what it says where it refuses."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as said:
        status = train.main(words)
    assert status in (0, 2)
    lines = said.getvalue().splitlines()
    told = [line for line in lines if line.startswith("ccenv train: ")]
    assert len(told) == (status == 2)
    assert "Traceback" not in said.getvalue()
    assert bool(out.getvalue()) == (status == 0)
    return "".join(told)


@pytest.mark.parametrize(
    ("agent", "changed", "hint"),
    [
        ("math:pi", {}, "to be a subclass of ccenv.agents.base.Agent, got 3.14"),
        ("ccenv.agents.base:Agent", {}, "to define act or distribution"),
        ("ccenv.agents.sb3:SB3Agent", {}, "must define algorithm()"),
        ("reinforce", {"batch_size": "{[]:1}"}, "expected batch_size to be int, got '{[]:1}'"),
        ("reinforce", {"batch_size": "-" * 9000 + "1"}, "(9,003 characters)"),
        ("reinforce", {"images": "1e308"}, "expected images to be int"),
        ("reinforce", {"seed": 10**20 - 1}, "got one of 67 bits"),
        ("reinforce", {"device": "meta"}, "expected device to be 'cpu' or a CUDA device"),
        ("reinforce", {"reward": "os:system"}, "which takes command first"),
        ("reinforce", {"threads": 99999}, f"threads of at most {provenance.most_threads()}"),
        ("reinforce", {"log_dir": ""}, "expected log_dir to name a folder"),
        ("reinforce", {"log_dir": "a\x00b"}, "expected log_dir to name a folder"),
        ("sb3_ppo", {"policy_kwargs": "x"}, "expected policy_kwargs to be dict"),
        ("sb3_trpo", {"n_critic_updates": "a"}, "expected n_critic_updates to be int, got 'a'"),
        ("reinforce", {"learning_rate": 1e308}, "expected finite parameters of reinforce"),
        ("reinforce", {"learning_rate": -1}, "expected learning_rate to be a finite number of"),
        ("condnet", {"learning_rate": "0.1,-0.5"}, "expected learning_rate to be a finite number"),
        (
            "rloo_budget",
            {"number_learning_rate": -1},
            "expected number_learning_rate to be a finite",
        ),
        ("sb3_ppo", {"learning_rate": -1e-9}, "expected learning_rate to be a finite number of"),
        ("sb3_ppo", {"gama": 1}, "unknown setting 'gama': did you mean 'gamma'?"),
        ("sb3_ppo", {"n_epochs": 0}, "expected n_epochs to be a whole number of at least 1"),
        ("sb3_ppo", {"num_blocks": 4, "batch_size": 1}, "parts of at least 2 steps"),
    ],
)
def test_what_once_ended_in_a_traceback_is_told_in_one_line(agent, changed, hint, logs):
    if agent == "sb3_trpo":
        pytest.importorskip("sb3_contrib")
    assert hint in check_told_in_a_line(words_of(agent, changed, logs))


@pytest.mark.parametrize(
    ("agent", "changed"),
    [
        ("reinforce", {"weights": "cotrain", "weights_kwargs": None}),
        ("reinforce", {"reward_kwargs": None}),
        ("sb3_ppo", {"batch_size": 4, "num_blocks": 3, "images": 8, "weights": "cotrain"}),
    ],
)
def test_sound_settings_run(agent, changed, logs):
    network = {} if changed.get("num_blocks") is None else {"network": "mlp"}
    assert check_told_in_a_line(words_of(agent, network | changed, logs)) == ""


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
