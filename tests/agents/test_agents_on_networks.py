"""Agents learn on convolutions, residual units, experts and transformers: returns rise."""

import functools

import pytest
import torch

from ccenv.agents import AGENTS
from ccenv.agents.reference_policies import BlockDropout
from ccenv.base.registry import resolve
from ccenv.base.seeding import stream
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


def returns_of(learner, network, weights, num_rollouts, seed=0, num_unlearned=ROLLOUTS):
    """Mean return of each rollout, in order; of our agents' first nothing is learned."""
    settings = settings_of(network, weights)
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


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["frozen", "cotrain"])
@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("learner", OURS)
def test_returns_rise_beyond_noise(learner, network, weights):
    # Returns of `condnet` vary so much that eight rollouts do not tell what it gains.
    many = 4 * ROLLOUTS
    heard = torch.tensor(returns_of(learner, network, weights, 120, num_unlearned=many))
    first, last = heard[:many], heard[-many:]
    noise = (first.var() / len(first) + last.var() / len(last)).sqrt()
    assert last.mean() - first.mean() > 3 * noise
