"""Networks that the environment walks through: gates, what they cost, how they are trained."""

from ccenv.networks.check import check_network
from ccenv.networks.flow import Exit
from ccenv.networks.gating.gate import gate
from ccenv.networks.gating.gateable import gateable
from ccenv.networks.mlp import GatedMLP
from ccenv.networks.protocol import Gate, GatedNetwork
from ccenv.networks.sequential import GatedSequential
from ccenv.networks.stage import Stage
from ccenv.networks.table import NETWORKS

__all__ = [
    "NETWORKS",
    "Exit",
    "Gate",
    "GatedMLP",
    "GatedNetwork",
    "GatedSequential",
    "Stage",
    "check_network",
    "gate",
    "gateable",
]
