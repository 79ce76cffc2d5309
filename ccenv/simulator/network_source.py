"""A simulator's network and its weights: (settings, the data's shape) -> built from a seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ccenv.base.registry import check_names, resolve
from ccenv.base.values import as_settings, positive_ints
from ccenv.data import Split
from ccenv.networks import NETWORKS
from ccenv.networks.core.arguments import make_network, refuse_mlp_sizes
from ccenv.networks.learning.bundled_weights import load_shipped, shipped_name
from ccenv.networks.learning.training import check_cotraining_settings
from ccenv.simulator.settings import EnvironmentSettings, setting_defaults

WEIGHTS = ("frozen", "shipped", "cotrain")


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


def source_of(asked: EnvironmentSettings, like: Split) -> NetworkSource:
    """What the settings name; ValueError of an unknown name, and of impossible or useless sizes."""
    builder = resolve(asked.network, NETWORKS, "network")
    block_size = positive_ints(asked.block_size, "block_size")
    sizes = {
        "num_blocks": positive_ints(asked.num_blocks, "num_blocks"),
        "block_size": block_size if isinstance(asked.block_size, Sequence) else block_size[0],
        "head_units": positive_ints(asked.head_units, "head_units", allow_none=True),
        "activation": asked.activation,
    }
    refuse_mlp_sizes(builder, sizes, setting_defaults())
    name = asked.network if isinstance(asked.network, str) else ""
    kwargs = as_settings(asked.network_kwargs, "network_kwargs")
    return NetworkSource(builder, name, sizes, kwargs, like.image_shape, like.num_classes)


def check_weights_setting(weights: str, kwargs: Mapping[str, Any]) -> None:
    """Refuses an unknown way of weights, and settings that do not belong to it (ValueError)."""
    check_names([weights], WEIGHTS, "weights")
    if kwargs and weights != "cotrain":
        raise ValueError(f"expected weights='cotrain' with weights_kwargs, got {weights!r}")
    # Without any there is nothing to check, and torch takes two seconds to import optimisers.
    if kwargs:
        check_cotraining_settings(dict(kwargs))


def take_shipped(
    network: Any, source: NetworkSource, dataset: str, transforms: Sequence[str]
) -> None:
    """Gives a network the weights that come with the package; see `load_shipped` for errors."""
    load_shipped(network, shipped_name(source.name, source.kwargs, dataset, transforms))
