"""Laws of `ccenv train`: what a run leaves, what a failed start leaves, what is no result."""

import json
import shutil
from typing import ClassVar

import numpy as np
import pytest
import torch
from made_results import curves_of
from safetensors.torch import load_file

import ccenv
from ccenv import GatedMLP
from ccenv.agents.base import Agent
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.base.checked_file import read_checked
from ccenv.base.files import write_sealed
from ccenv.runs.commands import train
from ccenv.runs.config.settings import make_plan
from ccenv.runs.engine import run
from ccenv.runs.engine.pool import RunRequest, do_task
from ccenv.runs.store import folder, masks_file
from ccenv.runs.store.identity import Program

PROBE = PROBE_SETTINGS | {
    "images": 256,
    "batch_size": 64,
}


class Half(Agent):
    """Keeps the first half of the blocks."""

    learns: ClassVar[bool] = False

    def __init__(self, env, *, seed=0, loud: bool = False, helper=torch.nn.ReLU):
        super().__init__(env, seed=seed)

    def act(self, observation, layer, generator=None):
        mask = torch.zeros(len(observation), self.num_blocks[layer], dtype=torch.bool)
        mask[:, : self.num_blocks[layer] // 2] = True
        return mask


class Dies(Half):
    learns = True

    def update(self, rollout):
        raise KeyboardInterrupt


def cost_only(outcome, price: float = 1.0):
    return -price * outcome.layer_cost


class Wide(GatedMLP):
    has_own_weights = True


@pytest.fixture
def logs(tmp_path):
    return tmp_path / "logs"


def pairs(settings):
    texts = {k: str(v).replace(" ", "") for k, v in settings.items()}
    return [f"{name}={text}" for name, text in texts.items()]


def files_under(path):
    return sorted(p for p in path.rglob("*") if p.is_file())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Logs that hold one run, and its result."""
    logs = tmp_path_factory.mktemp("made") / "logs"
    return logs, ccenv.train("reinforce", log_dir=str(logs), seed=3, **PROBE).result


def test_a_run_leaves_exactly_the_listed_files(made):
    logs, result = made
    (place,) = logs.glob("*/*/*/*/seed-*")
    environment, agent, reward, _, seed = place.relative_to(logs).parts
    assert (environment, agent) == ("BlockSelection-v0", "reinforce")
    assert (reward, seed) == ("accuracy_minus_cost", "seed-3")
    names = [str(path.relative_to(place)) for path in files_under(place)]
    stored = [f"checkpoint/{name}.safetensors" for name in ("agent", "masks", "network")]
    assert names == sorted([*stored, "command.txt", "config.json", "result.json"])
    (curves,) = logs.glob("tb/*")
    names = [str(path.relative_to(curves)) for path in files_under(curves)]
    (event,) = (name for name in names if name.startswith("events.out.tfevents."))
    assert names == sorted([event, "run.txt"])
    assert (curves / (curves / "run.txt").read_text().strip()).resolve() == place
    assert len(files_under(logs)) == len(files_under(place)) + len(names)
    assert json.loads((place / "result.json").read_text()) == {
        k: v for k, v in result.items() if k != "folder"
    }
    config = json.loads((place / "config.json").read_text())
    assert config["agent_settings"]["learning_rate"] == 0.05
    assert config["environment"]["num_blocks"] == [4, 4]


def test_a_tiny_network_is_timed_where_that_is_asked_for(made, tmp_path):
    assert made[1]["latency"] == []
    timed = ccenv.train("reinforce", log_dir=str(tmp_path), latency=True, **PROBE).result
    assert [found["batch_size"] for found in timed["latency"]] == [1, 256]


def test_a_result_says_what_was_run_and_how_well(made):
    _, result = made
    judged = [(e["split"], e["mode"]) for e in result["evaluations"]]
    both = ("sampled", "mode")
    assert judged == [(split, mode) for split in ("test", "validation") for mode in both]
    assert result["images_seen"] == 256
    assert result["policy_macs"] == [32, 32]
    assert result["num_parameters"] == 72
    assert {"python", "torch", "numpy", "gymnasium"} <= set(result["versions"])
    assert {"cpu", "cores", "threads"} <= set(result["machine"])
    saved = load_file(folder.Path(result["folder"]) / "checkpoint" / "agent.safetensors")
    assert sum(value.numel() for value in saved.values()) == 72


def test_a_result_holds_the_learning_curve_and_the_use_of_blocks_by_class(made):
    _, result = made
    images = [point["images_seen"] for point in result["curve"]]
    assert images[0] == 0
    assert images[-1] == 256
    assert images == sorted(set(images))
    last = next(e for e in result["evaluations"] if e["split"] == "validation")
    assert result["curve"][-1] == {"images_seen": 256, **last}
    assert [np.shape(layer) for layer in result["block_use"]] == [(3, 4), (3, 4)]


def test_stored_masks_come_back_bit_for_bit(tmp_path):
    generator = torch.Generator().manual_seed(0)
    masks = [torch.rand(33, blocks, generator=generator) < 0.3 for blocks in (1, 8, 10)]
    (tmp_path / "checkpoint").mkdir()
    masks_file.save_masks(tmp_path, {True: masks})
    found = masks_file.load_masks(tmp_path, True, (1, 8, 10))
    assert all(torch.equal(a, b) for a, b in zip(found, masks, strict=True))
    for greedy, blocks in ((False, (1, 8, 10)), (True, (1, 9, 10)), (True, (1, 8, 10, 2))):
        with pytest.raises(ValueError, match="expected"):
            masks_file.load_masks(tmp_path, greedy, blocks)


def test_settings_from_the_command_line_reach_agent_reward_and_network_updates(logs, capsys):
    command = ["reinforce", *pairs(PROBE), "learning_rate=0.02", "reward_kwargs.cost_weight=0.5"]
    command += ["weights=cotrain", "weights_kwargs.schedule_updates=run", f"log_dir={logs}"]
    assert train.main([*command, "--json"]) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert settings["agent_settings"]["learning_rate"] == 0.02
    assert settings["environment"]["reward_kwargs"] == {"cost_weight": 0.5}
    assert settings["environment"]["weights_kwargs"] == {"schedule_updates": 4}


def test_agent_reward_and_network_of_a_users_module_need_no_edit_elsewhere(logs, capsys):
    command = ["test_runs:Half", "reward=test_runs:cost_only", "network=test_runs:Wide"]
    command += ["reward_kwargs.price=2", "num_blocks=4,6", f"log_dir={logs}", "progress=false"]
    assert train.main(command) == 0
    (place,) = logs.glob("*/*/*/*/seed-*")
    assert place.relative_to(logs).parts[1:3] == ("test_runs.Half", "test_runs.cost_only")
    result = folder.read_result(place)
    assert result["evaluations"][0]["density"] == [0.5, 0.5]
    assert set(result["code"]) == {"test_runs:Half", "test_runs:cost_only", "test_runs:Wide"}


def test_an_npz_file_by_its_path_is_trained_on_and_compared_on(logs, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    images, labels = rng.random((40, 9), dtype=np.float32), np.arange(40) % 3
    np.savez(tmp_path / "tiny.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    monkeypatch.chdir(tmp_path)
    settings = {"dataset": "tiny.npz", "weights": "cotrain", "num_blocks": [2]}
    settings |= {"images": 32, "batch_size": 16, "log_dir": str(logs)}
    assert train.main(["dense", *pairs(settings)]) == 0
    # So a sweep carries out its runs.
    assert do_task(RunRequest("a row", "reinforce", settings)).error is None
    assert len(list(logs.rglob("result.json"))) == 2


def test_a_killed_run_is_never_taken_for_a_result_and_leaves_no_old_curves(logs, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        ccenv.train("test_runs:Dies", log_dir=str(logs), **PROBE)
    (place,) = logs.glob("*/*/*/*/seed-*")
    assert folder.read_result(place) is None
    curves = curves_of(place)
    assert list(curves.glob("events.*"))
    # As versions before this one left them.
    (place / "events.out.tfevents.1").write_text("old")
    monkeypatch.setattr(Dies, "update", lambda self, rollout: {})
    ccenv.train("test_runs:Dies", log_dir=str(logs), **PROBE)
    assert folder.read_result(place) is not None
    assert len(list(curves.glob("events.*"))) == 1
    assert not list(place.glob("events.*"))


def test_a_finished_run_answers_from_its_folder_until_its_code_changes_or_it_is_told_to_start_anew(
    logs, monkeypatch, capsys
):
    command = ["test_runs:Half", *pairs({**PROBE, "log_dir": logs}), "--json", "--seeds", "2"]

    def seconds():
        assert train.main(command) == 0
        said = capsys.readouterr()
        return [result["total_seconds"] for result in json.loads(said.out)], said.err

    first, said = seconds()
    assert "finished already" not in said
    again, said = seconds()
    assert again == first
    assert said.count("finished already") == len(first)
    command.append("--anew")
    anew, said = seconds()
    assert not set(anew) & set(first)
    command.pop()
    monkeypatch.setattr(run, "code_digests", lambda plan: {"test_runs:Half": "of other code"})
    changed, said = seconds()
    assert said.count("older version") == len(first)
    assert not set(changed) & set(anew)


def test_a_finished_run_is_exported_without_being_trained_again(logs, capsys):
    command = ["reinforce", *pairs({**PROBE, "log_dir": logs}), "--json"]
    assert train.main([*command, "--export"]) == 0
    first = json.loads(capsys.readouterr().out)
    (file,) = logs.rglob("classifier.safetensors")
    # Not its bytes: the order of texts in a safetensors header is a matter of chance.
    tensors, texts = read_checked(file)
    file.unlink()
    assert train.main([*command, "--export"]) == 0
    assert json.loads(capsys.readouterr().out)["total_seconds"] == first["total_seconds"]
    again, same_texts = read_checked(file)
    assert same_texts == texts
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)


def test_a_finished_run_does_not_answer_with_an_edited_result(logs, capsys):
    command = ["dense", *pairs({**PROBE, "log_dir": logs})]
    assert train.main(command) == 0
    (path,) = logs.rglob("result.json")
    write_sealed(path, json.loads(path.read_text()) | {"seed": 7})
    capsys.readouterr()
    assert train.main(command) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "edited or damaged" in said.err
    assert train.main([*command, "--anew"]) == 0


def test_a_folder_in_use_is_refused_at_once(logs, capsys):
    given = {**PROBE, "log_dir": str(logs)}
    plan = make_plan("reinforce", given)
    with folder.locked(plan.folder(), wait=False):
        assert train.main(["reinforce", *pairs(given)]) == 2
    assert "another process" in capsys.readouterr().err


def test_the_folder_depends_on_every_setting_but_the_seed_and_the_machine():
    base = make_plan("reinforce", PROBE)
    other_seed = make_plan("reinforce", {**PROBE, "seed": 1, "threads": 2, "log_dir": "elsewhere"})
    assert base.folder().parent.name == other_seed.folder().parent.name
    for name, value in {"images": 512, "learning_rate": 1.0, "observation": "summary"}.items():
        assert make_plan("reinforce", {**PROBE, name: value}).folder() != base.folder()


def test_the_user_overrides_the_agent_the_agent_the_preset():
    wishes = make_plan("rloo", {"env": "BlockSelectionMNIST-v0"})
    assert wishes.environment["group_size"] == 8
    assert tuple(wishes.environment["num_blocks"]) == (16,)
    assert wishes.num_envs == 8 * Program().batch_size
    assert make_plan("rloo", {"group_size": 4}).environment["group_size"] == 4


def test_objects_are_refused_because_a_run_is_told_by_names():
    with pytest.raises(ValueError, match="give functions and classes as 'module:name'"):
        make_plan("reinforce", {"reward": lambda outcome: outcome.layer_cost})


def test_curves_of_a_run_whose_folder_is_gone_go_when_the_next_one_begins(logs, capsys):
    runs = [ccenv.train("dense", log_dir=str(logs), seed=seed, **PROBE) for seed in (0, 1)]
    kept, orphan = (next(logs.glob(f"tb/dense*seed {seed}*")) for seed in (0, 1))
    mine = logs / "tb" / "mine"
    mine.mkdir()
    shutil.rmtree(runs[1].folder)
    capsys.readouterr()
    ccenv.train("dense", log_dir=str(logs), seed=2, **PROBE)
    assert f"whose folders are gone were removed: {orphan.name}" in capsys.readouterr().err
    assert kept.is_dir()
    assert mine.is_dir()
    assert not orphan.exists()
