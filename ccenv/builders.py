"""Networks by builder or module: initial weights from a seed, and whether the environment can walk.

What is given here comes from users too: `network="module:name"`.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ccenv.checked_file import check_finite
from ccenv.networks import positive_ints


def check_network(network: Any) -> None:
    """Refuses an object that the environment could not walk through.

    Raises:
        TypeError: if it is no module, or lacks a part of `GatedNetwork`.
        ValueError: if its sizes are not whole numbers, or not one block size for each layer.
    """
    needed = ("in_features", "num_blocks", "block_sizes", "head_sizes", "gated_layer", "head")
    missing = [name for name in needed if not hasattr(network, name)]
    if not isinstance(network, nn.Module) or missing:
        lacks = f" without {', '.join(missing)}" if missing else ", which is no torch.nn.Module"
        raise TypeError(
            "expected a network with the parts of ccenv.networks.GatedNetwork, "
            f"got {type(network).__name__}{lacks}; subclass ccenv.GatedMLP or add what is missing"
        )
    _, layers, sizes, _ = (
        positive_ints(getattr(network, name), f"the network's {name}") for name in needed[:4]
    )
    if len(layers) != len(sizes):
        raise ValueError(
            "expected the network's block_sizes to have one size for each gated layer, "
            f"got {sizes} beside num_blocks {layers}"
        )


def build_network(builder: Any, seed: int, **sizes: Any) -> Any:
    """Builds a network with initial weights that depend on the seed alone.

    Initialisers of torch draw from its global CPU generator; it is put back afterwards.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return builder(**sizes)


def make_network(
    network: Any, in_features: int, num_classes: int, seed: int, sizes: Mapping[str, Any]
) -> Any:
    """Builds a network for images; a module that is given is copied, so that it stays as it is.

    Args:
        network: a module, or a builder of one.
        in_features: of an image.
        num_classes: of the data set.
        seed: of the initial weights.
        sizes: `num_blocks`, `block_size`, `head_units` and `activation`, for the builder.

    Raises:
        TypeError: if the network lacks a part of `ccenv.networks.GatedNetwork`.
        ValueError: if it does not fit the images or memory, or its weights are not finite.
    """
    if not callable(network):
        raise TypeError(f"expected network to be a name, a builder or a module, got {network!r}")
    if isinstance(network, nn.Module):
        built: Any = copy.deepcopy(network)
    else:
        built = build_network(
            network, seed, in_features=in_features, num_classes=num_classes, **sizes
        )
    check_network(built)
    check_finite(built.state_dict(), "the network")
    if built.in_features != in_features or built.head_sizes[-1] != num_classes:
        raise ValueError(
            f"expected a network for {in_features} features and {num_classes} classes, "
            f"got one for {built.in_features} and {built.head_sizes[-1]}"
        )
    return built
