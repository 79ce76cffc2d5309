"""Names of an earlier version, of settings and modules: taken, and the same runs as before."""

import json
import warnings

import pytest
import torch

from ccenv.agents import AGENTS
from ccenv.agents.base import Agent
from ccenv.agents.rloo import Rloo
from ccenv.annexes.deploy.export import SkippingClassifier
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.base.earlier_settings import EARLIER, Earlier, earlier_of
from ccenv.base.given_files import read_json
from ccenv.base.registry import resolve
from ccenv.runs.commands import train, validate
from ccenv.runs.config.agent_settings import agent_parameters
from ccenv.runs.config.settings import make_plan
from ccenv.runs.config.sweep import Cell, Sweep
from ccenv.runs.engine.jobs import make_jobs
from ccenv.runs.engine.sweep_runs import gather
from ccenv.runs.replay.rebuilt import plan_of
from ccenv.runs.store.untrusted_files import exported_file
from ccenv.simulator.simulator import Simulator
from tests.runs.replay.stored_runs import rewrite

RENAMED = [
    (agent, old, new)
    for agent in AGENTS
    for old, new in earlier_of(resolve(agent, AGENTS, "agent")).names.items()
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


def test_every_row_of_the_table_is_of_an_agent_and_says_settings_that_it_has_or_had():
    classes = {found.__name__: found for found in (resolve(n, AGENTS, "agent") for n in AGENTS)}
    for name, row in EARLIER.items():
        today = agent_parameters(classes[name])[0]
        assert {*row.names.values(), *row.values} <= today.keys(), name
        assert not (row.names.keys() | row.gone.keys()) & today.keys(), name


class Mine(Rloo):
    """An agent of another person that extends one of the package."""


class Unrelated(Agent):
    """One that extends none; its name says nothing."""


Unrelated.__name__ = "Rloo"


def test_an_agent_of_another_person_has_the_earlier_names_of_the_one_it_extends_and_no_others():
    path = f"{__name__}:Mine"
    with pytest.warns(FutureWarning, match="the setting draw is now sampling"):
        assert make_plan(path, {"draw": "independent"}).chosen()["draw"] == "independent"
    assert earlier_of(Unrelated) == Earlier()


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


AGENT = "ccenv.agents.of_earlier:Reinforce"
MOVED = PROBE_SETTINGS | {
    "network": "ccenv.networks.of_earlier:probe_network",
    "reward": "ccenv.rewards.of_earlier:accuracy_minus_cost",
    "images": 64,
    "batch_size": 64,
}


def test_a_stored_run_whose_classes_have_moved_is_found_replayed_and_served(tmp_path, capsys):
    words = [f"{name}={value}".replace(" ", "") for name, value in MOVED.items()]
    assert train.main([AGENT, *words, f"log_dir={tmp_path}", "--export"]) == 0
    sweep = Sweep("s", "d", (Cell("a", AGENT, MOVED),), 1.0, seeds=(0,))
    [job] = make_jobs(sweep, str(tmp_path))
    assert read_json(job.plan.folder() / "config.json")["agent"] == AGENT
    found = gather(sweep, [job], {})
    assert (len(found.finished), found.missing) == (1, ())
    assert validate.main([str(tmp_path)]) == 0, capsys.readouterr()
    classifier = SkippingClassifier.load(exported_file(job.plan.folder()))
    assert classifier(torch.zeros(2, *classifier.prepare.shape)).shape == (2, 3)
