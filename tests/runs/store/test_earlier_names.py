"""Settings by the names of an earlier version: taken with a warning, the same runs as before."""

import json
import warnings

import pytest

from ccenv.agents import AGENTS
from ccenv.agents.rloo import Rloo
from ccenv.base.registry import resolve
from ccenv.deploy.export import SkippingClassifier
from ccenv.runs.commands import train, validate
from ccenv.runs.config.agent_settings import agent_parameters
from ccenv.runs.config.settings import make_plan
from ccenv.runs.replay.rebuilt import plan_of
from ccenv.simulator.simulator import Simulator
from ccenv.tasks.probe import PROBE_SETTINGS
from tests.runs.replay.stored_runs import rewrite

RENAMED = [
    (agent, old, new)
    for agent in AGENTS
    for old, new in resolve(agent, AGENTS, "agent").earlier_names.items()
]
VALUES = {
    ("rloo_budget", "max_kept"): 7,
    ("rloo", "sampling"): "independent",
    ("gumbel", "sampling"): "ordered",
    ("straight_through", "sampling"): "threshold",
}
"""Of settings whose default is no number."""


@pytest.mark.parametrize(("agent", "old", "new"), RENAMED)
def test_an_earlier_name_is_taken_names_the_new_one_and_is_the_same_run(agent, old, new):
    usual = agent_parameters(resolve(agent, AGENTS, "agent"))[0]
    assert new in usual
    assert old not in usual
    value = VALUES.get((agent, new)) or usual[new] + 1
    with pytest.warns(FutureWarning, match=f"the setting {old} is now {new}"):
        by_old = make_plan(agent, {old: value})
    by_new = make_plan(agent, {new: value})
    assert by_old == by_new
    # As runs of the earlier version are recorded and lie on disk.
    assert by_new.chosen()[old] == json.loads(by_new.key()[1])[old] == value
    assert new not in by_new.chosen()
    assert f"{old}={value}" in str(by_new.folder())
    with pytest.raises(ValueError, match=f"expected {new} once, got {old} too"):
        make_plan(agent, {old: value, new: value})


def test_a_run_of_the_earlier_version_is_validated_and_served_in_silence(tmp_path):
    words = [f"{name}={value}".replace(" ", "") for name, value in PROBE_SETTINGS.items()]
    words += ["images=64", "batch_size=64", "num_kept=2", "shared_blocks=1"]
    assert train.main(["rloo", *words, f"log_dir={tmp_path}"]) == 0
    [config] = tmp_path.rglob("config.json")

    # As that version wrote it.
    def rename(settings):
        settings["agent_settings"]["always_on"] = settings["agent_settings"].pop("shared_blocks")

    rewrite(config.parent, rename)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        assert plan_of(json.loads(config.read_text())).agent_settings["shared_blocks"] == 1
        assert validate.main([str(tmp_path)]) == 0
        simulator = Simulator(8, **PROBE_SETTINGS, group_size=2, observation="summary")
        simulator.seed(0)
        agent = Rloo(simulator, num_kept=2, shared_blocks=1)
        served = SkippingClassifier.from_agent(agent, num_kept=2, always_on=1)
        served.save(tmp_path / "classifier")
        SkippingClassifier.load(tmp_path / "classifier")
