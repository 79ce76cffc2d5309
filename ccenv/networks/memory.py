"""Memory of a network: (network) -> bytes that its answers need."""

from typing import Any


def memory_bytes(network: Any) -> int:
    """Bytes of parameters and buffers, or what a network with a method `memory_bytes` says.

    Such a method is for networks whose tensors are not what one would keep, as pruned ones, whose
    zeros need no place.

    Args:
        network: a `GatedNetwork`.
    """
    if hasattr(network, "memory_bytes"):
        return int(network.memory_bytes())
    return sum(tensor.nbytes for tensor in network.state_dict().values())
