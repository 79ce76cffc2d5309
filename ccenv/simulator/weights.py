"""Weights of a simulator's network: (network, its source, images) -> learned once, or shipped."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ccenv.base.registry import check_names
from ccenv.data import Split, check_alike
from ccenv.networks.learning.bundled_weights import load_shipped, shipped_name
from ccenv.networks.learning.training import check_cotraining_settings, frozen_weights
from ccenv.simulator.network_source import NetworkSource

WEIGHTS = ("frozen", "shipped", "cotrain")


def check_weights(weights: str, kwargs: Mapping[str, Any]) -> None:
    """Refuses what weights cannot be, before anything is built.

    Raises:
        ValueError: if there is no such way, or settings of co-training are wrong or beside another.
    """
    check_names([weights], WEIGHTS, "weights")
    if kwargs and weights != "cotrain":
        raise ValueError(f"expected weights='cotrain' beside weights_kwargs, got {weights!r}")
    check_cotraining_settings(dict(kwargs))


def freeze(
    network: Any, source: NetworkSource, data: Split, dataset: str, load: Callable[[str], Split]
) -> None:
    """Learns a network's weights or reads them from the cache, if it has none; they stay.

    Args:
        network: changed in place.
        source: what built it.
        data: images that it will see.
        dataset: what messages call them.
        load: split -> its images.
    """
    if not source.gives_weights(network):
        train = load("train")
        check_alike(data, train, dataset)
        frozen_weights(network, train)
    network.requires_grad_(False)


def take_shipped(
    network: Any, source: NetworkSource, dataset: str, transforms: Sequence[str]
) -> None:
    """Gives a network the weights that come with the package; see `load_shipped` for errors."""
    load_shipped(network, shipped_name(source.name, source.kwargs, dataset, transforms))
