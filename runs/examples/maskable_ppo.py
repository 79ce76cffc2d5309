"""Trains sb3-contrib's MaskablePPO, which knows the bits that a narrower gate ignores.

Run it from any folder: pip install sb3-contrib, then python maskable_ppo.py
"""

from sb3_contrib import MaskablePPO

import ccenv
from ccenv.sb3 import BlockSelectionVecEnv
from ccenv.simulator.evaluate import Evaluation


def main(steps: int = 100_000, num_envs: int = 256) -> Evaluation:
    """Trains, and judges greedy masks on test inputs."""
    env = BlockSelectionVecEnv(num_envs, reward="nll_minus_cost", observation="summary")
    model = MaskablePPO(
        "MlpPolicy",
        env,
        n_steps=2,  # one episode: the network has two gates
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
