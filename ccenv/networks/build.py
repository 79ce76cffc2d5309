"""What users give a simulator: networks, rows, devices and numbers of images -> built, or refused.

Networks are built with initial weights from a seed; `network="module:name"` comes from users too.
"""

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.base.checked_file import check_finite
from ccenv.networks.mlp import positive_ints


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
            "expected a network with the parts of ccenv.networks.mlp.GatedNetwork, "
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
        TypeError: if the network lacks a part of `ccenv.networks.mlp.GatedNetwork`.
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


def check_rows(num_images: int, group_size: int) -> tuple[int, int]:
    """Refuses a batch that groups do not fill."""
    (rows,), (group,) = (
        positive_ints(value, name)
        for value, name in ((num_images, "num_envs"), (group_size, "group_size"))
    )
    if rows % group:
        raise ValueError(
            f"expected num_envs to be a multiple of group_size={group}, got {rows}; change one"
        )
    return rows, group


def check_device(device: str | torch.device) -> torch.device:
    """Refuses a device that torch does not know or this machine does not have."""
    try:
        found = torch.device(device)
        if found.type not in ("cpu", "cuda"):
            raise TypeError("images and network live on neither")
        torch.empty(0, device=found)
    except (RuntimeError, TypeError, AssertionError) as error:
        raise ValueError(
            f"expected device to be 'cpu' or a CUDA device that is here, got {device!r}: {error}"
        ) from error
    return found


def check_indices(indices: Tensor, num_images: int) -> None:
    """Refuses numbers that are no images of the split."""
    if indices.dtype != torch.int64 or indices.ndim != 1 or not len(indices):
        raise ValueError(
            f"expected indices int64 [n], n > 0, got {indices.dtype} {list(indices.shape)}"
        )
    if int(indices.min()) < 0 or int(indices.max()) >= num_images:
        raise ValueError(
            f"expected indices in 0..{num_images - 1}, "
            f"got {int(indices.min())}..{int(indices.max())}"
        )


def check_answers(logits: Tensor | None) -> None:
    """Refuses answers that are no numbers: the largest of them would still be paid as right.

    Args:
        logits: [batch, num_classes], None before the last layer.

    Raises:
        ValueError: if one is infinite or not a number.
    """
    # A sum is the fastest look at all of them; only where it is odd they are looked at one by one.
    if logits is None or math.isfinite(float(logits.sum())):
        return
    if not bool(logits.isfinite().all()):
        rows = int((~logits.isfinite()).any(dim=1).sum())
        raise ValueError(
            f"expected finite logits of the network, got others for {rows} of {len(logits)} rows; "
            "its weights or the images are too large or no numbers; where it learns, lower its "
            "learning_rate"
        )
