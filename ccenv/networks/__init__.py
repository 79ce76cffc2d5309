"""Networks that the environment walks through: gated layers, their bill, their training."""

from ccenv.networks.mlp import NETWORKS, GatedMLP, GatedNetwork

__all__ = ["NETWORKS", "GatedMLP", "GatedNetwork"]
