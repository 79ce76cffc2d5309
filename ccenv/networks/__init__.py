"""Networks that the environment walks through: gates, what they cost, how they are trained."""

from typing import TYPE_CHECKING

from ccenv.base.registry import names_on_use
from ccenv.networks.registry import NETWORKS

if TYPE_CHECKING:
    from ccenv.networks.core.check import check_network
    from ccenv.networks.core.exit_state import Exit
    from ccenv.networks.core.mlp import GatedMLP
    from ccenv.networks.core.protocol import Gate, GatedNetwork
    from ccenv.networks.core.sequential import GatedSequential
    from ccenv.networks.core.stage import Stage
    from ccenv.networks.gating.gate import gate, gateable

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

__getattr__ = names_on_use(
    __name__,
    {
        "core.check": ["check_network"],
        "core.exit_state": ["Exit"],
        "core.mlp": ["GatedMLP"],
        "core.protocol": ["Gate", "GatedNetwork"],
        "core.sequential": ["GatedSequential"],
        "core.stage": ["Stage"],
        "gating.gate": ["gate", "gateable"],
    },
)
