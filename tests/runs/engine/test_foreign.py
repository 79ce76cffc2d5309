"""Laws of policies that were trained elsewhere: what is named is opened, judged and shown."""

import json
import pickle
import shutil
import zipfile
from base64 import b64encode

import cloudpickle
import numpy as np
import pytest
import torch
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.vec_env import VecNormalize
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import ccenv
from ccenv.agents import Agent
from ccenv.agents.distributions import IndependentBlocks
from ccenv.base.files import sealed
from ccenv.envs.stable_baselines import ActionViewVecEnv
from ccenv.runs.commands import compare as command
from ccenv.runs.commands import validate
from ccenv.runs.config.sweep import Sweep
from ccenv.sb3 import BlockSelectionVecEnv

NOTHING = Sweep("foreign", "No rows of its own.", (), minutes=0.1)
SHORT = {"n_steps": 2, "batch_size": 64, "n_epochs": 1, "gamma": 1.0, "stats_window_size": 64}
POLICY = {"net_arch": {"pi": [], "vf": [8]}}


def made_env(view=None, **settings):
    rows = BlockSelectionVecEnv(64, observation="summary", **settings)
    return rows if view is None else ActionViewVecEnv(rows, view)


@pytest.fixture(scope="module")
def models():
    made = [
        PPO("MlpPolicy", made_env(), policy_kwargs=POLICY, seed=seed, **SHORT) for seed in range(3)
    ]
    return [model.learn(256) for model in made]


@pytest.fixture(scope="module")
def zips(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("zips") / "ppo"
    for number, model in zip((9, 10, 11), models, strict=True):
        model.save(folder / f"ppo-{number}.zip")
    return folder


def compared(add, tmp_path, **given):
    """A comparison of nothing else."""
    folders = {"log_dir": tmp_path / "logs", "report_dir": tmp_path / "pages"}
    return ccenv.compare(NOTHING, add=add, **folders, **given)


def numbers_of(row):
    return {name: value for name, value in row.items() if name not in ("label", "method", "agent")}


def test_a_folder_its_files_and_the_models_themselves_are_the_same_row(models, zips, tmp_path):
    files = [str(zips / f"ppo-{number}.zip") for number in (9, 10, 11)]
    ways = {"folder": str(zips), "files": files, "models": models}
    comparison = compared(ways, tmp_path, trust=[str(zips)])
    first, *others = comparison.rows
    assert first["label"] == "folder (added)"
    assert (first["seeds"], first["masks"], first["added"]) == ((0, 1, 2), "mode", True)
    # Two others repeat the first.
    assert [numbers_of(row) | {"same_as": ""} for row in others] == [numbers_of(first)] * 2
    env = made_env()
    verdicts = [ccenv.evaluate(env, model) for model in models]
    assert {one.deterministic for one in verdicts} == {True}
    assert first["error"]["mean"] == pytest.approx(np.mean([one.error for one in verdicts]))
    assert first["macs"]["mean"] == pytest.approx(np.mean([one.macs for one in verdicts]))
    # TensorBoard draws a level line.
    places = {path.parent for path in (tmp_path / "logs").rglob("events.*")}
    rows = [place for place in places if not place.name.startswith("table")]
    assert len(rows) == len(ways)
    events = EventAccumulator(str(rows[0])).Reload()
    (curve,) = (events.Scalars(tag) for tag in events.Tags()["scalars"] if tag.endswith("error"))
    assert {event.step for event in curve} == {0}
    # What is only judged leaves no run.
    assert not (tmp_path / "logs" / "BlockSelection-v0").exists()
    page = comparison.page.read_text(encoding="utf-8")
    assert "folder (added)" in page
    assert "greedy masks" in page


def first_block(observation):
    """A function that keeps the first block."""
    bits = torch.zeros(len(observation), 10)
    bits[:, 0] = 1
    return bits


def stated(observation):
    """The same, which says its MACs."""
    return first_block(observation)


stated.policy_macs = [100, 50]


class Wide(torch.nn.Module):
    """A module that keeps what a linear map says, of summaries."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.scores = torch.nn.Linear(made_env().observation_space.shape[0], 10)

    def forward(self, observation):
        return self.scores(observation) > 0


def test_macs_of_a_policy_are_counted_or_stated_and_else_a_dash(tmp_path):
    add = {
        "unknown": first_block,
        "stated": stated,
        "set": (first_block, {"policy_macs": 30}),
        "module": Wide(),
    }
    comparison = compared(add, tmp_path)
    rows = {row["label"].split()[0]: row for row in comparison.rows}
    assert {row["masks"] for row in rows.values()} == {"given"}
    executed = rows["unknown"]["compute_cost"]["mean"] * 37_440
    assert rows["unknown"]["macs"] is rows["unknown"]["total_cost"] is None
    assert not rows["unknown"]["on_front"]
    assert rows["stated"]["macs"]["mean"] == pytest.approx(executed + 150)
    assert rows["set"]["macs"]["mean"] == pytest.approx(executed + 60)
    width = made_env().observation_space.shape[0]
    assert rows["module"]["macs"]["mean"] - rows["module"]["compute_cost"]["mean"] * 37_440 == (
        pytest.approx(2 * width * 10)
    )
    (line,) = (line for line in comparison.table.splitlines() if line.startswith("unknown"))
    assert line.startswith("unknown (added) ")
    assert " as given " in line
    assert line.split()[-3:] == ["-", "-", "1"]
    folder = comparison.page.parent
    assert " - |" in (folder / "table.md").read_text(encoding="utf-8")
    page = comparison.page.read_text(encoding="utf-8")
    assert "Not drawn, MACs unknown: unknown (added)." in page
    assert "Masks: as given of stated (added); set (added); module (added); sampled of" in page
    assert '<td class="right">-</td>' in page
    assert "nan" not in (folder / "overview.csv").read_text(encoding="utf-8")


def test_a_function_of_a_module_is_named_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command.main(["digits", "--no-run", "--add", f"{__name__}:first_block", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)[-1]
    assert (row["label"], row["masks"]) == ("first_block (added)", "given")


def test_a_zip_of_a_model_behind_a_normaliser_is_judged_with_its_statistics_or_refused(tmp_path):
    env = VecNormalize(made_env())
    model = PPO("MlpPolicy", env, policy_kwargs=POLICY, seed=0, **SHORT).learn(256)
    env.obs_rms.mean += 1.0
    path, statistics = tmp_path / "ppo.zip", tmp_path / "ppo.pkl"
    model.save(path)
    trusted = {"trust": [str(path)]}
    with pytest.raises(ValueError, match="expected the statistics of VecNormalize, behind"):
        compared(str(path), tmp_path, **trusted)
    with pytest.raises(ValueError, match="expected the statistics of VecNormalize, behind"):
        ccenv.evaluate(made_env(), PPO.load(path))
    env.save(str(statistics))
    with pytest.raises(ValueError, match=r"expected --trust .*ppo\.pkl"):
        compared(str(path), tmp_path, **trusted)
    (row,) = compared(str(path), tmp_path, trust=[str(tmp_path)]).rows
    assert row["error"]["mean"] == ccenv.evaluate(env, model).error
    statistics.write_bytes(pickle.dumps(3))
    with pytest.raises(ValueError, match=r"expected statistics of VecNormalize in .*ppo\.pkl"):
        compared(str(path), tmp_path, trust=[str(tmp_path)])


def test_a_zip_that_does_not_tell_of_a_normaliser_is_named_unless_its_statistics_lie_there(
    tmp_path,
):
    env = VecNormalize(ActionViewVecEnv(made_env(), "menu", menu="single"))
    model = DQN("MlpPolicy", env, policy_kwargs={"net_arch": []}, learning_starts=64, seed=0)
    model.learn(128)
    path = tmp_path / "dqn.zip"
    model.save(path)
    add = (str(path), {"view": "menu", "view_kwargs": {"menu": "single"}})
    lines = compared(add, tmp_path, trust=[str(tmp_path)]).lines
    (line,) = (line for line in lines if "judged without VecNormalize" in line)
    assert line.startswith("dqn (added) view=menu")
    env.save(str(path.with_suffix(".pkl")))
    found = compared(add, tmp_path, trust=[str(tmp_path)])
    assert not [line for line in found.lines if "without VecNormalize" in line]
    assert found.rows[0]["error"]["mean"] == ccenv.evaluate(env, model).error


def test_memory_is_carried_through_an_episode_and_empty_at_its_start():
    env = made_env("multi_discrete", num_blocks=[4, 3])
    small = {"lstm_hidden_size": 8, "net_arch": []}
    model = RecurrentPPO("MlpLstmPolicy", env, policy_kwargs=small, seed=0, **SHORT).learn(256)
    verdict = ccenv.evaluate(env, model, split="validation")
    width = env.observation_space.shape[0]
    # Four gates of a cell read observation and state; two logits for each bit.
    assert verdict.policy_cost * env.venv.simulator.dense_macs == pytest.approx(
        2 * (4 * 8 * (width + 8) + 8 * 2 * 4)
    )
    simulator = env.venv.simulator.on_split("validation", 100)
    for start in (0, 100):
        observation, memory = simulator.begin(torch.arange(start, start + 100)), None
        for gate, blocks in enumerate((4, 3)):
            begins = np.full(100, gate == 0)
            actions, memory = model.predict(observation.numpy(), memory, begins, deterministic=True)
            mask = torch.from_numpy(actions[:, :blocks]).bool()
            assert torch.equal(mask, verdict.masks[gate][start : start + 100])
            observation = simulator.step(mask).observation


def test_a_model_with_a_memory_is_no_rule_for_positions_that_came_before():
    settings = {"dataset": "python_bundled@8", "network": "patches", "weights": "cotrain"}
    env = ActionViewVecEnv(BlockSelectionVecEnv(4, **settings), "multi_discrete")
    model = RecurrentPPO("MlpLstmPolicy", env, n_steps=2, batch_size=4)
    with pytest.raises(ValueError, match="expected a model without a memory on a network"):
        ccenv.evaluate(env, model)


def test_zips_of_other_algorithms_and_views_are_judged(tmp_path):
    masked = MaskablePPO("MlpPolicy", made_env(), policy_kwargs=POLICY, seed=0, **SHORT).learn(256)
    menu = made_env("menu")
    valued = DQN("MlpPolicy", menu, gamma=1.0, learning_starts=16, seed=0, stats_window_size=64)
    models = {"masked": masked, "valued": valued.learn(256)}
    for name, model in models.items():
        model.save(tmp_path / f"{name}.zip")
    add = {
        "masked": str(tmp_path / "masked.zip"),
        "valued": (str(tmp_path / "valued.zip"), {"view": "menu"}),
    }
    rows = compared(add, tmp_path, trust=[str(tmp_path)], write_page=False).rows
    for row, (name, model) in zip(rows, models.items(), strict=True):
        verdict = ccenv.evaluate(menu if name == "valued" else made_env(), model)
        assert row["error"]["mean"] == pytest.approx(verdict.error)
        assert row["macs"]["mean"] == pytest.approx(verdict.macs)


def wrong_width(observation):
    return torch.ones(len(observation), 3)


def not_numbers(observation):
    return torch.full((len(observation), 10), torch.nan)


def pair(observation):
    return torch.ones(len(observation), 10), None


def gated():
    """A network that is an object, as `ccenv.gate` gives it."""
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()
    return ccenv.gate(model, {"1": "channels:5"}, torch.zeros(1, 1, 8, 8))


HERE = __name__
NETWORK = gated()
WRONG = {
    "missing.zip": "got no such file: missing.zip",
    "text.zip": "expected a zip of Stable-Baselines3 (model.save), got another file: text.zip",
    "other.zip": "expected a zip of Stable-Baselines3 (model.save), got another file: other.zip",
    "empty": "expected zips of Stable-Baselines3 in the folder empty, got none",
    "ppo": "expected --trust ppo/ppo-9.zip",
    "broken.zip --trust broken.zip": "expected a model in broken.zip, got ",
    "ppo --trust ppo observation=layer_input": "expected a model of observations [",
    "ppo --trust ppo weights=cotrain": "expected a sweep of frozen weights",
    "ppo --trust ppo determinist=true": "did you mean 'deterministic'?",
    "ppo --trust ppo view=menu": "expected no view='menu' for a policy that acts with bits",
    "ppo --trust ppo --add ppo": "expected different names of what is added, got 'ppo (added)'",
    f"{HERE}:wrong_width": "expected masks [batch, 10] from <function wrong_width",
    f"{HERE}:not_numbers": "expected actions of 0 and 1, or bool, got NaN",
    f"{HERE}:pair": "give a function from observations to the action alone",
    f"{HERE}:nothing_here": "has no attribute 'nothing_here'",
    f"{HERE}:NETWORK": "expected a policy, got the network GatedModule; a network is a setting of",
    f"{HERE}:HERE": "expected a policy with act(observation, layer, generator)",
}


@pytest.mark.parametrize("words", WRONG)
def test_what_cannot_be_judged_is_one_line_and_leaves_nothing(
    words, zips, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.zip").write_text("no zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("data", "{}")
    with zipfile.ZipFile(tmp_path / "broken.zip", "w") as file:
        file.writestr("data", "{")
        file.writestr("policy.pth", "")
    (tmp_path / "empty").mkdir()
    shutil.copytree(zips, tmp_path / "ppo")
    before = sorted(tmp_path.rglob("*"))
    name, *others = words.split()
    trust = others[:2] if others[:1] == ["--trust"] else []
    settings = others[len(trust) :]
    assert command.main(["digits", "--no-run", "--add", name, *settings, *trust]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert WRONG[words] in line
    assert sorted(tmp_path.rglob("*")) == before


class Evil:
    """Writes a file where its pickle is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_network_that_is_an_object_is_refused_with_the_two_ways_that_there_are(tmp_path):
    settings = {"network": NETWORK, "dataset": "digits"}
    shaped = {"rewards": ["accuracy_minus_cost", "nll_minus_cost"], "cost_weights": [0.1, 1.0]}
    for call in (
        lambda: ccenv.train("reinforce", **settings, log_dir=str(tmp_path)),
        lambda: ccenv.compare(agent=("reinforce", settings), **shaped, log_dir=str(tmp_path)),
    ):
        with pytest.raises(
            ValueError, match=r"a function that builds it.*or take the object to"
        ) as said:
            call()
        assert "\n" not in str(said.value)
        assert len(str(said.value)) < 400
        assert "Linear(" not in str(said.value)
    assert not list(tmp_path.iterdir())


def test_a_zip_that_is_not_trusted_runs_nothing(tmp_path):
    written = tmp_path / "written"
    serialised = b64encode(cloudpickle.dumps(Evil(str(written)))).decode()
    content = {"policy_class": {":type:": "x", ":serialized:": serialised}}
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as file:
        file.writestr("data", json.dumps(content))
        file.writestr("policy.pth", "")
    for trust in ((), ["other.zip"], [str(tmp_path / "evil")]):
        with pytest.raises(ValueError, match="holds pickles, which can run any code"):
            compared(str(tmp_path / "evil.zip"), tmp_path, trust=trust)
    assert not written.exists()
    # It would have run.
    with pytest.raises(ValueError, match="expected a model in"):
        compared(str(tmp_path / "evil.zip"), tmp_path, trust=[str(tmp_path / "evil.zip")])
    assert written.exists()


class Linear(Agent):
    """An agent that does not say its MACs."""

    def __init__(self, env, *, seed=0):
        super().__init__(env, seed=seed)
        self.net = torch.nn.Linear(self.simulator.obs_size, 10)

    def distribution(self, observation, layer):
        return IndependentBlocks(self.net(observation).sigmoid())


class InEpisodes(Linear):
    """One that needs an episode."""

    def act(self, observation, layer, generator=None):
        return self.simulator.state.images.new_ones(len(observation), 10) > 0


def test_macs_of_an_agent_that_does_not_say_them_are_counted():
    env = ccenv.BlockSelectionVectorEnv(4, dataset="synthetic", weights="cotrain")
    env.reset(seed=0)
    width = env.single_observation_space.shape[0]
    agent = Linear(env)
    assert list(agent.policy_macs) == [10 * width] * 2
    assert ccenv.evaluate(env, agent).policy_cost == 20 * width / env.simulator.dense_macs
    env.simulator.state = None
    with pytest.raises(ValueError, match="expected InEpisodes to assign policy_macs"):
        ccenv.evaluate(env, InEpisodes(env))
    agent.policy_macs = [1, 2]
    assert ccenv.evaluate(env, agent).policy_cost == 3 / env.simulator.dense_macs


class Greedy(Agent):
    """An agent that is meant for greedy masks: a coin of .8 for each block."""

    deterministic = True

    def distribution(self, observation, layer):
        chance = torch.full((len(observation), self.num_blocks[layer]), 0.8)
        return IndependentBlocks(chance)


def test_an_agent_that_is_trained_here_is_judged_by_the_masks_that_it_is_for(tmp_path, capsys):
    settings = {"dataset": "synthetic", "images": 64, "batch_size": 32, "latency": False}
    run = ccenv.train(Greedy, log_dir=str(tmp_path / "logs"), **settings)
    assert run.result["deterministic"] is True
    kinds = [(one["split"], one["mode"]) for one in run.result["evaluations"]]
    assert kinds == [(s, m) for s in ("test", "validation") for m in ("sampled", "mode")]
    assert (run.cost, run.judged()["mode"]) == (1.0, "mode")
    assert run.judged(deterministic=False)["compute_cost"] < 1
    assert repr(run).endswith("cost 1.000, greedy masks)")
    # Its replay knows which of the two is its curve and its use of blocks.
    assert validate.main([str(run.folder), "--trust", __name__]) == 0
    path = run.folder / "result.json"
    path.write_text(json.dumps(sealed({**json.loads(path.read_text()), "deterministic": False})))
    assert validate.main([str(run.folder), "--trust", __name__]) == 1
    assert "deterministic: claimed False, found True" in capsys.readouterr().out
