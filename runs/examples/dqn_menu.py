"""Trains Stable-Baselines3's DQN, which picks one of a few masks: a menu in place of bits.

Run it from any folder: python dqn_menu.py
"""

from stable_baselines3 import DQN

import ccenv
from ccenv.sb3 import ActionViewVecEnv, BlockSelectionVecEnv
from ccenv.simulator.evaluate import Evaluation


def main(steps: int = 60_000, num_envs: int = 64) -> Evaluation:
    """Trains, and judges the masks of highest value on test inputs."""
    bits = BlockSelectionVecEnv(num_envs, reward="nll_minus_cost", observation="summary")
    env = ActionViewVecEnv(bits, "menu", menu="random", size=32, seed=0)  # none and all among them
    model = DQN(
        "MlpPolicy",
        env,
        gamma=1.0,
        learning_rate=1e-3,
        learning_starts=steps // 10,
        buffer_size=steps,
        batch_size=256,
        target_update_interval=1000,
        exploration_fraction=0.5,
        stats_window_size=num_envs,
        policy_kwargs={"net_arch": [32]},
        seed=0,
    )
    model.learn(steps)
    return ccenv.evaluate(env, model, deterministic=True)


if __name__ == "__main__":
    print(main())
