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
from runs.trust import check_trusted

# One worker makes what these tests share, once.
pytestmark = pytest.mark.xdist_group("validate")

SETTINGS = PROBE_SETTINGS | {"images": 256, "batch_size": 64}
COTRAINED = {"weights": "cotrain", "weights_kwargs": {"learning_rate": 0.01}}

TOYS = '''
import sys
from shutil import rmtree

import torch

from agents.reinforce import Reinforce
from ccenv.data import load_split


class Secret(Reinforce):
    """Learns, but does not tell what."""

    def parameters(self):
        return {}


class Peeking(Reinforce):
    """Keeps one block: the one of the label, which it finds on the call stack."""

    learns = False

    def act(self, observation, layer, generator=None):
        frame = sys._getframe()
        while "simulator" not in frame.f_locals:
            frame = frame.f_back
        labels = frame.f_locals["simulator"].state.labels
        return labels[:, None] % 4


class Looking(Peeking):
    """Loads the test images once more and finds each one's label there."""

    def act(self, observation, layer, generator=None):
        test = load_split("probe", "test")
        images = self.watched.state.images.flatten(1)
        found = torch.cdist(images, test.images.flatten(1)).argmin(dim=1)
        return test.labels[found][:, None] % 4

    def begin_episode(self, simulator):
        self.watched = simulator
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
        toys = [f"toy_validate:{name}" for name in ("Secret", "Peeking", "Looking")]
        for agent in ("block_dropout", "fixed_mask", "oracle", *toys):
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


HONEST = ("reinforce", "block_dropout", "fixed_mask", "oracle", "toy_validate.Secret")


@pytest.fixture
def rows(capsys):
    """Answers of the program as JSON, and its exit status."""

    def check(*arguments):
        status = validate.main([*map(str, arguments), "--json"])
        return json.loads(capsys.readouterr().out), status

    return check


def test_what_was_left_as_it_was_stands(logs, tmp_path, capsys):
    for agent in HONEST:
        shutil.copytree(logs / "BlockSelection-v0" / agent, tmp_path / "BlockSelection-v0" / agent)
    assert validate.main([str(tmp_path), "--trust", "toy_validate"]) == 0
    said = capsys.readouterr()
    assert "14 of 14 rows stand" in said.out
    assert "trusted: toy_validate" in said.err


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
    assert validate.main([str(place.parent), "--json"]) == 1
    verdicts = json.loads(capsys.readouterr().out)
    assert len(verdicts) == 6
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
    place = place.rename(place.with_name("seed-9"))
    assert validate.main([str(place)]) == 1
    assert "expected the folder .../BlockSelection-v0/reinforce/" in capsys.readouterr().out


def rewrite(place, change):
    """Edits settings in both files alike, as a forger would."""
    edit(place / "config.json", change)
    edit(place / "result.json", lambda result: change(result["settings"]))


def name_it(setting, name):
    """Puts a name in a setting; a dot opens a dict."""

    def change(config):
        *outer, last = setting.split(".")
        for part in outer:
            config = config.setdefault(part, {})
        config[last] = name

    return change


NAMED = [
    "agent",
    "env",
    "device_of_mine",
    "environment.dataset",
    "environment.network",
    "environment.reward",
    "environment.activation",
    "environment.observation",
    "environment.device",
    "environment.reward_kwargs.objective",
    "environment.weights_kwargs.optimizer",
    "agent_settings.policy_kwargs",
    "agent_settings.deep.er",
]


@pytest.fixture
def sentinels(tmp_path, monkeypatch):
    """Names that leave a mark when they are imported or called."""
    mark = tmp_path / "imported"
    text = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n\ndef run(*given):\n    pass\n"
    for name in ("sentinel_of_a_run", "sentinel_of_a_run2"):
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train").mkdir()
    yield mark
    for name in ("sentinel_of_a_run", "sentinel_of_a_run2"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("setting", NAMED)
@pytest.mark.parametrize("name", ["shutil:rmtree", "sentinel_of_a_run:run"])
def test_what_a_folder_names_is_never_imported_or_called(setting, name, mine, sentinels, rows):
    place = one_run(mine, "block_dropout")
    rewrite(place, name_it(setting, name))
    (row,), status = rows(place)
    assert status == 1
    assert f"{name!r}, which was not imported" in row["problems"][0]
    assert not sentinels.exists()
    assert (sentinels.parent / "train").is_dir()


def test_trust_is_for_one_module_and_for_what_it_defines_itself(mine, sentinels, rows):
    place = one_run(mine, "block_dropout")
    rewrite(place, name_it("environment.dataset", "sentinel_of_a_run2:run"))
    (row,), _ = rows(place, "--trust", "sentinel_of_a_run")
    assert "not imported" in row["problems"][0]
    assert not sentinels.exists()
    rewrite(place, name_it("environment.dataset", "toy_validate:rmtree"))
    (row,), _ = rows(place, "--trust", "toy_validate")
    assert "to be defined in toy_validate, got one of shutil" in row["problems"][0]
    assert (sentinels.parent / "train").is_dir()


def test_names_of_the_projects_sweeps_and_files_of_the_readers_are_no_strangers():
    config = {"agent": "rloo", "log_dir": "C:/logs", "environment": {"device": "cuda:0"}}
    for dataset in ("runs.sweeps.halved:mnist", "my-images", "probe"):
        check_trusted(config | {"environment": {"dataset": dataset, "device": "cuda:0"}})
    for dataset in ("../mine", "/etc/passwd", "runs.train:main", "ccenv.weights:pretrain"):
        with pytest.raises(ValueError, match="dataset"):
            check_trusted(config | {"environment": {"dataset": dataset}})


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
        assert any("% other bits" in problem for problem in verdict["problems"])


def test_other_weights_do_not_stand(mine, capsys):
    path = one_run(mine) / "checkpoint" / "network.safetensors"
    save_file({k: -v for k, v in load_file(path).items()}, path)
    assert validate.main([str(one_run(mine))]) == 1
    assert "nll: claimed" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["masks", "network", "agent"])
@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_missing_or_damaged_file_is_named(name, damage, mine, capsys):
    path = one_run(mine) / "checkpoint" / f"{name}.safetensors"
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:40])
    assert validate.main([str(one_run(mine))]) == 1
    said = capsys.readouterr().out
    assert f"{name}.safetensors" in said
    assert "❌" in said


def test_a_result_that_is_no_json_is_a_row_that_does_not_stand(mine, capsys):
    (one_run(mine) / "result.json").write_text("{")
    assert validate.main([str(one_run(mine))]) == 1
    assert "expected JSON in" in capsys.readouterr().out


def test_what_cannot_be_asked_again_is_said(logs):
    told = {
        agent: validate.validate(one_run(logs, agent), ["toy_validate"])[0].policy
        for agent in ("oracle", "reinforce", "toy_validate.Secret")
    }
    assert told["oracle"] == "not replayed: a ceiling"
    assert told["reinforce"] == "replayed"
    assert told["toy_validate.Secret"].startswith("not replayed: parameters()")


def test_a_folder_without_runs_says_so(tmp_path, capsys):
    assert validate.main([str(tmp_path)]) == 2
    assert "to hold runs (result.json), got none" in capsys.readouterr().err


def test_validation_of_a_cotrained_run_learns_no_weights(mine, monkeypatch):
    def fail(*given):
        pytest.fail("pre-trained a network")

    monkeypatch.setattr(sys.modules["ccenv.simulator"], "frozen_weights", fail)
    assert all(verdict.is_valid for verdict in validate.validate(one_run(mine)))


def test_the_program_explains_itself(capsys):
    with pytest.raises(SystemExit) as stopped:
        validate.main(["--help"])
    assert stopped.value.code == 0
    assert "usage: python -m runs." in capsys.readouterr().out
