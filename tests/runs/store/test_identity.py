"""Laws of recorded results: cells explain themselves, new settings at their defaults lose none."""

import dataclasses
import functools
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccenv.agents import AGENTS
from ccenv.base.earlier_settings import earlier_of, in_earlier_names, in_todays_names
from ccenv.base.files import LENGTH, SEAL, check_seal, sealed
from ccenv.base.registry import resolve
from ccenv.runs.config import agent_settings, plan, settings
from ccenv.runs.config.agent_settings import agent_parameters
from ccenv.runs.config.settings import make_plan
from ccenv.runs.config.values import fits_json
from ccenv.runs.engine.jobs import make_jobs
from ccenv.runs.engine.recordings import recording_of
from ccenv.runs.store import identity, recorded
from ccenv.runs.sweeps import SWEEPS

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "runs/results"
DEFAULTS = Path(__file__).parent / "recorded_defaults.json"
COMPARISONS = sorted(
    p.stem for p in RESULTS.glob("*.json") if recorded.holds_runs(json.loads(p.read_text()))
)


read_once = functools.cache(recorded.read_cells)


def cells_of(name):
    return read_once(RESULTS / f"{name}.json")


def asked_of(source):
    """What is recorded of a sweep's plans, on whatever data."""
    plans = source.by_key()
    recordings = recorded.by_key(recorded.read_cells(source.path))
    return {key: result for key, result in recordings.items() if key in plans}


def found_by(name):
    sweep = SWEEPS[name]
    source = recording_of(sweep, make_jobs(sweep, "unused"), str(RESULTS))
    return asked_of(source), recorded.unasked(source), source.by_key()


@pytest.mark.parametrize("name", SWEEPS)
def test_every_sweep_resolves_is_recorded_whole_and_no_two_cells_are_the_same_run(
    name, monkeypatch
):
    monkeypatch.setattr(recorded, "read_cells", read_once)
    sweep = SWEEPS[name]
    assert sweep.name == name
    asked, unasked, plans = found_by(name)
    assert len({plan.folder() for plan in plans.values()}) == len(plans) == len(sweep.runs())
    if name in COMPARISONS:
        assert asked.keys() == plans.keys() == recorded.by_key(cells_of(name)).keys()
        assert not unasked


def test_a_new_setting_at_its_default_loses_no_recorded_run(monkeypatch):
    """Of the environment, of every agent and of the program at once."""
    usual, of_agent = settings.setting_defaults, settings.agent_parameters

    def more_of_environment():
        return {**usual(), "new_of_environment": 0.5}

    def more_of_agent(agent_class):
        own, takes_any = of_agent(agent_class)
        return {**own, "new_of_agent": (1, 2)}, takes_any

    more = [("new_of_environment", float, 0.5)]
    made = dataclasses.make_dataclass(
        "More", more, bases=(settings.EnvironmentSettings,), frozen=True, kw_only=True
    )
    monkeypatch.setattr(settings, "EnvironmentSettings", made)
    for module in (settings, identity):
        monkeypatch.setattr(module, "setting_defaults", more_of_environment)
    for module in (settings, plan, agent_settings):
        monkeypatch.setattr(module, "agent_parameters", more_of_agent)
    made = make_plan("rloo", {})
    assert made.environment["new_of_environment"] == 0.5
    assert made.agent_settings["new_of_agent"] == (1, 2)
    assert made.folder().parent.name.startswith("group_size=") is False
    seen = set()
    for name in COMPARISONS:
        # As many sweeps as it takes to have every agent.
        if not (agents := {cell.agent for cell in SWEEPS[name].cells}) <= seen:
            seen |= agents
            assert found_by(name)[0].keys() == recorded.by_key(cells_of(name)).keys()
    assert make_plan("rloo", {"new_of_agent": (2, 2)}).key() != made.key()
    assert make_plan("rloo", {"new_of_environment": 1}).key() != made.key()


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_recorded_cell_can_be_run_again_from_its_own_line(name):
    # One seed of each row.
    for cell in {cell["label"]: cell for cell in cells_of(name)}.values():
        chosen, seed = cell["chosen"], cell["seed"]
        config = identity.whole_config(cell["agent"], chosen, seed)
        assert identity.chosen_settings(config, {}) == chosen
        names = earlier_of(resolve(cell["agent"], AGENTS, "agent")).names
        own = in_todays_names(config["agent_settings"], names, warns=False)
        program = {name: v for name, v in config.items() if name not in ("agent", *identity.GROUPS)}
        again = make_plan(cell["agent"], {**config["environment"], **own, **program})
        assert again.key() == identity.key_of(cell["agent"], chosen, seed)
        assert list(cell["data"]) == [config["environment"]["dataset"]]
        assert SEAL in cell


def test_a_script_without_this_package_reads_every_recorded_cell():
    """The one in `ccenv.runs.store.recorded`, in a Python that finds no package of ours."""
    text = recorded.__doc__.split(":\n\n", maxsplit=1)[1]
    done = subprocess.run(
        [sys.executable, "-I", "-c", textwrap.dedent(text)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == sum(len(cells_of(name)) for name in COMPARISONS)
    assert any(line.startswith("rloo 0 {'env': 'BlockSelectionMNIST-v0'") for line in lines)


def test_no_default_that_recorded_runs_rest_on_has_changed():
    """Change one, and stored cells that do not name it say something else than what was run."""
    here = {
        "program": {k: v for k, v in vars(identity.Program()).items() if k not in identity.AROUND},
        "environment": identity.environment_defaults(),
        "agents": {
            name: in_earlier_names(agent_parameters(found)[0], earlier_of(found).names)
            for name, found in ((name, resolve(name, AGENTS, "agent")) for name in AGENTS)
        },
    }
    then = json.loads(DEFAULTS.read_text())
    for group, now in ("program", here["program"]), ("environment", here["environment"]):
        assert {k: v for k, v in then[group].items() if not identity.same(now[k], v)} == {}
    for agent, settled in then["agents"].items():
        now = here["agents"][agent]
        assert {k: v for k, v in settled.items() if not identity.same(now[k], v)} == {}, agent
    names = {cell["agent"] for name in COMPARISONS for cell in cells_of(name)}
    assert names <= set(then["agents"])
    assert all(fits_json(v) for v in then["environment"].values())


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("xy"), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(["images", "env", "rate", "context"]), values), values)
def test_a_key_survives_json_and_names_are_safe(chosen, seen):
    stored = json.loads(json.dumps(chosen))
    assert identity.key_of("a", stored, 0) == identity.key_of("a", chosen, 0)
    name = identity.short_name(chosen, {"rate": seen})
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.=,")
    assert len(name) <= identity.SHORT + 9
    assert not name.startswith(".")


def test_spellings_of_one_value_are_one_setting_and_different_values_are_two():
    for one, other in ((20, 20.0), ((1, 2), [1, 2]), ({"a": 1.0}, {"a": 1})):
        assert identity.same(one, other)
    for one, other in ((1, True), (1, "1"), ([1], 1), (None, 0), (0.1, 0.2)):
        assert not identity.same(one, other)


def test_a_recorded_run_that_no_row_asks_for_is_told_and_stays(tmp_path):
    sweep = SWEEPS["mnist-rloo"]
    place = tmp_path / "mnist-rloo.json"
    place.write_bytes((RESULTS / "mnist-rloo.json").read_bytes())
    fewer = dataclasses.replace(sweep, cells=sweep.cells[:1])
    source = recording_of(fewer, make_jobs(fewer, "unused"), str(tmp_path))
    known = asked_of(source)
    assert len(recorded.unasked(source)) == len(cells_of("mnist-rloo")) - len(known) > 0
    recorded.save(source, {"kind": "comparison"}, known)
    again = recorded.by_key(recorded.read_cells(place))
    assert again.keys() == recorded.by_key(cells_of("mnist-rloo")).keys()


def test_a_seal_whose_own_name_was_damaged_is_refused():
    whole = json.dumps(sealed({"error": 0.5, "commit": "0" * LENGTH}))
    start, believed = whole.index(SEAL), 0
    for place in range(start, start + len(SEAL)):
        for bit in range(8):
            flipped = chr(ord(whole[place]) ^ 1 << bit)
            try:
                content = json.loads(whole[:place] + flipped + whole[place + 1 :])
            except ValueError:
                continue
            with pytest.raises(ValueError, match="expected the checksum under the name"):
                check_seal(content, "a.json")
            believed += 1
    assert believed > 30
    older = {"error": 0.5, "commit": "0" * LENGTH}
    assert check_seal(older, "a.json") is older
