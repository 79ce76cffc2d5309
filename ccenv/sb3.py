"""The environment for Stable-Baselines3, under the names that do not change."""

from ccenv.envs.stable_baselines import ActionViewVecEnv, BlockSelectionVecEnv

__all__ = ["ActionViewVecEnv", "BlockSelectionVecEnv"]
