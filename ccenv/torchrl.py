"""The environment for TorchRL, under the name that does not change."""

from ccenv.envs.torchrl_view import BlockSelectionEnv

__all__ = ["BlockSelectionEnv"]
