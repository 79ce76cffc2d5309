"""Laws of `runs.validate`: what was edited by hand does not stand."""

import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from ccenv.probe import PROBE_SETTINGS
from runs import folder as run_folder
from runs import run, train, validate
from runs.replay import plan_of, rebuild, replay
from runs.rows import evaluation

# One worker makes what these tests share, once.
pytestmark = pytest.mark.xdist_group("validate")

SETTINGS = PROBE_SETTINGS | {"images": 256, "batch_size": 64}
COTRAINED = {"weights": "cotrain", "weights_kwargs": {"learning_rate": 0.01}}

TOYS = '''
import torch

from agents.reinforce import Reinforce


class Secret(Reinforce):
    """Learns, but does not tell what."""

    def parameters(self):
        return {}
'''


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Runs of three seeds, frozen and co-trained, of a policy, a rule, a ceiling and a secret."""
    place = tmp_path_factory.mktemp("validate")
    (place / "toy_validate.py").write_text(TOYS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        patch.setenv("CCENV_CACHE", str(place / "cache"))
        patch.setattr(run, "latencies", lambda env, agent: [])
        for seed in (0, 1, 2):
            train.train(
                "reinforce", log_dir=str(place / "logs"), seed=seed, **SETTINGS, **COTRAINED
            )
        for agent in ("block_dropout", "fixed_mask", "oracle", "toy_validate:Secret"):
            train.train(agent, log_dir=str(place / "logs"), seed=1, **SETTINGS)
        yield place / "logs"


@pytest.fixture
def mine(logs, tmp_path):
    """A copy of the logs that a test may spoil."""
    shutil.copytree(logs, tmp_path / "logs")
    return tmp_path / "logs"


def one_run(logs, agent="reinforce", seed=1):
    (found,) = (logs / "BlockSelection-v0" / agent).glob(f"*/*/seed-{seed}")
    return found


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=2))


def test_what_was_left_as_it_was_stands(logs, capsys):
    assert validate.main([str(logs)]) == 0
    assert "14 of 14 rows stand" in capsys.readouterr().out


def test_a_replay_finds_the_claimed_figures_of_a_cotrained_network(logs):
    place = one_run(logs)
    result = run_folder.check_json(place / "result.json")
    rebuilt = rebuild(plan_of(run_folder.check_json(place / "config.json")), place)
    for mode in ("sampled", "mode"):
        claimed = evaluation(result, mode)
        found = replay(rebuilt, run_folder.load_masks(place, mode, (4, 4)))
        assert found.macs == pytest.approx(claimed["macs"], rel=1e-9)
        assert found.error == pytest.approx(claimed["error"], abs=1e-9)
        assert found.nll == pytest.approx(claimed["nll"], rel=1e-5)
        assert found.density == pytest.approx(claimed["density"], rel=1e-6)


def set_error(result):
    result["evaluations"][0]["error"] -= 0.05


def set_macs(result):
    result["evaluations"][1]["macs"] -= 1.0


def set_density(result):
    result["evaluations"][0]["density"][1] += 0.01


def set_policy_macs(result):
    result["policy_macs"] = [0, 0]


def set_seed(result):
    result["seed"] = 5


def set_agent(result):
    result["agent"] = "rloo"


EDITS = [
    (set_error, "sampled", "error: claimed"),
    (set_macs, "mode", "macs: claimed"),
    (set_density, "sampled", "density: claimed"),
    (set_policy_macs, "both", "policy_macs: claimed [0, 0], found [32, 32]"),
    (set_seed, "both", "seed: result.json says 5, config.json 1"),
    (set_agent, "both", "result.json is about"),
]


@pytest.mark.parametrize(("change", "rows", "problem"), EDITS)
def test_a_result_edited_by_hand_falls_in_its_row_and_no_other(change, rows, problem, mine, capsys):
    place = one_run(mine)
    edit(place / "result.json", change)
    assert validate.main([str(mine), "--json"]) == 1
    verdicts = json.loads(capsys.readouterr().out)
    fallen = [v for v in verdicts if not v["valid"]]
    expected = ["sampled", "mode"] if rows == "both" else [rows]
    assert [(v["folder"], v["masks"]) for v in fallen] == [(str(place), mode) for mode in expected]
    assert all(any(problem in text for text in v["problems"]) for v in fallen)


def test_a_seed_changed_everywhere_is_not_the_seed_of_the_masks(mine, capsys):
    place = one_run(mine, "block_dropout")
    for name in ("result.json", "config.json"):
        text = (place / name).read_text()
        (place / name).write_text(text.replace('"seed": 1', '"seed": 4'))
    place.rename(place.with_name("seed-4"))
    assert validate.main([str(mine / "BlockSelection-v0" / "block_dropout")]) == 1
    assert "the stored policy with this seed chooses" in capsys.readouterr().out


def test_a_run_in_another_runs_folder_does_not_stand(mine, capsys):
    place = one_run(mine)
    place.rename(place.with_name("seed-9"))
    assert validate.main([str(mine)]) == 1
    assert "expected the folder .../BlockSelection-v0/reinforce/" in capsys.readouterr().out


def better_masks(place):
    """Masks that no policy chose: every block on, and a result that says so."""
    masks = [torch.ones(256, 4, dtype=torch.bool)] * 2
    run_folder.save_masks(place, {"sampled": masks, "mode": masks})
    rebuilt = rebuild(plan_of(run_folder.check_json(place / "config.json")), place)
    found = replay(rebuilt, masks)

    def change(result):
        for claimed in result["evaluations"][:2]:
            claimed |= {k: v for k, v in vars(found).items() if k in claimed}

    edit(place / "result.json", change)


def test_masks_that_the_stored_policy_does_not_choose_do_not_stand(mine, capsys):
    place = one_run(mine)
    better_masks(place)
    assert validate.main([str(place), "--json"]) == 1
    for verdict in json.loads(capsys.readouterr().out):
        (problem,) = verdict["problems"]
        assert "% other bits" in problem


def test_other_weights_do_not_stand(mine, capsys):
    path = one_run(mine) / "checkpoint" / "network.safetensors"
    save_file({k: -v for k, v in load_file(path).items()}, path)
    assert validate.main([str(mine)]) == 1
    assert "nll: claimed" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["masks", "network", "agent"])
@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_missing_or_damaged_file_is_named(name, damage, mine, capsys):
    path = one_run(mine) / "checkpoint" / f"{name}.safetensors"
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:40])
    assert validate.main([str(mine)]) == 1
    said = capsys.readouterr().out
    assert f"{name}.safetensors" in said
    assert "❌" in said


def test_a_result_that_is_no_json_is_a_row_that_does_not_stand(mine, capsys):
    (one_run(mine) / "result.json").write_text("{")
    assert validate.main([str(mine)]) == 1
    assert "expected JSON in" in capsys.readouterr().out


def test_what_cannot_be_asked_again_is_said(logs, capsys):
    validate.main([str(logs), "--json"])
    policies = {v["folder"]: v["policy"] for v in json.loads(capsys.readouterr().out)}
    told = {agent: policies[str(one_run(logs, agent))] for agent in ("oracle", "reinforce")}
    told["secret"] = policies[str(one_run(logs, "toy_validate.Secret"))]
    assert told["oracle"] == "not replayed: a ceiling"
    assert told["reinforce"] == "replayed"
    assert told["secret"].startswith("not replayed: parameters()")


def test_a_folder_without_runs_says_so(tmp_path, capsys):
    assert validate.main([str(tmp_path)]) == 2
    assert "to hold runs (result.json), got none" in capsys.readouterr().err


def test_validation_learns_no_weights_anew(mine, monkeypatch):
    def fail(*given):
        pytest.fail("pre-trained a network")

    monkeypatch.setattr(sys.modules["ccenv.simulator"], "frozen_weights", fail)
    (verdicts,) = [validate.validate(one_run(mine, "fixed_mask"))]
    assert all(verdict.is_valid for verdict in verdicts)


def test_the_program_explains_itself(capsys):
    with pytest.raises(SystemExit) as stopped:
        validate.main(["--help"])
    assert stopped.value.code == 0
    assert "usage: python -m runs." in capsys.readouterr().out
