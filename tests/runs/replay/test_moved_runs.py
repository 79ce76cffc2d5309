"""A run that names modules of an earlier version is found, replayed and served."""

import torch

from ccenv.deploy.export import SkippingClassifier
from ccenv.runs.commands import train, validate
from ccenv.runs.config.sweep import Cell, Sweep
from ccenv.runs.engine.jobs import gather, make_jobs
from ccenv.runs.store import json_file
from ccenv.runs.store.untrusted_files import exported_file
from ccenv.tasks.probe import PROBE_SETTINGS

AGENT = "ccenv.agents.of_earlier:Reinforce"
SETTINGS = PROBE_SETTINGS | {
    "network": "ccenv.networks.of_earlier:probe_network",
    "reward": "ccenv.rewards.of_earlier:accuracy_minus_cost",
    "images": 64,
    "batch_size": 64,
}


def test_a_stored_run_whose_classes_have_moved_is_found_replayed_and_served(tmp_path, capsys):
    words = [f"{name}={value}".replace(" ", "") for name, value in SETTINGS.items()]
    assert train.main([AGENT, *words, f"log_dir={tmp_path}", "--export"]) == 0
    sweep = Sweep("s", "d", (Cell("a", AGENT, SETTINGS),), 1.0, seeds=(0,))
    [job] = make_jobs(sweep, str(tmp_path))
    assert json_file.check_json(job.plan.folder() / "config.json")["agent"] == AGENT
    found = gather(sweep, [job], {})
    assert (len(found.finished), found.missing) == (1, ())
    assert validate.main([str(tmp_path)]) == 0, capsys.readouterr()
    classifier = SkippingClassifier.load(exported_file(job.plan.folder()))
    assert classifier(torch.zeros(2, *classifier.prepare.shape)).shape == (2, 3)
