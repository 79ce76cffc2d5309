"""Where a simulator's network comes from: (its settings, the data's shape) -> built from a seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ccenv.networks.build import make_network
from ccenv.networks.mlp import Sizes, positive_ints


@dataclass(frozen=True)
class NetworkSource:
    """A network that can be built as often as is asked."""

    builder: Any
    """of networks, or a module, which is copied."""
    name: str
    """as the setting `network` says it; empty of what is no name."""
    sizes: Mapping[str, Any]
    """of fully connected networks: values of `MLP_SIZES`."""
    kwargs: Mapping[str, Any]
    """the builder's own arguments, `network_kwargs`."""
    input_shape: tuple[int, ...]
    """of one image, channels first."""
    num_classes: int
    """of the data set."""

    def build(self, seed: int) -> Any:
        """The network with initial weights from a seed; see `make_network` for errors."""
        shape, num_classes = self.input_shape, self.num_classes
        return make_network(self.builder, shape, num_classes, seed, self.sizes, self.kwargs)

    def gives_weights(self, network: Any) -> bool:
        """Whether what it builds has its weights already."""
        is_module = isinstance(self.builder, nn.Module)
        return is_module or getattr(network, "has_own_weights", False)


def checked_sizes(
    num_blocks: Sizes, block_size: Sizes, head_units: Sizes, activation: Any
) -> dict[str, Any]:
    """Values of `MLP_SIZES` as they are stored: tuples, and one number of a block_size for all.

    Raises:
        ValueError: if one is no whole number of at least 1.
    """
    sizes = positive_ints(block_size, "block_size")
    return {
        "num_blocks": positive_ints(num_blocks, "num_blocks"),
        "block_size": sizes if isinstance(block_size, Sequence) else sizes[0],
        "head_units": positive_ints(head_units, "head_units", allow_none=True),
        "activation": activation,
    }
