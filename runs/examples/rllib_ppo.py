"""Trains RLlib's PPO to choose the blocks of a network for each digit.

Run it from any folder: pip install "ray[rllib]", then pip install "gymnasium>=1.4", because RLlib
asks for an older one and runs with both; then python rllib_ppo.py
"""

from typing import Any

import gymnasium as gym
import ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.tune.registry import register_env
from torch import Tensor, nn

import ccenv
from ccenv.simulator.evaluate import Evaluation

SETTINGS: dict[str, Any] = {"reward": "nll_minus_cost", "observation": "summary"}


def make_env(config: dict[str, Any]) -> gym.Env[Any, Any]:
    """One digit at a time; RLlib refuses actions of bits, so each block is a choice of two."""
    return ccenv.ActionView(ccenv.BlockSelectionEnv(**SETTINGS), "multi_discrete")


class Masks(nn.Module):
    """Observations [batch, obs_size] -> masks, sampled as in training."""

    def __init__(self, module: Any) -> None:
        """Takes RLlib's module, whose logits are [batch, 2 * num_blocks]."""
        super().__init__()
        self.module = module

    def forward(self, observation: Tensor) -> Tensor:
        """Bits [batch, num_blocks]."""
        logits: Tensor = self.module.forward_inference({"obs": observation})["action_dist_inputs"]
        return torch.distributions.Categorical(logits=logits.unflatten(1, (-1, 2))).sample()


def main(iterations: int = 10, steps: int = 2048) -> Evaluation:
    """Trains, and judges sampled masks on test inputs."""
    torch.manual_seed(0)
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    register_env("blocks", make_env)
    config = (
        PPOConfig()
        .environment("blocks")
        .env_runners(num_env_runners=0, num_envs_per_env_runner=16)
        .training(
            gamma=1.0,
            lr=1e-2,
            train_batch_size=steps,
            minibatch_size=256,
            num_epochs=4,
            entropy_coeff=0.0,
        )
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[16], vf_share_layers=False))
        .debugging(seed=0)
    )
    algorithm = config.build_algo()
    for _ in range(iterations):
        algorithm.train()
    envs = ccenv.BlockSelectionVectorEnv(16, **SETTINGS)
    envs.reset(seed=0)
    verdict = ccenv.evaluate(envs, Masks(algorithm.get_module()))
    algorithm.stop()
    ray.shutdown()
    return verdict


if __name__ == "__main__":
    print(main())
