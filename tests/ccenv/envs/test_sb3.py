"""Stable-Baselines3: its VecEnv interface, its algorithms on it, and the agents made of them."""

import ast
import builtins
import copy
import json
import pickle
import warnings

import numpy as np
import pytest
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

from ccenv.agents.sb3 import A2CAgent, PPOAgent, TRPOAgent
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.envs.rows import RowInfo
from ccenv.envs.stable_baselines import BlockSelectionVecEnv
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.simulator.simulator import Simulator
from tests.ccenv.episodes import UNEVEN

pytestmark = pytest.mark.usefixtures("no_warnings")

PROBE = PROBE_SETTINGS
ALGORITHMS = [A2CAgent, PPOAgent, TRPOAgent]


def started(num_envs=3, **settings):
    env = BlockSelectionVecEnv(num_envs, **(settings or PROBE))
    env.seed(0)
    env.reset()
    return env


def ones(env):
    return np.ones((env.num_envs, env.action_space.n), dtype=np.int8)


def test_only_finished_rows_get_filled_dicts_and_no_two_rows_share_one():
    env = started()
    for is_last in (False, True):
        observation, reward, done, infos = env.step(ones(env))
        assert (observation.dtype, reward.dtype, done.dtype) == (np.float32, np.float32, bool)
        assert done.tolist() == [is_last] * 3
        assert [bool(info) for info in infos] == [is_last] * 3
        assert len({id(info) for info in infos}) == 3
    infos[0]["mask"][:] = False
    infos[0]["terminal_observation"][:] = 7
    infos[0]["episode"]["r"] = 7
    assert infos[1]["mask"].all()
    assert (infos[1]["terminal_observation"] != 7).all()
    assert infos[1]["episode"]["r"] != 7


WAYS = {
    "dict": dict,
    "star": lambda info: {**info},
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda info: pickle.loads(pickle.dumps(info)),
    "json": lambda info: json.loads(json.dumps(info)),
    "or": lambda info: info | {"macs": 1},
    "ror": lambda info: {"macs": 1, "more": 2} | info,
    "own copy": lambda info: info.copy(),
    "repr": lambda info: ast.literal_eval(repr(info)),
    "set first": lambda info: [info.update(macs=1, more=2), dict(info)],
    "given": lambda info: [info.setdefault("macs", 1), info.get("macs"), info.get("more", 3)],
    "taken": lambda info: [info.pop("macs"), info.pop("more", 3), len(info), "macs" in info],
    "deleted": lambda info: [info.__delitem__("macs"), {*reversed(info)}, bool(info)],
    "emptied": lambda info: [len([info.popitem() for _ in range(len(info))]), info == {}],
    "cleared": lambda info: [info.clear(), info.get("macs"), *info],
    "read": lambda info: [info["macs"], sorted(info), len(info.values()), info != {}],
}


@pytest.mark.parametrize("way", WAYS)
def test_the_info_of_an_ended_row_is_used_as_any_dict_is(way):
    columns = {"macs": np.array([5, 7]), "nll": np.array([0.5, 0.25])}
    row = RowInfo(episode={"l": 2})
    row.columns, row.number = columns, 1
    assert row.get("is_success") is None
    assert WAYS[way](row) == WAYS[way]({"episode": {"l": 2}, "macs": 7, "nll": 0.25})
    with pytest.raises(KeyError):
        row["more than that"]


def test_seeds_and_options_apply_once_at_the_next_reset():
    env = BlockSelectionVecEnv(4, group_size=2, **PROBE)
    env.seed(5)
    first, second = env.reset(), env.reset()
    assert not np.array_equal(first, second)
    env.seed(5)
    np.testing.assert_array_equal(first, env.reset())
    env.set_options({"indices": [3, 9]})
    env.reset()
    assert env.simulator.indices.tolist() == [3, 3, 9, 9]
    env.set_options([{"indices": [i]} for i in (4, 4, 8, 8)])
    env.reset()
    assert env.simulator.indices.tolist() == [4, 4, 8, 8]
    env.reset()
    assert env.simulator.indices.tolist() != [4, 4, 8, 8]


@pytest.mark.parametrize(
    "options", [{"indices": [3]}, [{"indices": [i]} for i in (4, 5, 8, 8)], {"index": [1, 2]}]
)
def test_options_that_do_not_choose_one_image_a_group_are_refused(options):
    env = BlockSelectionVecEnv(4, group_size=2, **PROBE)
    env.set_options(options)
    with pytest.raises(ValueError, match=r"expected|did you mean 'indices'"):
        env.reset()


def test_action_masks_have_two_entries_a_bit_and_forbid_blocks_that_are_not_there():
    env = started(2, **UNEVEN)
    masks = env.action_masks()
    assert masks.shape == (2, 10)
    assert masks[0].reshape(5, 2).tolist() == [[True, True]] * 3 + [[True, False]] * 2
    env.step(ones(env))
    assert env.action_masks().all()
    rows = env.env_method("action_masks", indices=[1])
    assert [row.shape for row in rows] == [(10,)]
    assert np.stack(env.env_method("action_masks")).shape == (2, 10)


def test_attributes_and_methods_answer_for_the_rows_asked_for():
    env = started()
    assert env.has_attr("action_masks")
    assert not env.has_attr("no_such_attribute")
    assert env.get_attr("num_blocks", indices=[0, 2]) == [(4, 4)] * 2
    assert env.get_attr("render_mode") == [None] * 3
    env.set_attr("note", 1)
    assert env.get_attr("note", 0) == [1]
    with pytest.raises(ValueError, match="share one simulator"):
        env.set_attr("note", 2, indices=[0])
    assert env.env_method("update_network", indices=0) == [{}]
    with pytest.raises(AttributeError):
        env.env_method("no_such_method")
    with pytest.raises(ValueError, match="all rows go together"):
        env.env_method("reset", indices=[0])
    assert env.env_is_wrapped(Monitor, indices=[0]) == [True]
    assert env.env_is_wrapped(VecMonitor) == [False] * 3


def test_rendering_tiles_one_block_map_a_row():
    env = started(4, render_mode="rgb_array", **PROBE)
    env.step(ones(env))
    assert [image.shape for image in env.get_images()] == [(32, 64, 3)] * 4
    assert env.render().shape == (64, 128, 3)
    text = started(2, render_mode="ansi", **PROBE)
    text.step(ones(text))
    assert text.env_method("render", indices=1)[0].splitlines()[0] == "layer 0  ■■■■"
    assert text.render() is None
    assert started().get_images() == [None] * 3


def test_bad_use_of_the_sb3_view_is_refused():
    env = BlockSelectionVecEnv(2, **PROBE)
    with pytest.raises(RuntimeError, match=r"begin\(\) or reset\(\)"):
        env.step(ones(env))
    env.reset()
    with pytest.raises(ValueError, match="shape"):
        env.step(ones(env)[:1])
    with pytest.raises(ValueError, match="0 or 1"):
        env.step(ones(env) * 2)
    env.close()
    with pytest.raises(RuntimeError, match="closed"):
        env.step(ones(env))
    with pytest.raises(RuntimeError, match="closed"):
        env.reset()
    with pytest.raises(ValueError, match="did you mean 'num_blocks'"):
        BlockSelectionVecEnv(2, num_block=[4])
    with pytest.raises(ValueError, match="no settings with simulator"):
        BlockSelectionVecEnv(simulator=Simulator(2, **PROBE), split="test")


def test_a_wrapped_simulator_keeps_its_images_network_and_streams():
    first = BlockSelectionVectorEnv(4, autoreset_mode="DISABLED", **PROBE)
    second = BlockSelectionVectorEnv(4, autoreset_mode="DISABLED", **PROBE)
    first.reset(seed=1)
    second.reset(seed=1)
    env = BlockSelectionVecEnv(simulator=first.simulator)
    np.testing.assert_array_equal(env.reset(), second.reset()[0])
    assert env.simulator.network is first.simulator.network


def make_algorithm(name):
    if name == "MaskablePPO":
        return pytest.importorskip("sb3_contrib").MaskablePPO
    return {"A2C": A2C, "PPO": PPO}[name]


@pytest.mark.parametrize("name", ["A2C", "PPO", "MaskablePPO"])
def test_sb3s_algorithms_learn_and_are_evaluated_without_a_warning(name):
    env = BlockSelectionVecEnv(8, **UNEVEN)
    extra = {"batch_size": 16} if name != "A2C" else {}
    model = make_algorithm(name)(
        "MlpPolicy", env, n_steps=4, gamma=1.0, stats_window_size=8, device="cpu", seed=0, **extra
    )
    model.learn(4 * 8 * 4)
    assert len(model.ep_info_buffer) == 8
    mean, spread = evaluate_policy(model, env, n_eval_episodes=16)
    assert -1 <= mean <= 1
    assert spread >= 0


def make_agent(agent_class, num_envs=16, seed=0, env=None, **agent_settings):
    env = BlockSelectionVectorEnv(num_envs, **(env or PROBE))
    env.reset(seed=seed)
    return agent_class(env, seed=seed, **agent_settings)


@pytest.mark.parametrize("agent_class", ALGORITHMS)
def test_settings_follow_from_layers_and_rows(agent_class):
    agent = make_agent(agent_class)
    model = agent.model
    assert (model.n_steps, model.gamma, model.gae_lambda) == (2, 1.0, 1.0)
    assert model._stats_window_size == 16
    assert getattr(model, "batch_size", 8) == 8
    assert model.env.simulator is agent.simulator
    assert make_agent(agent_class, gae_lambda=0.9, n_steps=6).model.n_steps == 6


def test_trpo_without_its_library_names_the_command_that_installs_it(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("sb3_contrib"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'pip install -e "\.\[contrib\]"'):
        make_agent(TRPOAgent)


def test_an_agent_that_learns_leaves_no_folder_of_logs(monkeypatch, tmp_path):
    monkeypatch.setenv("SB3_LOGDIR", str(tmp_path / "logs"))
    make_agent(A2CAgent).learn(1)
    assert not [*tmp_path.iterdir()]


def test_the_curves_are_the_means_of_the_rollout():
    agent = make_agent(A2CAgent)
    twin = make_agent(A2CAgent)
    reports = []
    agent.learn(1, lambda *report: reports.append(report))
    env = twin.vec_env
    observation = env.reset()
    returns = np.zeros(16)
    with twin._own_streams():
        for _ in range(2):
            action, _ = twin.model.predict(observation)
            observation, reward, _, infos = env.step(action)
            returns += reward
    assert reports[0][1]["episode/return"] == pytest.approx(returns.mean(), abs=1e-5)
    cost = np.mean([info["compute_cost"] for info in infos])
    assert reports[0][1]["episode/compute_cost"] == pytest.approx(cost)


def test_sb3s_vector_wrappers_go_around_it():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = VecMonitor(VecNormalize(BlockSelectionVecEnv(4, **PROBE)))
    env.reset()
    for _ in range(2):
        *_, infos = env.step(np.ones((4, 4), dtype=np.int8))
    assert [info["episode"]["l"] for info in infos] == [2] * 4
