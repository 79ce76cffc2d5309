"""Law of `ccenv train`: whatever a setting is given, it runs or says in one line why not."""

import dataclasses
import io
import re
from contextlib import redirect_stderr, redirect_stdout

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ccenv.agents.sb3_settings import divide
from ccenv.rewards import make_reward
from ccenv.runs import api
from ccenv.runs.api import Run
from ccenv.runs.commands import train
from ccenv.runs.config.agent_settings import (
    agent_parameters,
    explained,
    explained_of_class,
    find_agent,
)
from ccenv.runs.config.settings import make_plan
from ccenv.runs.config.values import parse_value
from ccenv.runs.store import provenance
from ccenv.runs.store.identity import Program
from ccenv.simulator.settings import setting_defaults
from ccenv.tasks.probe import PROBE_SETTINGS

PROBE = {**PROBE_SETTINGS, "images": 32, "batch_size": 32, "progress": False, "latency": False}
AGENTS = ["reinforce", "rloo", "condnet", "actor_critic", "fixed_mask", "sb3_ppo"]
SB3 = ["n_epochs", "n_steps", "gamma", "clip_range", "policy_kwargs", "target_kl", "use_sde"]
OTHERS = [*setting_defaults(), "context", *(f.name for f in dataclasses.fields(Program))]

NOTHING = ["", " ", "None", "[]", "()", "{}", "[],"]
NUMBERS = ["-1", "0", "3", "0.5", "1e400", "-1e308", "1e308", "nan", "inf", "1e-320", "9" * 30]
NESTED = ["[1]", "[[1]]", "1,2,3", "-1,4", "4,4.0", "0,0", "(1,'a')", "{1:2}", "{'a':1,2:3}"]
NO_VALUES = [
    "{1}",
    "b'x'",
    "1j",
    "()()",
    "{[]:1}",
    "-" * 9000 + "1",
    "[" * 300 + "]" * 300,
    "'\\d'",
]
WORDS = ["x", "true", "é", "\ud800", "\x00", "a" * 300, "../x", "%s%n", "{x}", "meta", "cuda:99"]
NAMES = [
    "math:pi",
    "os:getcwd",
    "torch:nn",
    "builtins:int",
    ":",
    "x:",
    "nowhere:x",
    "ccenv.agents.base:x",
]
DICTS = ["{'cost_weight':1e308}", "{'learning_rate':'a'}", "{'net_arch':[0]}", "{'optimizer':[1]}"]
ODD = [*NOTHING, *NUMBERS, *NESTED, *NO_VALUES, *WORDS, *NAMES, *DICTS]


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


def names_of(agent):
    own = list(agent_parameters(find_agent(agent))[0])
    known = [*own, *(SB3 if agent.startswith("sb3") else []), *OTHERS]
    return [name for name in known if name != "log_dir"]


PAIRS = st.sampled_from(AGENTS).flatmap(
    lambda agent: st.tuples(st.just(agent), st.sampled_from(names_of(agent)))
)


@settings(max_examples=30, derandomize=True)
@given(pair=PAIRS, value=st.sampled_from(ODD))
@example(pair=("sb3_ppo", "policy_kwargs"), value="x")
@example(pair=("sb3_ppo", "n_epochs"), value="0")
@example(pair=("reinforce", "images"), value="1e308")
@example(pair=("reinforce", "learning_rate"), value="1e308")
def test_an_odd_value_runs_or_is_refused_in_one_line(pair, value, logs):
    agent, name = pair
    check_told_in_a_line(words_of(agent, {name: value}, logs))


@settings(max_examples=50, derandomize=True)
@given(pair=PAIRS, value=st.text(st.characters(exclude_characters=":"), max_size=12))
def test_any_text_makes_a_plan_or_is_refused_in_one_line(pair, value, logs):
    agent, name = pair
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "train_plan", lambda plan, *_: Run(plan.config()))
        check_told_in_a_line(words_of(agent, {name: value}, logs))


@pytest.mark.parametrize(
    ("agent", "changed", "hint"),
    [
        ("math:pi", {}, "to be a subclass of ccenv.agents.base.Agent, got 3.14"),
        ("ccenv.agents.base:Agent", {}, "to define act or distribution"),
        ("ccenv.agents.sb3:SB3Agent", {}, "must define algorithm()"),
        ("reinforce", {"batch_size": "{[]:1}"}, "expected batch_size to be int, got '{[]:1}'"),
        ("reinforce", {"batch_size": "-" * 9000 + "1"}, "(9,003 characters)"),
        ("reinforce", {"seed": 10**20 - 1}, "got one of 67 bits"),
        ("reinforce", {"device": "meta"}, "expected device to be 'cpu' or a CUDA device"),
        ("reinforce", {"reward": "os:system"}, "which takes command first"),
        ("reinforce", {"threads": 99999}, f"threads of at most {provenance.most_threads()}"),
        ("reinforce", {"log_dir": ""}, "expected log_dir to name a folder"),
        ("reinforce", {"log_dir": "a\x00b"}, "expected log_dir to name a folder"),
        ("sb3_ppo", {"policy_kwargs": "x"}, "expected policy_kwargs to be dict"),
        ("sb3_trpo", {"n_critic_updates": "a"}, "expected n_critic_updates to be int, got 'a'"),
        ("reinforce", {"learning_rate": 1e308}, "expected finite parameters of reinforce"),
        ("fixed_mask", {"num_search_images": 0}, "fixed_mask stopped by"),
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


@pytest.mark.parametrize(("steps", "size"), [(2, 2), (3, 3), (4, 2), (6, 3), (8, 2), (512, 128)])
def test_parts_of_a_rollout_are_at_most_four_and_hold_at_least_two_steps(steps, size):
    assert divide({}, steps)["batch_size"] == size


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


def test_a_bug_in_the_users_own_code_shows_its_traceback(tmp_path, monkeypatch, logs):
    text = """
from ccenv.agents.reinforce import Reinforce

class Buggy(Reinforce):
    def update(self, rollout):
        raise RuntimeError("a bug of mine")
"""
    (tmp_path / "odd_agents.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RuntimeError, match="a bug of mine"):
        train.main(words_of("odd_agents:Buggy", {}, logs))


@pytest.mark.parametrize("text", NO_VALUES)
def test_what_is_no_number_is_read_without_a_word(text, recwarn):
    assert not isinstance(parse_value(text), int | float)
    assert not recwarn.list


@pytest.mark.parametrize("agent", ["reinforce", "rloo", "condnet", "fixed_mask"])
def test_help_says_what_each_setting_means(agent, capsys):
    with pytest.raises(SystemExit):
        train.main([agent, "--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in AGENTS)
    for name in {*names_of(agent)} - {"context"}:
        assert re.search(rf"^  {name}=.*  \S", shown, re.MULTILINE), name


def test_an_argument_of_several_lines_is_one_text_and_a_class_inherits_meanings():
    def documented(first, second):
        """Does.

        Args:
            first: a text
                of two lines.
            *second: another.

        Returns:
            nothing: at all.
        """

    assert explained(documented) == {"first": "a text of two lines.", "second": "another."}
    assert explained(None) == {}
    meaning = explained_of_class(find_agent("sb3_ppo"))
    assert meaning["anneal"] == "let the learning rate fall to 0 linearly."


@pytest.mark.parametrize(
    ("agent", "name", "value"),
    [
        ("reinforce", "learning_rate", -1),
        ("condnet", "learning_rate", (1e-3, -0.5)),
        ("rloo_budget", "number_learning_rate", float("nan")),
        ("sb3_ppo", "learning_rate", -1e-9),
    ],
)
def test_a_rate_below_zero_is_refused_in_the_projects_words(agent, name, value):
    with pytest.raises(ValueError, match=f"expected {name} to be a finite number of at least 0"):
        make_plan(agent, {name: value})
