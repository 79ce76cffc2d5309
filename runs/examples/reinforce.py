"""Trains a linear policy by REINFORCE, from scratch in PyTorch, on Gymnasium's vector API.

Run it from any folder: python reinforce.py
"""

import torch
from torch import Tensor, nn

import ccenv
from ccenv.simulator.evaluate import Evaluation


class LinearPolicy(nn.Module):
    """Keeps each block with a probability of its own: observation -> one coin for each block."""

    def __init__(self, obs_size: int, num_blocks: int, num_gates: int) -> None:
        """Starts with every coin at 1/2."""
        super().__init__()
        self.scores = nn.Linear(obs_size, num_blocks)
        nn.init.zeros_(self.scores.weight)
        self.policy_macs = [obs_size * num_blocks] * num_gates

    def coins(self, observation: Tensor) -> torch.distributions.Bernoulli:
        """What masks are drawn from."""
        return torch.distributions.Bernoulli(logits=self.scores(observation))

    def act(self, observation: Tensor, layer: int, generator: torch.Generator | None) -> Tensor:
        """Called by `ccenv.evaluate`; without a generator, the greedy mask."""
        probability = self.coins(observation).probs.detach()
        if generator is None:
            return probability > 0.5
        return torch.rand(probability.shape, generator=generator) < probability


def main(updates: int = 400, num_envs: int = 256) -> Evaluation:
    """Trains, and judges greedy masks on test inputs."""
    torch.manual_seed(0)
    envs = ccenv.BlockSelectionVectorEnv(num_envs, observation="summary")
    num_blocks, num_gates = envs.simulator.max_blocks, envs.simulator.num_layers
    observations, _ = envs.reset(seed=0)
    policy = LinearPolicy(envs.simulator.obs_size, num_blocks, num_gates)
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.02)
    for _ in range(updates):
        log_probs, rewards = [], []
        for _ in range(num_gates):  # one episode: all rows end together
            coins = policy.coins(torch.from_numpy(observations))
            masks = coins.sample()
            observations, reward, *_ = envs.step(masks.numpy().astype("int8"))
            log_probs.append(coins.log_prob(masks).sum(dim=1))
            rewards.append(torch.from_numpy(reward))
        returns = torch.stack(rewards).flip(0).cumsum(0).flip(0)
        advantages = returns - returns.mean(dim=1, keepdim=True)
        loss = -(torch.stack(log_probs) * advantages).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return ccenv.evaluate(envs, policy, deterministic=True)


if __name__ == "__main__":
    print(main())
