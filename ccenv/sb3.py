"""The environment for Stable-Baselines3, under the name that does not change."""

from ccenv.envs.stable_baselines import BlockSelectionVecEnv

__all__ = ["BlockSelectionVecEnv"]
