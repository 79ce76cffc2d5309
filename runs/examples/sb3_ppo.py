"""Trains Stable-Baselines3's PPO to choose the blocks of a network for each digit.

Run it from any folder: python sb3_ppo.py
"""

from stable_baselines3 import PPO

import ccenv
from ccenv.sb3 import BlockSelectionVecEnv
from ccenv.simulator.evaluate import Evaluation


def main(steps: int = 200_000, num_envs: int = 256, task: str | None = None) -> Evaluation:
    """Trains, and judges greedy masks on test inputs; a task of the suite is scored too."""
    if task is None:
        env = BlockSelectionVecEnv(num_envs, reward="nll_minus_cost", observation="summary")
    else:
        env = ccenv.suite[task].make_sb3(num_envs)
    model = PPO(
        "MlpPolicy",
        env,
        n_steps=env.simulator.num_steps,  # one episode: the digits' network has two gates
        batch_size=num_envs // 2,
        gamma=1.0,
        learning_rate=1e-2,
        stats_window_size=num_envs,
        policy_kwargs={"net_arch": {"pi": [], "vf": [64]}},
        seed=0,
    )
    model.learn(steps)
    return ccenv.evaluate(env, model, deterministic=True)


if __name__ == "__main__":
    print(main())
