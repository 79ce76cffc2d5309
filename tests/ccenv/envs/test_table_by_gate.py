"""Laws of tables gate by gate: steps are the simulated environment's, and results stay as given."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import ccenv
from ccenv.base.registry import resolve
from ccenv.data import Split
from ccenv.envs.infos import step_info
from ccenv.mask_table import build, small
from ccenv.networks.core.exit_state import Exit
from ccenv.networks.vision.residual import ResidualUnit
from ccenv.rewards import REWARDS, StatefulReward, correct, log_likelihood
from ccenv.simulator.simulator import Simulator

NAME, ROWS, NUM_IMAGES = "BlockSelectionTable-v0", 8, 24
NOT_STORED = {"label", "prediction"}


def images_of(split):
    generator = torch.Generator().manual_seed(len(split))
    images = torch.rand(NUM_IMAGES, 1, 8, 8, generator=generator)
    return Split(images, torch.randint(0, 4, (NUM_IMAGES,), generator=generator), 4)


def uneven_layers():
    return ccenv.GatedMLP(64, num_blocks=(3, 2), block_size=4, num_classes=4)


def with_exit():
    """A unit, an exit, a unit."""
    units = [ResidualUnit(torch.nn.Sequential(torch.nn.Linear(64, 64))) for _ in range(2)]
    parts = {"first": units[0], "exit": Exit(torch.nn.Linear(64, 4)), "second": units[1]}
    stem, head = torch.nn.Flatten(), torch.nn.Linear(64, 4)
    return ccenv.GatedSequential(stem, parts, head, torch.zeros(1, 1, 8, 8))


@pytest.fixture(scope="module", params=[uneven_layers, with_exit])
def pair(request, tmp_path_factory):
    """A network and its table."""
    torch.manual_seed(0)
    network = request.param().eval().requires_grad_(False)
    path = tmp_path_factory.mktemp("tables") / "t.safetensors"
    return network, build(network, images_of("test"), path, batch_size=ROWS)


def equal(name, one, other):
    """Bit for bit, but for nll, which tables hold in 16 bits."""
    if "nll" in name or "likelihood" in name:
        return np.allclose(one, other, rtol=2**-10)
    if "probability" in name:
        return np.allclose(one, other, rtol=2**-8)
    return np.array_equal(one, other)


def at_the_end_only(outcome, cost_weight=1.0):
    reward = -cost_weight * outcome.layer_cost
    return reward if outcome.logits is None else reward + correct(outcome)


def of_every_field(outcome):
    lasts = outcome.is_last * outcome.correct / outcome.num_layers
    return {
        "squares": (outcome.layer + 1) * outcome.layer_cost**2 - outcome.density,
        "ends": lasts - outcome.macs * 1e-6 - (outcome.mask.sum(1) > 1) * outcome.compute_cost,
    }


def of_likelihood(outcome):
    return {"likelihood": log_likelihood(outcome).clip(min=-2.0)}


def is_plain(name):
    found = resolve(name, REWARDS, "reward")
    is_class = isinstance(found, type) and issubclass(found, StatefulReward)
    return not is_class and not found.description.components


PLAIN = [name for name in REWARDS if is_plain(name)]
OWN = [at_the_end_only, of_every_field, of_likelihood]


@pytest.mark.parametrize("by_name", [True, False])
def test_a_table_pays_what_the_simulator_pays_under_every_plain_reward(pair, by_name):
    network, table = pair
    generator = np.random.default_rng(0)
    for rule in PLAIN if by_name else OWN:
        images = generator.integers(NUM_IMAGES, size=ROWS)
        settings = {"dataset": images_of, "split": "test", "network": network}
        simulator = Simulator(ROWS, reward=rule, **settings)
        simulator.seed(0)
        simulator.begin(torch.from_numpy(images))
        env = gym.make_vec(NAME, num_envs=ROWS, table=table, by_gate=True, reward=rule)
        env.reset(seed=0, options={"indices": images})
        blocks, total, ran = simulator.num_blocks, 0.0, []
        masks = generator.random((len(blocks), ROWS, simulator.max_blocks)) < 0.6
        for gate, mask in enumerate(masks):
            step = simulator.step(torch.from_numpy(mask))
            seen, reward, terminated, _, info = env.step(mask)
            wanted = step_info(step, simulator.max_blocks, 0)
            assert set(wanted) - NOT_STORED <= set(info)
            for name in set(wanted) - NOT_STORED:
                assert equal(name, wanted[name], info[name]), (rule, gate, name)
            likelihood = "".join(step.terms)
            assert equal(likelihood, step.reward.numpy(), reward)
            assert terminated.all() == step.outcome.is_last
            total, ran = total + reward, [*ran, step.outcome.mask.numpy()]
        final, width = info["final_obs"], table.look.shape[1]
        assert np.array_equal(final[:, :width], table.look[images])
        assert np.array_equal(final[:, width : -len(blocks)], np.concatenate(ran, axis=1))
        assert not final[:, -len(blocks) :].any()
        assert np.array_equal(seen[:, -len(blocks) :], np.eye(len(blocks))[[0] * ROWS])
        at_once = gym.make_vec(NAME, num_envs=ROWS, table=table, reward=rule)
        at_once.reset(seed=0, options={"indices": images})
        whole = [mask[:, :count] for mask, count in zip(masks, blocks, strict=True)]
        rewards = at_once.step(np.concatenate(whole, axis=1))[1]
        np.testing.assert_allclose(rewards, total, rtol=1e-5, atol=1e-6)


def test_the_checkers_are_silent_gate_by_gate_with_bits_alone(pair):
    settings = {"table": small(pair[1]), "by_gate": True}
    check_env(gym.make(NAME, **settings).unwrapped)
    for mode in ("SAME_STEP", "NEXT_STEP", "DISABLED"):
        env = gym.make_vec(NAME, num_envs=3, autoreset_mode=mode, **settings)
        ccenv.check_vector_env(env)


def test_rewards_that_a_table_cannot_pay_are_refused(pair):
    for settings, said in (
        ({"reward": "lagrangian"}, "without a memory.*simulated environment"),
        ({"reward": "vector"}, "one number for a table"),
        ({"reward": lambda outcome: outcome.logits.amax(dim=1)}, "arithmetic.*no attribute 'amax'"),
        ({"reward": lambda outcome: outcome.labels * 1.0}, "arithmetic.*no attribute 'labels'"),
        ({"reward": lambda outcome: torch.relu(outcome.layer_cost)}, "arithmetic.*Tensor"),
        ({"reward": lambda outcome: outcome.layer_cost.sum()}, r"ndarray \[1\].*got float32"),
        ({"reward": lambda outcome: outcome.correct + np.inf}, "finite.*infinity in total"),
        ({"reward": "blockdrop", "cost_weight": 2.0}, "reward_kwargs"),
        ({"reward": "blockdrop", "reward_kwargs": {"wrong_penlty": 1.0}}, "did you mean"),
        ({"reward": "budget_hinge", "reward_kwargs": {"cost_limit": 2.0}}, r"\(0, 1\]"),
        ({"reward_kwargs": {"cost_weight": 1.0}}, "a reward with"),
        ({"reward": "skipnet", "table": small(pair[1])}, "bits alone"),
        ({"score": "log_likelihood", "table": small(pair[1])}, "bits alone"),
    ):
        with pytest.raises(ValueError, match=said):
            gym.make(NAME, **{"table": pair[1]} | settings)


PROGRAM = """
import sys, gymnasium as gym
from ccenv.rewards import correct
def thrift(outcome):
    return correct(outcome) - outcome.layer_cost**2
for settings in ({}, {"by_gate": True}, {"reward": "blockdrop"}, {"reward": thrift}):
    env = gym.make_vec("ccenv:BlockSelectionTable-v0", num_envs=5, **settings)
    env.reset(seed=0)
    env.step(env.action_space.sample())
from ccenv.runs.commands import table
table.make_parser()
print([name for name in ("torch", "stable_baselines3") if name in sys.modules])
"""


def test_shipped_tables_are_played_without_torch():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
