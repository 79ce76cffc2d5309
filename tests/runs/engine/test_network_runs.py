"""Runs on networks with sizes of their own: command line, export, validation, interruption."""

import json
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ccenv.agents.reinforce import Reinforce
from ccenv.data import load_split
from ccenv.deploy.export import SkippingClassifier
from ccenv.runs.commands import train, validate
from ccenv.runs.store.folder import read_result

SIZES = {
    "conv": [
        "network_kwargs.channels=8,8",
        "network_kwargs.num_blocks=4",
        "network_kwargs.strides=1,2",
    ],
    "experts": ["network_kwargs.num_experts=4", "network_kwargs.channels=4,8"],
    "resnet": ["network_kwargs.depth=8", "network_kwargs.width=4"],
    "vit": ["network_kwargs.depth=1", "network_kwargs.dim=16", "network_kwargs.num_heads=2"],
}
COTRAIN = {
    name: [f"network={name}", *sizes, "weights=cotrain", "dataset=digits"]
    for name, sizes in SIZES.items()
}
# Probes have weights of their own: frozen, and nobody waits until they are learned.
FROZEN = {
    name: [f"network={name}", "dataset=probe", "weights=frozen"]
    for name in ("probe-residual", "probe-exit")
}
CASES = COTRAIN | FROZEN
SHORT = ["images=256", "batch_size=64", "progress=false"]

OWN = '''
import torch

from ccenv.networks.vision.residual import resnet


def brightness(network, state):
    """The mean of the input, and at later gates its spread too."""
    pixels = state.images_by_row.flatten(1)
    columns = [pixels.mean(dim=1), pixels.std(dim=1)][: 1 + (state.layer > 0)]
    return torch.stack(columns, dim=1)


def own_resnet(input_shape, num_classes, width=4):
    network = resnet(input_shape, num_classes, depth=8, width=width)
    network.has_own_weights = True
    return network
'''


@pytest.fixture(autouse=True)
def _own_module(tmp_path, monkeypatch):
    monkeypatch.setattr("ccenv.runs.engine.run.latencies", lambda env, agent: [])
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "own_networks.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    sys.modules.pop("own_networks", None)


@pytest.fixture
def run(tmp_path, capsys):
    """Trains by the command line: words -> the run's folder and result."""

    def go(*words, agent="reinforce", place="logs"):
        command = [agent, *words, *SHORT, f"log_dir={tmp_path / place}", "--json"]
        assert train.main(command) == 0, capsys.readouterr().err
        result = json.loads(capsys.readouterr().out)
        return Path(result["folder"]), result

    return go


@pytest.fixture
def verdicts(tmp_path, capsys):
    def go(place, *words):
        status = validate.main([str(place), *words, "--json"])
        return status, json.loads(capsys.readouterr().out)

    return go


@pytest.mark.parametrize("name", CASES)
def test_a_run_is_judged_exported_and_stands(name, run, verdicts):
    place, result = run(*CASES[name], "--export")
    environment = result["settings"]["environment"]
    assert environment["network"] == name
    assert len(environment["network_kwargs"]) == len(SIZES.get(name, ()))
    assert read_result(place)["dense_macs"] == result["dense_macs"] > 0
    events = EventAccumulator(str(place)).Reload().Tags()["scalars"]
    assert {"episode/return", "episode/compute_cost", "train/loss"} <= set(events)
    loaded = SkippingClassifier.load(place / "checkpoint" / "classifier.safetensors")
    images, _ = load_split(environment["dataset"], "test").batch(torch.arange(5))
    assert loaded(images).shape[0] == 5
    status, rows = verdicts(place.parents[4])
    assert status == 0, rows


@pytest.mark.parametrize("name", ["resnet", "probe-exit"])
def test_an_interrupted_run_ends_as_if_it_had_never_stopped(name, run, monkeypatch, tmp_path):
    _, whole = run(*CASES[name], "--checkpoint-every", "64", place="whole")
    update, updates = Reinforce.update, []

    def stops(self, rollout):
        updates.append(rollout)
        if len(updates) == 3:
            raise KeyboardInterrupt
        return update(self, rollout)

    with monkeypatch.context() as patch:
        patch.setattr(Reinforce, "update", stops)
        words = [*CASES[name], *SHORT, f"log_dir={tmp_path / 'logs'}", "--checkpoint-every", "64"]
        assert train.main(["reinforce", *words]) == 130
    before = len(updates)
    monkeypatch.setattr(
        Reinforce, "update", lambda s, rollout: updates.append(rollout) or update(s, rollout)
    )
    _, found = run(*CASES[name], "--checkpoint-every", "64")
    # Two updates were stored, so two are left of four.
    assert len(updates) - before == 2
    assert found["evaluations"] == whole["evaluations"]
    assert found["block_use"] == whole["block_use"]


@pytest.mark.parametrize("observation", ["summary", "own_networks:brightness"])
def test_what_is_looked_at_is_a_setting_by_name(observation, run, verdicts):
    place, result = run(*COTRAIN["resnet"], f"observation={observation}")
    assert result["settings"]["environment"]["observation"] == observation
    if ":" in observation:
        assert result["policy_macs"] == [1, 2, 2]
        assert observation in result["code"]
    trust = ["--trust", "own_networks"] if ":" in observation else []
    status, rows = verdicts(place.parents[4], *trust)
    assert status == 0, rows


def test_a_network_of_ones_own_with_sizes_is_trained_frozen_by_name(run, verdicts):
    words = ["network=own_networks:own_resnet", "network_kwargs.width=2", "dataset=digits"]
    place, result = run(*words)
    assert result["settings"]["environment"]["network_kwargs"] == {"width": 2}
    assert "own_networks:own_resnet" in result["code"]
    status, rows = verdicts(place.parents[4], "--trust", "own_networks")
    assert status == 0, rows


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["network=resnet", "network_kwargs.dept=8"], "did you mean 'depth'?"),
        (["network=resnet", "network_kwargs.depth=9"], "depth to be 6 n + 2"),
        (["network=resnet", "num_blocks=4"], "expected no num_blocks beside this network"),
        (["network=resnet", "network_kwargs=8"], "network_kwargs to be"),
        (["network=resnt"], "did you mean 'resnet'?"),
        (["network=probe-exit"], "expected dataset='probe'"),
        (["network=resnet", "weights=shipped"], "shipped"),
        (["network=resnet", "weights=cotrain", "observation=own_networks:nothing"], "nothing"),
    ],
)
def test_wrong_sizes_are_refused_before_anything_is_written(words, hint, tmp_path, capsys):
    assert train.main(["reinforce", *words, f"log_dir={tmp_path / 'logs'}"]) == 2
    said = capsys.readouterr().err
    assert hint in said
    assert said.count("ccenv train:") == 1
    assert not (tmp_path / "logs").exists()
