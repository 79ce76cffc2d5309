"""The environment for TorchRL, under the name that does not change."""

from ccenv.annexes.torchrl import BlockSelectionEnv

__all__ = ["BlockSelectionEnv"]
