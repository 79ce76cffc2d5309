"""Agents learn on convolutions, residual units, experts and transformers: returns rise."""

import copy
import functools

import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback

from ccenv.agents import AGENTS
from ccenv.agents.reference_policies import BlockDropout
from ccenv.base.registry import resolve
from ccenv.base.seeding import stream
from ccenv.envs.stable_baselines import ActionViewVecEnv, BlockSelectionVecEnv
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.simulator.rollout import collect_rollout

SMALL = {
    "conv": {"channels": [8, 8], "num_blocks": 4, "strides": [1, 2]},
    "experts": {"num_experts": 4, "expert_size": 4, "channels": [4, 8]},
    "resnet": {"depth": 8, "width": 4},
    "vit": {"depth": 1, "dim": 16, "num_heads": 2, "num_groups": 4},
}
RATE = {"learning_rate": 0.02}
# The paper's agent is told a density, below that of its first draws, and not the price.
PAPER = {"target_density": 0.25, "learning_rate": 0.01, "sparsity_weight": 100.0}
OURS = {
    "reinforce": RATE,
    "rloo": RATE | {"sampling": "independent"},
    "condnet": PAPER | {"variance_weight": 1.0, "l2_weight": 0.0},
    "sb3_ppo": {},
}
MENUS = {
    "ppo by a menu": (PPO, {"n_epochs": 4, "learning_rate": 0.003}),
    "dqn by a menu": (
        DQN,
        {
            "learning_starts": 512,
            "train_freq": 1,
            "gradient_steps": 2,
            "batch_size": 128,
            "learning_rate": 1e-3,
            "target_update_interval": 128,
            "exploration_fraction": 0.7,
        },
    ),
}
LEARNERS = [*OURS, *MENUS]
ROLLOUTS = 8
"""So many rollouts at the start are compared with as many at the end."""
IMAGES = 128
"""of a rollout."""


def settings_of(network, weights):
    """Of an environment; a frozen network has learned from random masks first."""
    settings = {"dataset": "digits", "reward_kwargs": {"cost_weight": 1.0}}
    if weights == "frozen":
        return settings | {"network": trained(network)}
    return settings | {
        "network": network,
        "network_kwargs": SMALL[network],
        "weights": "cotrain",
        "weights_kwargs": {"learning_rate": 0.01},
    }


@functools.cache
def trained(network, num_images=128 * 200):
    env = BlockSelectionVectorEnv(128, **settings_of(network, "cotrain"))
    env.reset(seed=0)
    BlockDropout(env, seed=0, keep_probability=0.7).learn(num_images)
    return env.simulator.network


class Returns(BaseCallback):
    """Hears the mean return of each batch of episodes; co-trains the network behind it."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def _on_step(self):
        if self.locals["dones"].all():
            self.heard.append(np.mean([info["episode"]["r"] for info in self.locals["infos"]]))
            self.training_env.venv.update_network()
        return True


def returns_of(learner, network, weights, num_rollouts, seed=0, num_unlearned=ROLLOUTS):
    """Mean return of each rollout, in order; of our agents' first nothing is learned."""
    settings = settings_of(network, weights)
    if learner in MENUS:
        return returns_by_a_menu(learner, settings, num_rollouts, seed)
    agent_class = resolve(learner, AGENTS, "agent")
    settings = agent_class.env_defaults | settings
    group = settings.get("group_size", 1)
    env = BlockSelectionVectorEnv(IMAGES * group, **settings)
    env.reset(seed=seed)
    agent = agent_class(env, seed=seed, **OURS[learner])
    heard = [unlearned(agent, number) for number in range(num_unlearned)]
    env.simulator.learning.pending.clear()
    agent.learn(IMAGES * num_rollouts, lambda _, scalars: heard.append(scalars["episode/return"]))
    assert all(tensor.isfinite().all() for tensor in agent.parameters().values())
    return heard


def unlearned(agent, number):
    """Mean return of a rollout from which nothing is learned."""
    return collect_rollout(agent.simulator, agent, stream(number, "unlearned")).means["return"]


def returns_by_a_menu(learner, settings, num_rollouts, seed):
    algorithm, given = MENUS[learner]
    bits = BlockSelectionVecEnv(IMAGES, observation="summary", **settings)
    steps = bits.simulator.num_layers
    if algorithm is PPO:
        sizes = {"n_steps": steps, "batch_size": 32 * steps, "stats_window_size": IMAGES}
        given = given | sizes
    env = ActionViewVecEnv(bits, "menu", menu="prefixes")
    model = algorithm("MlpPolicy", env, gamma=1.0, seed=seed, device="cpu", **copy.deepcopy(given))
    returns = Returns()
    model.learn(IMAGES * steps * num_rollouts, callback=returns)
    assert all(tensor.isfinite().all() for tensor in model.policy.parameters())
    return returns.heard


@pytest.mark.parametrize(
    ("learner", "network"), list(zip(LEARNERS, [*SMALL, *SMALL], strict=False))
)
def test_an_agent_takes_an_update_on_a_network_that_learns_along(learner, network):
    heard = returns_of(learner, network, "cotrain", num_rollouts=4)
    assert len(heard) == 4 + (learner in OURS) * ROLLOUTS
    assert np.isfinite(heard).all()


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["frozen", "cotrain"])
@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("learner", LEARNERS)
def test_returns_rise_beyond_noise(learner, network, weights):
    # Returns of `condnet` vary so much that eight rollouts do not tell what it gains.
    many = 4 * ROLLOUTS
    heard = torch.tensor(returns_of(learner, network, weights, 120, num_unlearned=many))
    first, last = heard[: many if learner in OURS else ROLLOUTS], heard[-many:]
    noise = (first.var() / len(first) + last.var() / len(last)).sqrt()
    assert last.mean() - first.mean() > 3 * noise
