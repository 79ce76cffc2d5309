"""Laws of `ccenv.runs.commands.validate`: what was edited by hand does not stand."""

import copy
import functools
import operator
import shutil
import sys
from pathlib import Path

import pytest
import torch
from stored_runs import edit, one_run, opened, rewrite

import ccenv
from ccenv.agents import AGENTS
from ccenv.agents.reinforce import Reinforce
from ccenv.annexes.tasks.probe import PROBE_SETTINGS, probe
from ccenv.base.checked_file import read_checked, write_checked
from ccenv.base.files import SEAL
from ccenv.base.given_files import read_json
from ccenv.data import load_split
from ccenv.networks.learning import training as weights
from ccenv.runs.commands import validate
from ccenv.runs.config.command import read_config
from ccenv.runs.config.settings import make_plan
from ccenv.runs.engine import run
from ccenv.runs.replay import verdicts
from ccenv.runs.replay.rebuilt import as_it_ran, pays_again
from ccenv.runs.replay.replay import StoredMasks, ask, wrong_labels
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store import masks_file
from ccenv.runs.store.untrusted_files import check_trusted
from tests.ccenv.episodes import STALENESS

SETTINGS = PROBE_SETTINGS | {"images": 256, "batch_size": 64}
COTRAINED = {"weights": "cotrain", "weights_kwargs": {"learning_rate": 0.01}}


def elsewhere(split):
    return probe(split)


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
        images = self.watched.state.images_by_row.flatten(1)
        found = torch.cdist(images, test.images.flatten(1)).argmin(dim=1)
        return test.labels[found][:, None] % 4

    def begin_episode(self, simulator):
        self.watched = simulator


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Runs of three seeds, frozen and co-trained, of a policy, a rule, a ceiling and a secret."""
    place = tmp_path_factory.mktemp("validate")
    for seed in (0, 1, 2):
        ccenv.train("reinforce", log_dir=str(place), seed=seed, **SETTINGS, **COTRAINED)
    toys = [f"test_validate:{name}" for name in ("Secret", "Peeking", "Looking")]
    for agent in ("block_dropout", "fixed_mask", "oracle", *toys):
        ccenv.train(agent, log_dir=str(place), seed=1, **SETTINGS)
    return place


HONEST = ("reinforce", "block_dropout", "fixed_mask", "oracle", "test_validate.Secret")


def test_what_was_left_as_it_was_stands(logs, tmp_path, capsys):
    for agent in HONEST:
        shutil.copytree(logs / "BlockSelection-v0" / agent, tmp_path / "BlockSelection-v0" / agent)
    assert validate.main([str(tmp_path), "--trust", "test_validate"]) == 0
    said = capsys.readouterr()
    assert "14 of 14 rows stand" in said.out
    assert "trusted: test_validate" in said.err


def result_with(changes):
    """Edits numbers of `result.json`: where one stands -> its old value -> the new one."""

    def change(result):
        for place, new in changes.items():
            *outer, last = (int(n) if n.lstrip("-").isdigit() else n for n in place.split("."))
            part = functools.reduce(operator.getitem, outer, result)
            part[last] = new(part[last])

    return lambda place: edit(place / "result.json", change)


def half(number):
    return number / 2


def more(number):
    return number + 0.05


def fewer(number):
    return number - 64


def leave_out(place):
    edit(place / "result.json", lambda result: result["evaluations"][0].pop("mean_return"))


def set_seed_everywhere(place):
    rewrite(place, lambda config: config.update(seed=4))
    edit(place / "result.json", lambda result: result.update(seed=4))
    return place.rename(place.with_name("seed-4"))


def to_another_folder(place):
    return place.rename(place.with_name("seed-9"))


def better_masks(place):
    """Masks that no policy chose: every block on, and a result that says so."""
    masks = [torch.ones(256, 4, dtype=torch.bool)] * 2
    masks_file.save_masks(place, {False: masks, True: masks})
    rebuilt = opened(place)
    numbers = ask(rebuilt, True, policy=StoredMasks(rebuilt.agent, masks)).numbers()
    figures = {k: v for k, v in numbers.items() if k not in ("split", "mode")}

    def change(result):
        for claimed in result["evaluations"][:2]:
            claimed |= {k: v for k, v in figures.items() if k in claimed}

    edit(place / "result.json", change)


def other_weights(place):
    path = place / "checkpoint" / "network.safetensors"
    write_checked(path, {k: -v for k, v in read_checked(path)[0].items()}, {})


def setting_that_no_such_run_has(place):
    rewrite(place, name_it("agent_settings.learning_rate", 0.5))
    return place.parent.rename(place.parent.with_name("not-a-hash")) / place.name


SAMPLED, MODE, BOTH = ["sampled"], ["mode"], ["sampled", "mode"]
VALIDATION, LAST = "evaluations.2.error", "curve.-1.error"
FORGED = [
    (result_with({"evaluations.0.error": half}), SAMPLED, "error: claimed"),
    (result_with({"evaluations.0.density.1": more}), SAMPLED, "density: claimed"),
    (result_with({"evaluations.0.mean_return": more}), SAMPLED, "mean_return: claimed"),
    (result_with({"evaluations.1.policy_cost": half}), MODE, "policy_cost: claimed"),
    (leave_out, SAMPLED, "mean_return: claimed None"),
    (result_with({"block_use.0.0.0": lambda n: n + 5}), SAMPLED, "block_use: claimed otherwise"),
    (result_with({VALIDATION: half, LAST: half}), BOTH, "validation, sampled: error: claimed"),
    (result_with({LAST: half}), BOTH, "curve: its last point"),
    (
        result_with({"images_seen": fewer, "curve.-1.images_seen": fewer}),
        BOTH,
        "images_seen: claimed 192, found 256",
    ),
    (result_with({"num_parameters": lambda _: 3}), BOTH, "num_parameters: claimed 3"),
    (result_with({"policy_macs": lambda _: [0, 0]}), BOTH, "claimed [0, 0], found [32, 32]"),
    (result_with({"seed": lambda _: 5}), BOTH, "seed: result.json says 5, config.json 1"),
    (result_with({"agent": lambda _: "rloo"}), BOTH, "result.json is about"),
    (result_with({"data": lambda _: {"probe": "0" * 24}}), BOTH, "other images"),
    (to_another_folder, BOTH, "expected the folder .../BlockSelection-v0/reinforce/"),
    (setting_that_no_such_run_has, BOTH, "as its settings and seed say"),
    (better_masks, BOTH, "% other bits"),
    (other_weights, BOTH, "nll: claimed"),
]


@pytest.mark.parametrize(("change", "fallen", "problem"), FORGED)
def test_what_was_forged_falls_in_its_row_and_no_other(change, fallen, problem, mine, rows):
    place = one_run(mine)
    found, status = rows(change(place) or place)
    assert status == 1
    told = [row["draw"] for row in found if any(problem in text for text in row["problems"])]
    assert told == fallen
    assert [row["draw"] for row in found if not row["valid"]] == fallen


def test_a_seed_changed_everywhere_is_not_the_seed_of_the_masks(mine, rows):
    place = set_seed_everywhere(one_run(mine, "block_dropout"))
    found, status = rows(place)
    assert status == 1
    assert "the stored policy with this seed chooses" in f"{found[0]['problems']}"


def name_it(setting, name):
    """Puts a name in a setting; a dot opens a dict."""

    def change(config):
        *outer, last = setting.split(".")
        for part in outer:
            config = config.setdefault(part, {})
        config[last] = name

    return change


def test_names_of_the_projects_sweeps_and_files_of_the_readers_are_no_strangers():
    config = {"agent": "rloo", "log_dir": "C:/logs", "environment": {"device": "cuda:0"}}
    for dataset in ("my-images", "pets@64", "book@text", "<b> mine", "probe"):
        check_trusted(config | {"environment": {"dataset": dataset, "device": "cuda:0"}})
    for dataset in ("../mine", "/etc/passwd", "ccenv.runs.commands.train:main"):
        with pytest.raises(ValueError, match="dataset"):
            check_trusted(config | {"environment": {"dataset": dataset}})


def test_what_cannot_be_asked_again_is_said(logs):
    told = {
        agent: verdicts.validate(one_run(logs, agent), ["test_validate"])[0].policy
        for agent in ("oracle", "reinforce", "test_validate.Secret")
    }
    assert told["oracle"] == "not replayed: a ceiling"
    assert told["reinforce"] == "replayed"
    assert told["test_validate.Secret"].startswith("not replayed: parameters()")


RECOMPUTED, CHECKED, WORD = "recomputed", "checked for consistency", "the author's word"
BASIS = {
    RECOMPUTED: ("error", "masks", "mean_return", "block_use", "validation", "data"),
    CHECKED: ("images_seen", "settings", "agent"),
    WORD: (
        *("settings: images", "settings: learning_rate", "training data", "network"),
        *(
            "no test labels by heart",
            "latency",
            "seconds",
            "machine",
            "curve: other points",
            "seed",
        ),
    ),
}


def test_it_is_said_of_each_figure_whether_it_was_recomputed_checked_or_believed(logs, rows):
    place = one_run(logs)
    (row, _), _ = rows(place)
    for basis, names in BASIS.items():
        assert {name: row["basis"].get(name) for name in names} == dict.fromkeys(names, basis)
    apart = {"evaluations", "curve", SEAL}
    assert set(read_json(place / "result.json")) - apart <= set(row["basis"])
    (frozen, _), _ = rows(one_run(logs, "block_dropout"))
    assert frozen["basis"]["network"] == RECOMPUTED
    assert frozen["basis"]["settings: images"] == CHECKED
    assert "training data" not in frozen["basis"]
    (secret, _), _ = rows(one_run(logs, "test_validate.Secret"), "--trust", "test_validate")
    unknown = ("masks", "block_use", "validation", "no test labels by heart")
    assert {secret["basis"][name] for name in unknown} == {WORD}


ABOUT = ("which inputs trained policy", "the labels of a data set", "policy chose the masks")
ABOUT += ("that trainings of several seeds are several",)


@pytest.mark.parametrize(
    ("agent", "dataset", "believed"),
    [
        ("reinforce", "probe", [True, False, False, True]),
        ("block_dropout", "probe", [False, False, False, False]),
        ("test_validate:Secret", "probe", [True, False, True, True]),
        ("block_dropout", "test_validate:elsewhere", [True, True, False, False]),
    ],
)
def test_the_last_line_says_what_stands_and_what_is_believed(
    agent, dataset, believed, logs, tmp_path, capsys
):
    settings = SETTINGS | {"dataset": dataset, "log_dir": str(tmp_path / "logs")}
    folder = ccenv.train(agent, **settings).folder
    assert validate.main([str(folder), "--trust", "test_validate"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    stands, word = last.split(" The author's word: ")
    assert stands.startswith("2 of 2 rows stand: errors, MACs and costs were recomputed")
    assert [about in word for about in ABOUT] == believed
    assert word.endswith("times and machine.")


@pytest.mark.parametrize(
    ("reward", "pays"),
    [("accuracy_minus_cost", True), ("potential", True), ("latency", False), ("lagrangian", False)],
)
def test_a_return_is_recomputed_where_the_reward_pays_the_same_again(reward, pays):
    assert pays_again(make_plan("dense", PROBE_SETTINGS | {"reward": reward})) is pays


@pytest.mark.parametrize("agent", ["Peeking", "Looking"])
def test_a_policy_that_finds_the_label_does_not_stand(agent, logs, rows):
    found, status = rows(one_run(logs, f"test_validate.{agent}"), "--trust", "test_validate")
    assert status == 1
    for row in found:
        assert any("the policy looks at the labels" in text for text in row["problems"])
    labels = load_split("probe", "test").labels
    assert torch.equal(labels, probe("test").labels)


def test_wrong_labels_that_the_environment_does_not_show_are_no_proof(logs, monkeypatch):
    place = one_run(logs)
    rebuilt = opened(place)
    own = copy.deepcopy(load_split("probe", "test"))
    monkeypatch.setattr(sys.modules["ccenv.simulator.simulator"], "load_split", lambda *given: own)
    with wrong_labels(rebuilt):
        assert torch.equal(own.labels, (probe("test").labels + 1) % 3)

    def fresh(*given):
        return copy.deepcopy(own)

    monkeypatch.setattr(sys.modules["ccenv.simulator.simulator"], "load_split", fresh)
    with pytest.raises(RuntimeError, match="expected wrong labels"), wrong_labels(rebuilt):
        pass
    assert torch.equal(load_split("probe", "test").labels, probe("test").labels)


def noisy(path, noise, generator):
    """Tensors of a file, each number moved by a share of itself."""
    tensors, _ = read_checked(path)
    return {
        name: value * (1 + noise * torch.randn(value.shape, generator=generator))
        for name, value in tensors.items()
    }


@pytest.mark.parametrize(("noise", "is_refused"), [(0, 1), (1e-7, 1), (1e-3, 1), (0.03, 1), (1, 0)])
def test_one_training_under_several_seeds_does_not_stand(noise, is_refused, mine, rows):
    first, second = one_run(mine, seed=0), one_run(mine, seed=1)
    generator = torch.Generator().manual_seed(0)
    for name in ("agent", "network"):
        file = f"checkpoint/{name}.safetensors"
        write_checked(second / file, noisy(first / file, noise, generator), {})
    for place in (first, second):
        # What a forger would write beside it: a verdict of the copy with the other seed.
        rebuilt = opened(place)
        masks = {greedy: ask(rebuilt, greedy).masks for greedy in (False, True)}
        masks_file.save_masks(place, masks)
    found, status = rows(first.parent)
    assert status == 1
    told = {row["seed"]: " ".join(row["problems"]) for row in found}
    for seed in (0, 1):
        assert ("agent.safetensors of seeds 0 and 1 are " in told[seed]) == is_refused
        # The probe's network begins with the same weights for every seed, and moves little.
        is_told = "network.safetensors of seeds 0 and 1 are " in told[seed]
        assert is_told == (noise <= 1e-3)
    assert "several seeds" not in told[2]
    assert {row["basis"]["seed"] for row in found} == {WORD}
    assert "several seeds" not in " ".join(rows(first)[0][0]["problems"])


@pytest.fixture
def few_updates(monkeypatch, tmp_path):
    """Frozen weights of a real recipe, learned in a second into a cache of the test's own."""
    recipe = functools.partial(weights.Pretraining, num_epochs=1, min_updates=30)
    monkeypatch.setattr(weights, "Pretraining", recipe)
    monkeypatch.setenv("CCENV_CACHE", str(tmp_path / "cache"))


def test_a_frozen_network_that_learned_from_the_test_images_does_not_stand(
    few_updates, tmp_path, rows
):
    small = {"dataset": "synthetic", "num_blocks": (4, 4), "block_size": 4, "images": 64}
    result = ccenv.train("dense", log_dir=str(tmp_path / "logs"), **small).result
    place = Path(result["folder"])
    shutil.rmtree(tmp_path / "cache")
    # Another machine has no cache: the weights are learned anew, and are the same.
    assert rows(place)[1] == 0
    rebuilt = opened(place)
    assert rebuilt.from_recipe == 0
    images, labels = load_split("synthetic", "test").batch(torch.arange(500))
    masks = [torch.ones(500, 4, dtype=torch.bool)] * 2
    trainer = weights.CoTrainer(rebuilt.network.requires_grad_(True))
    for _ in range(5):
        trainer.update(images, labels, masks)
    run_folder.save_checkpoint(place, rebuilt.agent, rebuilt.network)
    found, status = rows(place)
    assert status == 1
    assert all("differ from those that their recipe" in row["problems"][0] for row in found)


def tensors_of(name, change):
    """Changes every tensor of a file, and its checksum with them."""

    def damage(place):
        path = place / "checkpoint" / f"{name}.safetensors"
        write_checked(path, {key: change(one) for key, one in read_checked(path)[0].items()}, {})

    return damage


def settings_with(**changed):
    """Settings in both files; two underscores open a dict."""

    def damage(place):
        for name, value in changed.items():
            rewrite(place, name_it(name.replace("__", "."), value))

    return damage


def text_in(name, text):
    return lambda place: (place / name).write_text(text)


def huge(name):
    def damage(place):
        with (place / name).open("r+b") as file:
            file.truncate(2**40)

    return damage


def deep_settings(place):
    text = (place / "config.json").read_text()
    deep = '{"a":' * 500 + "1" + "}" * 500
    (place / "config.json").write_text(text.replace("{", f'{{"deep": {deep},', 1))


def config_without_groups(place):
    edit(place / "config.json", lambda config: config.pop("environment"))


def link_out(place):
    outside = place.parents[4] / "outside.json"
    shutil.move(place / "config.json", outside)
    (place / "config.json").symlink_to(outside)


def link_to_itself(place):
    (place / "config.json").unlink()
    (place / "config.json").symlink_to("config.json")


def folder_instead(place):
    (place / "config.json").unlink()
    (place / "config.json").mkdir()


def other_network(place):
    path = place / "checkpoint" / "network.safetensors"
    shutil.copy(place / "checkpoint" / "agent.safetensors", path)


def no_agent(place):
    write_checked(place / "checkpoint" / "agent.safetensors", {}, {})


def missing(name):
    return lambda place: (place / "checkpoint" / f"{name}.safetensors").unlink()


def cut_short(name):
    def damage(place):
        path = place / "checkpoint" / f"{name}.safetensors"
        path.write_bytes(path.read_bytes()[:40])

    return damage


def other_number(place):
    path = place / "result.json"
    path.write_text(path.read_text().replace('"images_seen": ', '"images_seen": 1'))


DAMAGED = [
    *((missing(name), f"{name}.safetensors") for name in ("masks", "network", "agent")),
    *((cut_short(name), f"{name}.safetensors") for name in ("masks", "network", "agent")),
    (other_number, "checksum"),
    (text_in("result.json", "{"), "expected JSON in"),
    (text_in("result.json", "[" * 10**5), "expected JSON in"),
    (text_in("config.json", "[1]"), "expected an object in"),
    (tensors_of("masks", torch.Tensor.float), "uint8"),
    (tensors_of("masks", lambda mask: mask[0, 0].clone()), "uint8"),
    (tensors_of("masks", lambda mask: mask.repeat(2, 1)), "(256, 1)"),
    (settings_with(environment__num_blocks=[10**9], environment__network="mlp"), "memory"),
    (
        settings_with(environment__num_blocks=[1] * 10**5),
        "expected weights of every gated layer",
    ),
    (settings_with(batch_size=10**12), "expected a batch of at most"),
    (
        settings_with(agent_settings__hidden_units=10**12),
        "expected hidden_units of at most",
    ),
    (settings_with(agent_settings=3), "agent_settings"),
    (deep_settings, "nested at most 32 deep"),
    (config_without_groups, "environment"),
    (huge("config.json"), "expected at most 67,108,864 bytes"),
    (huge("checkpoint/agent.safetensors"), "expected at most 1,073,741,824 bytes"),
    (link_out, "got a link"),
    (link_to_itself, "got a link"),
    (folder_instead, "expected a plain file"),
    (other_network, "expected tensors of this network"),
    (tensors_of("network", lambda tensor: tensor > 0), "expected tensors of this network"),
    (tensors_of("network", lambda tensor: tensor * float("nan")), "expected finite numbers"),
    (no_agent, "expected tensors of this agent"),
    (tensors_of("agent", torch.Tensor.half), "expected tensors of this agent"),
]


@pytest.mark.parametrize(("damage", "problem"), DAMAGED)
def test_whatever_is_wrong_with_a_folder_is_one_row_that_says_so(damage, problem, mine, rows):
    place = one_run(mine)
    damage(place)
    (row,), status = rows(place)
    assert status == 1
    (said,) = row["problems"]
    assert problem in said
    assert len(said) < 500
    assert "\n" not in said


def test_a_setting_that_was_added_since_the_run_is_no_contradiction(mine, rows):
    place = one_run(mine)
    rewrite(place, lambda config: config["agent_settings"].pop("hidden_units"))
    rewrite(place, lambda config: config["environment"].pop("head_units"))
    place = place.parent.rename(place.parent.with_name("0123456789ab")) / place.name
    found, status = rows(place)
    assert [row["problems"] for row in found] == [[], []]
    assert status == 0


def test_a_run_of_before_a_default_was_another_is_replayed_as_it_was(tmp_path):
    before = SETTINGS | {"log_dir": str(tmp_path), "min_probability": 0.01}
    place = Path(run.run(make_plan("reinforce", before))["folder"])
    rewrite(place, lambda config: config["agent_settings"].pop("min_probability"))
    place = place.parent.rename(place.parent.with_name("images=256-0123456789ab")) / place.name
    assert [verdict.problems for verdict in verdicts.validate(place)] == [(), ()]


def test_a_setting_that_is_gone_passes_at_the_value_of_what_is_done_today():
    def taken(stored):
        config = {"agent": "noisy_topk", "agent_settings": stored}
        return as_it_ran(config, AGENTS["noisy_topk"])["agent_settings"]

    assert taken({"num_groups": 1, "num_kept": 3}) == {"num_kept": 3}
    assert taken({"num_groups": 2}) == {"num_groups": 2}


def test_a_cost_limit_that_was_handed_on_is_taken_from_whoever_took_it(tmp_path):
    given = {"reward": "lagrangian", "reward_kwargs": {"cost_limit": 0.5}}
    place = Path(
        run.run(make_plan("reinforce", SETTINGS | given | {"log_dir": str(tmp_path)}))["folder"]
    )
    # As an earlier version wrote it.
    rewrite(place, lambda config: config.update(cost_limit=0.5))
    assert [verdict.problems for verdict in verdicts.validate(place)] == [(), ()]
    found = read_config(place / "config.json")
    assert make_plan(found.pop("agent"), found).folder() == place


def test_a_run_over_sequences_is_recomputed_from_its_masks_and_one_that_was_edited_is_not(tmp_path):
    settings = STALENESS | {"images": 256, "batch_size": 64, "log_dir": str(tmp_path)}
    finished = run.run(make_plan("reinforce", settings))
    folder = Path(finished["folder"])
    found = verdicts.validate(folder)
    assert [verdict.problems for verdict in found] == [(), ()]
    assert finished["evaluations"][0]["num_images"] == 24 * 1024

    def cheaper(result):
        result["evaluations"][0]["mean_return"] += 0.1

    edit(folder / "result.json", cheaper)
    assert any("mean_return" in problem for problem in verdicts.validate(folder)[0].problems)
