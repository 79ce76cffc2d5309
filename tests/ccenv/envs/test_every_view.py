"""Laws of every view: scalar, vector and SB3 are one environment, under any setting and action."""

import json
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import ccenv
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.data import load_split
from ccenv.envs.actions import ActionView, VectorActionView
from ccenv.envs.stable_baselines import ActionViewVecEnv, BlockSelectionVecEnv
from tests.ccenv.episodes import DOCUMENTS, EXPERTS, STALENESS, UNEVEN

pytestmark = pytest.mark.usefixtures("no_warnings")

MODES = ("SAME_STEP", "NEXT_STEP", "DISABLED")
PROBE = PROBE_SETTINGS


VIT = {"depth": 1, "dim": 12, "num_heads": 3, "num_groups": 4, "patch_size": 4}
HEADS = {"dataset": "digits", "network": "vit", "network_kwargs": VIT, "weights": "cotrain"}
EXITS = HEADS | {"network": "early_exit", "network_kwargs": {"channels": [4], "units": [8, 6]}}
TEXT = STALENESS | {
    "dataset": "python_bundled@6",
    "network": "skip_gru",
    "network_kwargs": {"width": 5, "embedding_size": 3},
    "weights": "cotrain",
}
PRICES = {"cost_weight": [0.1, 10.0]}
BUDGETS = {"budget": [0.2, 0.9], "distribution": "uniform"}
CODES = {
    "multi_discrete": ("multi_discrete", {}),
    "box": ("box", {}),
    "box of coins": ("box", {"low": 0.0, "sample": True}),
    "menu": ("menu", {}),
    "singles": ("menu", {"menu": "single"}),
    "all masks": ("menu", {"menu": "all"}),
    "random menu": ("menu", {"menu": "random", "size": 5, "seed": 3}),
}
BITS = (None, {})
OF_REWARDS = ("potential", "lagrangian", "latency", "vector")
"""One that sees states, one that remembers, one of this machine, one of two numbers."""
CASES = {
    "uneven layers": (UNEVEN, BITS),
    "groups": (UNEVEN | {"group_size": 2, "observation": "summary"}, BITS),
    "unequal gates": (HEADS, BITS),
    "exits": (EXITS, BITS),
    "gate values": (EXPERTS | {"action": "weight"}, BITS),
    "values of layers": (UNEVEN | {"action": "weight"}, BITS),
    "prices": (PROBE | {"context": PRICES}, BITS),
    "budgets": (PROBE | {"context": BUDGETS}, BITS),
    "fixed price": (PROBE | {"context": {"cost_weight": 0.5, "budget": 0.6}}, BITS),
    "sequence": (STALENESS, BITS),
    "text": (TEXT, BITS),
    "copies of a sequence": (STALENESS | {"group_size": 2}, BITS),
    "fast memory": (DOCUMENTS | {"fast_memory": 2}, BITS),
    "concurrent": (UNEVEN | {"concurrent": "inactive", "context": PRICES}, BITS),
    "oblivious": (UNEVEN | {"oblivious": [2, 3], "context": PRICES}, BITS),
    **{f"reward {name}": (PROBE | {"reward": name}, BITS) for name in OF_REWARDS},
    **{f"probe by {name}": (PROBE, code) for name, code in CODES.items()},
    **{f"unequal gates by {name}": (HEADS, CODES[name]) for name in ("box of coins", "menu")},
}
"""What is wanted -> settings of the environment, and the code of its actions."""


def scalar_view(settings, code):
    # Its checker is called by name, and warns of rewards of several numbers.
    env = gym.make("BlockSelection-v0", disable_env_checker=True, **settings)
    return ActionView(env, code[0], **code[1]) if code[0] else env


def vector_view(settings, code, rows, mode="DISABLED"):
    env = ccenv.BlockSelectionVectorEnv(rows, autoreset_mode=mode, **settings)
    return VectorActionView(env, code[0], **code[1]) if code[0] else env


def sb3_view(settings, code, rows):
    env = BlockSelectionVecEnv(rows, **settings)
    return ActionViewVecEnv(env, code[0], **code[1]) if code[0] else env


def same_row(one, other):
    """Whether infos are the same, bit for bit but for what networks answer."""
    assert one.keys() == other.keys()
    for key, value in one.items():
        rounds = isinstance(value, float) and key not in ("layer_cost", "compute_cost")
        tolerance = 1e-4 if rounds else 0
        np.testing.assert_allclose(value, other[key], rtol=tolerance, atol=tolerance / 10)


def row_of(info, row):
    return {key: value[row] for key, value in info.items() if not key.startswith(("_", "final"))}


@pytest.mark.parametrize("rows", [1, 6])
@pytest.mark.parametrize("case", CASES)
def test_a_row_of_every_view_is_the_scalar_environment(case, rows):
    settings, code = CASES[case]
    rows *= settings.get("group_size", 1)
    images = np.arange(rows // settings.get("group_size", 1)) + 3
    envs = vector_view(settings, code, rows)
    envs.action_space.seed(rows)
    gates = envs.unwrapped.simulator.num_steps
    actions = [envs.action_space.sample() for _ in range(gates)]
    first, _ = envs.reset(seed=3, options={"indices": images})
    steps = [envs.step(action) for action in actions]
    if "episode" not in settings:
        paid = sum(step[4]["layer_cost"] for step in steps)
        np.testing.assert_allclose(steps[-1][4]["compute_cost"], paid, rtol=1e-5)
    else:
        assert [step[4]["position"][0] for step in steps] == [*range(gates)]
    if "action" not in settings and settings.get("reward") != "vector":
        venv = sb3_view(settings, code, rows)
        venv.seed(3)
        venv.set_options({"indices": images})
        np.testing.assert_array_equal(venv.reset(), first)
        returns = sum(step[1] for step in steps)
        for step, action in zip(steps, actions, strict=True):
            seen, reward, _, infos = venv.step(action)
            if code[1].get("sample"):
                return
            np.testing.assert_array_equal(reward, step[1])
            if step is not steps[-1]:
                np.testing.assert_array_equal(seen, step[0])
                assert infos == [{}] * rows
        for row, info in enumerate(infos):
            np.testing.assert_array_equal(info.pop("terminal_observation"), steps[-1][0][row])
            assert info.pop("TimeLimit.truncated") is False
            episode = info.pop("episode")
            assert episode["l"] == gates
            assert episode["r"] == pytest.approx(returns[row], rel=1e-6, abs=1e-6)
            same_row(info, row_of(steps[-1][4], row))
    if "context" in settings or "group_size" in settings:
        return
    env = scalar_view(settings, code)
    for row, image in enumerate(images):
        seen, _ = env.reset(seed=3 if row == 0 else None, options={"indices": [image]})
        np.testing.assert_allclose(seen, first[row], rtol=1e-4, atol=1e-5)
        for step, action in zip(steps, actions, strict=True):
            seen, reward, ended, truncated, info = env.step(action[row])
            np.testing.assert_allclose(seen, step[0][row], rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(reward, step[1][row], rtol=1e-4, atol=1e-5)
            assert (ended, truncated) == (step is steps[-1], False)
            same_row(info, row_of(step[4], row))


CHECKED = [case for case in CASES if not case.startswith("reward") or case == "reward lagrangian"]
IN_ALL_MODES = ("groups", "unequal gates by menu")


@pytest.mark.parametrize("case", CHECKED)
def test_all_checkers_are_silent(case):
    settings, code = CASES[case]
    alone = {name: value for name, value in settings.items() if name != "group_size"}
    env = scalar_view(alone, code)
    check_env(env if code[0] else env.unwrapped, skip_render_check=True)
    # Its checker recommends a box from -1 to 1.
    if "action" not in settings and code[1].get("low") != 0:
        sb3_check_env(env if code[0] else env.unwrapped, warn=True)
    for mode in MODES if case in IN_ALL_MODES else MODES[:1]:
        ccenv.check_vector_env(vector_view(settings, code, 4, mode))


@pytest.mark.parametrize("case", CASES)
def test_ids_settings_and_views_survive_json_and_pickle(case):
    settings, code = CASES[case]
    alone = {name: value for name, value in settings.items() if name != "group_size"}
    env = scalar_view(alone, code)
    text = json.dumps(json.loads(env.spec.to_json()))
    twins = [gym.make(EnvSpec.from_json(text)), gym.make(pickle.loads(pickle.dumps(env.spec)))]
    results = []
    for one in (env, *twins):
        assert one.action_space == env.action_space
        seen, _ = one.reset(seed=4)
        one.action_space.seed(4)
        results.append([seen, *one.step(one.action_space.sample())[:2]])
    for twin in results[1:]:
        for left, right in zip(results[0], twin, strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("name", ccenv.PRESETS | ccenv.SYSTEMS)
def test_every_id_passes_the_checkers(name):
    # Real images come with co-trained weights here: pre-training them takes minutes.
    extra = {} if name == "BlockSelection-v0" else {"weights": "cotrain"}
    try:
        load_split((ccenv.PRESETS | ccenv.SYSTEMS)[name].get("dataset", "digits"), "train")
    except FileNotFoundError as error:
        pytest.skip(str(error))  # The images of some ids come with no package.
    env = gym.make(name, render_mode="ansi", **extra)
    check_env(env.unwrapped)
    sb3_check_env(env.unwrapped, warn=True)
    ccenv.check_vector_env(gym.make_vec(name, num_envs=3, **extra))
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    np.testing.assert_array_equal(env.reset(seed=0)[0], again.reset(seed=0)[0])
