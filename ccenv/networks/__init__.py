"""Networks that the environment walks through: gates, what they cost, how they are trained."""

from ccenv.networks.core.check import check_network
from ccenv.networks.core.exit_state import Exit
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.core.protocol import Gate, GatedNetwork
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.core.stage import Stage
from ccenv.networks.gating.gate import gate, gateable
from ccenv.networks.registry import NETWORKS

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
