"""Scalar, vector and SB3 view are one environment, and the checkers find nothing wrong with it."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from hypothesis import given, settings
from hypothesis import strategies as st

import ccenv
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.base.registry import UnexpectedKeywordError
from ccenv.envs.vector import BlockSelectionVectorEnv
from tests.ccenv.episodes import same_bits

PROBE = PROBE_SETTINGS
MODES = ("SAME_STEP", "NEXT_STEP", "DISABLED")


@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_an_unknown_setting_is_the_error_of_a_value_and_of_a_keyword(make):
    # TorchRL offers keywords of its own, and takes back what a TypeError of this text refuses.
    for error in (ValueError, TypeError):
        with pytest.raises(error, match="unexpected keyword argument 'frameskip'"):
            make("BlockSelection-v0", frameskip=1)
    with pytest.raises(UnexpectedKeywordError, match="did you mean 'dataset'"):
        make("BlockSelection-v0", datset="probe")


def test_make_vec_gives_the_batched_environment():
    env = gym.make_vec("BlockSelection-v0", num_envs=5, **PROBE, autoreset_mode="NEXT_STEP")
    assert isinstance(env.unwrapped, BlockSelectionVectorEnv)
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    assert BlockSelectionVectorEnv.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    assert env.spec.id == "BlockSelection-v0"
    assert env.observation_space == batch_space(env.single_observation_space, 5)


def test_the_id_with_the_package_in_front_imports_it_and_stays_light():
    code = (
        "import sys, gymnasium as gym;"
        "env = gym.make('ccenv:BlockSelection-v0', dataset='probe', network='probe',"
        "num_blocks=[4, 4], block_size=2, activation='relu');"
        "print(env.reset(seed=0)[0].shape);"
        "print(*[m for m in ('stable_baselines3', 'torchvision', 'matplotlib', 'sklearn')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["(10,)", "", ""]


@pytest.mark.parametrize("mode", MODES[:2])
def test_gymnasiums_episode_statistics_are_right(mode):
    env = RecordEpisodeStatistics(BlockSelectionVectorEnv(3, autoreset_mode=mode, **PROBE))
    env.reset(seed=0)
    for _ in range(2):
        rewards = []
        for _ in range(2):
            _, reward, terminated, _, info = env.step(np.ones((3, 4), dtype=bool))
            rewards.append(reward)
        assert terminated.all()
        np.testing.assert_allclose(info["episode"]["r"], sum(rewards), rtol=1e-6)
        assert (info["episode"]["l"] == 2).all()
        if mode == "NEXT_STEP":
            env.step(np.ones((3, 4), dtype=bool))


class Steps(gym.Env):
    """Counts its steps, and ends after so many."""

    observation_space = gym.spaces.Box(0, 9, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, most):
        self.most = most

    def look(self):
        return np.array([self.count + self.noise], dtype=np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count, self.noise = 0, self.np_random.random()
        return self.look(), {}

    def step(self, action):
        self.count += 1
        return self.look(), 1.0, self.count >= self.most, False, {"count": self.count}


class Walk(gym.vector.SyncVectorEnv):
    """A correct little environment, whose rows end after two and after three steps."""

    mode = AutoresetMode.SAME_STEP

    def __init__(self):
        super().__init__([lambda n=n: Steps(n) for n in (2, 3)], autoreset_mode=self.mode)

    def step(self, actions):
        if self.closed:
            raise RuntimeError("no")
        return super().step(actions)


class NextStepWalk(Walk):
    mode = AutoresetMode.NEXT_STEP


class DisabledWalk(Walk):
    mode = AutoresetMode.DISABLED


@pytest.mark.parametrize("env_class", [Walk, NextStepWalk, DisabledWalk])
def test_the_vector_checker_is_silent_on_a_correct_environment_of_others(env_class):
    ccenv.check_vector_env(env_class())


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_the_vector_checker_is_silent_on_gymnasiums_own(mode, no_warnings):
    envs = [lambda: gym.make("CartPole-v1")] * 3
    env = gym.vector.SyncVectorEnv(envs, autoreset_mode=mode)
    ccenv.check_vector_env(env, refuses_after_close=False)


def broken(base, method, change):
    """An environment whose `method` returns what `change(env, result)` makes of it."""

    def changed(self, *args, **kwargs):
        result = list(getattr(base, method)(self, *args, **kwargs))
        return tuple(change(self, result) or result)

    return type("Broken", (base,), {method: changed})()


def put(index, make):
    def change(env, result):
        result[index] = make(env, result[index])

    return change


def on_last(edit):
    """Edits the info dict of steps that end an episode."""

    def change(env, result):
        if result[2].any():
            edit(result[4])

    return change


def reused(env, value):
    """Writes each result into one buffer."""
    env.buffer = getattr(env, "buffer", np.empty_like(value))
    env.buffer[:] = value
    return env.buffer


def one_dict(env, info):
    env.infos = getattr(env, "infos", {})
    env.infos.clear()
    env.infos.update(info)
    return env.infos


class WrongSpace(Walk):
    def __init__(self):
        super().__init__()
        self.observation_space = self.single_observation_space


class NoMode(Walk):
    def __init__(self):
        super().__init__()
        self.metadata = {}


class Unseeded(Walk):
    def reset(self, *, seed=None, options=None):
        return super().reset()


class DeafToClose(Walk):
    def step(self, actions):
        self.closed = False
        return super().step(actions)


class StepsOn(DisabledWalk):
    def step(self, actions):
        self._autoreset_envs[:] = False
        return super().step(actions)


class ResetsAll(DisabledWalk):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)


BROKEN = {
    "space not batched": (WrongSpace, "batch_space"),
    "no autoreset mode": (NoMode, "autoreset_mode"),
    "reset without info": (lambda: broken(Walk, "reset", lambda e, r: r[:1]), "observations, info"),
    "step of four": (lambda: broken(Walk, "step", lambda e, r: r[:4]), "terminations, truncations"),
    "observations of float64": (
        lambda: broken(Walk, "reset", put(0, lambda e, x: x.astype(np.float64))),
        "dtype float32",
    ),
    "observations out of bounds": (
        lambda: broken(Walk, "step", put(0, lambda e, x: x + 9)),
        "member",
    ),
    "NaN": (lambda: broken(Walk, "step", put(0, lambda e, x: x * np.nan)), "member of"),
    "infinite rewards": (lambda: broken(Walk, "step", put(1, lambda e, x: x / 0.0)), "finite"),
    "ends as numbers": (lambda: broken(Walk, "step", put(2, lambda e, x: x + 0)), "terminations"),
    "info as a list": (lambda: broken(Walk, "step", put(4, lambda e, x: [x])), "expected a dict"),
    "info without twin": (
        lambda: broken(Walk, "step", lambda e, r: (r[4].pop("_count"), None)[1]),
        "boolean twin '_count'",
    ),
    "info of one row": (
        lambda: broken(Walk, "step", lambda e, r: r[4].update(count=np.zeros(1))),
        "2 rows",
    ),
    "reused observations": (lambda: broken(Walk, "step", put(0, reused)), "shares memory"),
    "reused info": (lambda: broken(Walk, "step", put(4, one_dict)), "fresh info dict"),
    "ignores the seed": (Unseeded, "same observation from the same seed"),
    "no final_obs": (
        lambda: broken(Walk, "step", on_last(lambda i: (i.pop("final_obs"), i.pop("_final_obs")))),
        "_final_obs",
    ),
    "no final_info": (
        lambda: broken(
            Walk, "step", on_last(lambda i: (i.pop("final_info"), i.pop("_final_info")))
        ),
        "_final_info",
    ),
    "final_obs of all rows": (
        lambda: broken(Walk, "step", on_last(lambda i: i.update(_final_obs=np.ones(2, bool)))),
        "_final_obs",
    ),
    "final_obs out of its space": (
        lambda: broken(Walk, "step", on_last(lambda i: i["final_obs"].fill(-99))),
        "final_obs",
    ),
    "final_obs is the new start": (
        lambda: broken(
            Walk, "step", lambda e, r: r[2].any() and r[4].update(final_obs=r[0]) and None
        ),
        "apart from the new observations",
    ),
    "reward for a reset": (
        lambda: broken(NextStepWalk, "step", put(1, lambda e, x: np.ones(2))),
        "expected reward 0",
    ),
    "steps on without reset": (StepsOn, "until reset"),
    "resets every row": (ResetsAll, "outside of reset_mask"),
    "deaf to close": (DeafToClose, "after close"),
}


@pytest.mark.parametrize(("make", "message"), BROKEN.values(), ids=BROKEN)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_the_vector_checker_catches(make, message):
    with pytest.raises(AssertionError, match=message):
        ccenv.check_vector_env(make())


LAYERS = (
    {"num_blocks": (3, 5, 2), "block_size": (4, 2, 3), "head_units": (7,)},
    {"num_blocks": (4,), "block_size": 8, "activation": "relu"},
    {"num_blocks": (2, 2), "block_size": 16},
)


def overwrite(given_out):
    """Overwrites all that a step has given, as its caller may."""
    for value in given_out.values() if isinstance(given_out, dict) else given_out:
        if isinstance(value, np.ndarray):
            value[...] = 1
        elif isinstance(value, dict | tuple | list):
            overwrite(value)


@settings(max_examples=15, deadline=None)
@given(
    sizes=st.sampled_from(LAYERS),
    group=st.sampled_from((1, 3)),
    mode=st.sampled_from(("SAME_STEP", "NEXT_STEP")),
    dtype=st.sampled_from((bool, np.int8, np.int64, np.float32)),
    reward=st.sampled_from(("accuracy_minus_cost", "nll_minus_cost", "vector")),
    observation=st.sampled_from(("layer_input", "summary")),
    seed=st.integers(0, 99),
)
def test_what_callers_overwrite_changes_no_later_step(
    sizes, group, mode, dtype, reward, observation, seed
):
    more = {"group_size": group, "autoreset_mode": mode, "reward": reward}
    more |= {"dataset": "digits", "weights": "cotrain", "observation": observation}
    env, twin = (BlockSelectionVectorEnv(6, **sizes, **more) for _ in range(2))
    first = env.reset(seed=seed)
    same_bits(first, twin.reset(seed=seed))
    overwrite(first)
    numbers = np.random.default_rng(seed)
    for _ in range(2 * env.simulator.num_layers + 2):
        bits = (numbers.random(env.action_space.shape) < 0.6).astype(dtype)
        untouched, found = twin.step(bits.copy()), env.step(bits)
        same_bits(found, untouched)
        same_bits(env.simulator.state.macs.numpy(), twin.simulator.state.macs.numpy())
        overwrite(found)
        bits[...] = 1
