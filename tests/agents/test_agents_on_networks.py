"""Agents learn on convolutions, residual units, experts and transformers: returns rise."""

import pytest
import torch
from probes import make_agent

from ccenv.base.seeding import stream
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
IMAGES = 128 * 120
ROLLOUTS = 32
"""Compared before and after; returns of `condnet` vary so much that eight do not tell."""


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["frozen", "cotrain"])
@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("name", OURS)
def test_returns_rise_beyond_noise(name, network, weights):
    given = {"dataset": "digits", "network": network, "network_kwargs": SMALL[network]}
    given |= {"weights": weights, "reward_kwargs": {"cost_weight": 1.0}}
    agent, returns = make_agent(name, env_settings=given, **OURS[name]), []
    for num_images in (IMAGES, 0):
        rollouts = (
            collect_rollout(agent.simulator, agent, stream(number, "returns"))
            for number in range(ROLLOUTS)
        )
        returns.append(torch.tensor([rollout.means["return"] for rollout in rollouts]))
        agent.simulator.learning.pending.clear()
        agent.learn(num_images)
    first, last = returns
    assert all(tensor.isfinite().all() for tensor in agent.parameters().values())
    noise = ((first.var() + last.var()) / ROLLOUTS).sqrt()
    assert last.mean() - first.mean() > 3 * noise
