"""Trains by PPO in one file, the way CleanRL writes it: no classes but the networks.

Run it from any folder: python cleanrl_ppo.py
"""

from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent

import ccenv
from ccenv.simulator.evaluate import Evaluation

EPOCHS, BATCH = 2, 128
LEARNING_RATE, CLIP, ENTROPY_WEIGHT, VALUE_WEIGHT, MAX_NORM = 1e-2, 0.2, 1e-3, 0.5, 0.5


class ActorCritic(nn.Module):
    """A linear actor, which is billed, and a critic, which is not: it is gone after training."""

    def __init__(self, obs_size: int, num_blocks: int, num_gates: int) -> None:
        """Draws initial weights."""
        super().__init__()
        self.actor = nn.Linear(obs_size, num_blocks)
        self.critic = nn.Sequential(nn.Linear(obs_size, 64), nn.Tanh(), nn.Linear(64, 1))
        self.policy_macs = [obs_size * num_blocks] * num_gates

    def coins(self, observation: Tensor) -> Independent:
        """One coin for each block."""
        return Independent(Bernoulli(logits=self.actor(observation)), 1)

    def act(self, observation: Tensor, layer: int, generator: torch.Generator | None) -> Tensor:
        """Called by `ccenv.evaluate`; without a generator, the greedy mask."""
        probability = self.actor(observation).sigmoid().detach()
        if generator is None:
            return probability > 0.5
        return torch.rand(probability.shape, generator=generator) < probability


def main(
    updates: int = 300, num_envs: int = 256, env_id: str = "ccenv:BlockSelection-v0"
) -> Evaluation:
    """Trains, and judges greedy masks on test inputs; "ccenv:suite/depth-4-v0" is scored too."""
    torch.manual_seed(0)
    envs: Any = gym.make_vec(env_id, num_envs=num_envs).unwrapped
    num_blocks, num_gates = envs.simulator.max_blocks, envs.simulator.num_steps
    observation, _ = envs.reset(seed=0)
    agent = ActorCritic(envs.simulator.obs_size, num_blocks, num_gates)
    optimizer = torch.optim.Adam(agent.parameters(), lr=LEARNING_RATE, eps=1e-5)
    for _ in range(updates):
        steps = []
        for _ in range(num_gates):  # one episode: all rows end together
            seen = torch.from_numpy(observation)
            with torch.no_grad():
                coins = agent.coins(seen)
                mask = coins.sample()
            observation, reward, *_ = envs.step(mask.numpy().astype("int8"))
            steps.append((seen, mask, coins.log_prob(mask), torch.from_numpy(reward).float()))
        seen, masks, log_probs, rewards = map(torch.stack, zip(*steps, strict=True))
        returns = rewards.flip(0).cumsum(0).flip(0).flatten()  # gamma = lambda = 1
        seen, masks, log_probs = seen.flatten(0, 1), masks.flatten(0, 1), log_probs.flatten()
        advantages = returns - agent.critic(seen).squeeze(1).detach()
        for rows in torch.cat([torch.randperm(len(seen)) for _ in range(EPOCHS)]).split(BATCH):
            coins, values = agent.coins(seen[rows]), agent.critic(seen[rows]).squeeze(1)
            ratio = (coins.log_prob(masks[rows]) - log_probs[rows]).exp()
            gain = (advantages[rows] - advantages[rows].mean()) / (advantages[rows].std() + 1e-8)
            surrogate = torch.min(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain).mean()
            value_loss = (returns[rows] - values).square().mean()
            loss = VALUE_WEIGHT * value_loss - surrogate - ENTROPY_WEIGHT * coins.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), MAX_NORM)
            optimizer.step()
    return ccenv.evaluate(envs, agent, deterministic=True)


if __name__ == "__main__":
    print(main())
