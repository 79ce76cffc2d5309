"""Trains tianshou's DQN, which picks one of a few masks: a menu in place of bits.

Run it from any folder: pip install tianshou, then python tianshou_dqn.py
"""

from typing import Any

import numpy as np
import torch
from tianshou.algorithm import DQN
from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OffPolicyTrainerParams
from tianshou.utils.net.common import Net
from torch import Tensor, nn

import ccenv
from ccenv.simulator.evaluate import Evaluation

SETTINGS: dict[str, Any] = {"reward": "nll_minus_cost", "observation": "summary"}
MENU: dict[str, Any] = {"menu": "random", "size": 32, "seed": 0}  # none and all are among them


class Greedy(nn.Module):
    """Observations [batch, obs_size] -> masks of the highest value, bool [batch, num_blocks]."""

    def __init__(self, values: nn.Module, masks: Tensor) -> None:
        """Takes values and the masks on the menu."""
        super().__init__()
        self.values, self.masks = values, masks

    def forward(self, observation: Tensor) -> Tensor:
        """Looks the best mask up."""
        return self.masks[self.values(observation)[0].argmax(dim=1)]


def main(epochs: int = 2, steps: int = 6_400, num_envs: int = 32) -> Evaluation:
    """Trains, and judges the masks of highest value on test inputs."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - tianshou explores with numpy's global stream

    def make_env() -> Any:
        return ccenv.ActionView(ccenv.BlockSelectionEnv(**SETTINGS), "menu", **MENU)

    env = make_env()
    # A wider network would cost more than it saves.
    values = Net(
        state_shape=env.observation_space.shape, action_shape=env.action_space.n, hidden_sizes=[16]
    )
    policy = DiscreteQLearningPolicy(model=values, action_space=env.action_space, eps_training=0.3)
    adam = AdamOptimizerFactory(lr=2e-3)
    dqn = DQN(policy=policy, optim=adam, gamma=1.0, target_update_freq=200)
    envs = DummyVectorEnv([make_env] * num_envs)
    params = OffPolicyTrainerParams(
        training_collector=Collector(dqn, envs, VectorReplayBuffer(20_000, num_envs)),
        max_epochs=epochs,
        epoch_num_steps=steps,
        collection_step_num_env_steps=num_envs,
        update_step_num_gradient_steps_per_sample=4 / num_envs,
        batch_size=256,
        show_progress=False,
    )
    dqn.run_training(params)
    judged = ccenv.BlockSelectionVectorEnv(num_envs, **SETTINGS)
    judged.reset(seed=0)
    return ccenv.evaluate(judged, Greedy(values, torch.from_numpy(env.code.menu)))


if __name__ == "__main__":
    print(main())
