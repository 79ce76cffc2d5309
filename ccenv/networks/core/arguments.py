"""What users give a simulator: networks, rows, devices and numbers of inputs -> built, or refused.

A network has initial weights from a seed; `network="module:name"` comes from users too.
"""

import copy
import functools
import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.base.annotations import signature_of
from ccenv.base.checked_file import check_finite
from ccenv.base.checks import AT_ONCE, Checks, all_finite
from ccenv.base.registry import check_names
from ccenv.base.values import as_settings, positive_int, shortened, shown
from ccenv.networks.core.check import check_parts
from ccenv.networks.core.protocol import as_gated

MLP_SIZES = ("num_blocks", "block_size", "head_units", "activation")
"""Settings of the environment that say how large a fully connected network is."""


def takes_features(builder: Any) -> bool:
    """Whether a builder makes fully connected networks: it takes `in_features` and their sizes.

    Others take `input_shape` and have their own sizes, in `network_kwargs`.
    """
    try:
        return "input_shape" not in inspect.signature(builder).parameters
    except (TypeError, ValueError):
        return True


def arguments_of(
    builder: Any,
    input_shape: Sequence[int],
    num_classes: int,
    sizes: Mapping[str, Any],
    network_kwargs: Mapping[str, Any],
) -> dict[str, Any]:
    """Keyword arguments of a builder: inputs, classes, sizes if it takes them, `network_kwargs`."""
    if takes_features(builder):
        arguments = {"in_features": math.prod(input_shape), "num_classes": num_classes, **sizes}
    else:
        arguments = {"input_shape": tuple(input_shape), "num_classes": num_classes}
    parameters = signature_of(builder, "network").parameters
    is_open = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if not is_open:
        check_names(
            network_kwargs,
            [name for name in parameters if name not in arguments],
            "network_kwargs name",
        )
    taken = sorted(set(network_kwargs) & set(arguments))
    if taken:
        raise ValueError(f"expected {', '.join(taken)} outside of network_kwargs, got it there")
    return arguments | dict(network_kwargs)


def refuse_mlp_sizes(builder: Any, sizes: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuses sizes of a fully connected network for a network that has none."""
    if isinstance(builder, nn.Module) or takes_features(builder):
        return
    changed = {name: value for name, value in sizes.items() if value != defaults[name]}
    if changed:
        skip = ("input_shape", "num_classes")
        names = [name for name in inspect.signature(builder).parameters if name not in skip]
        raise ValueError(
            f"expected no {', '.join(changed)} with this network, whose sizes are network_kwargs "
            f"({', '.join(names)}), got {changed}; give sizes there, as network_kwargs.NAME=VALUE, "
            "and in place of a preset take BlockSelection-v0 and a dataset"
        )


def build_network(builder: Any, seed: int, **sizes: Any) -> Any:
    """Builds a network with initial weights that depend on the seed alone.

    Initialisers of torch draw from its global CPU generator; it is put back afterwards.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return builder(**sizes)


def make_network(
    network: Any,
    input_shape: Sequence[int],
    num_classes: int,
    seed: int,
    sizes: Mapping[str, Any],
    network_kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """Builds a network for inputs; a module that is given is copied, so that it stays as it is.

    Builders of fully connected networks get `sizes`, values of `MLP_SIZES`, and every builder
    its own arguments, the setting `network_kwargs`.

    Raises:
        TypeError: if the network lacks a part of `ccenv.GatedNetwork`, its MACs for example.
        ValueError: if it does not fit the inputs or memory, or its weights are not finite.
    """
    network_kwargs = as_settings(network_kwargs, "network_kwargs")
    if not callable(network):
        raise TypeError(
            f"expected network to be a name, a builder or a module, got {shown(network)}"
        )
    if isinstance(network, nn.Module):
        if network_kwargs:
            raise ValueError("expected network_kwargs with a network's name, got a module")
        built: Any = copy.deepcopy(network)
    else:
        arguments = arguments_of(network, input_shape, num_classes, sizes, network_kwargs)
        built = build_network(network, seed, **arguments)
    check_parts(built)
    built = as_gated(built)
    check_finite(built.state_dict(), "the network")
    expected = math.prod(input_shape)
    features = expected if built.features_read is None else built.features_read
    if features != expected or built.num_classes != num_classes:
        raise ValueError(
            f"expected a network for {expected} features and {num_classes} classes, "
            f"got one for {features} and {built.num_classes}"
        )
    return built


@torch.no_grad()
def check_reads(network: Any, inputs: Tensor, called: str) -> None:
    """Refuses a network of numbers for inputs [n, ...] that are symbols, which are whole numbers.

    It is tried, before anything is trained: its stem and its first gate. `called` is the data set.
    """
    if inputs.is_floating_point():
        return
    try:
        network.step(0, network.start(inputs), None, None, "reference")
    except (TypeError, RuntimeError) as error:
        raise ValueError(
            f"expected a network that looks symbols up for dataset {called!r}, whose inputs are "
            f"whole numbers {list(inputs.shape[1:])}, got one of other numbers ({error}); take "
            "network=bytes, or cascade_bytes, which has an exit"
        ) from error
    except IndexError as error:
        raise ValueError(
            f"expected a network that knows every symbol of dataset {called!r}, got one that has "
            f"no {int(inputs.max())} ({error}); in sequences that is a missing symbol: take "
            f"network=lm, or network_kwargs.num_symbols={int(inputs.max()) + 1}"
        ) from error


def check_batch(num_images: int, group_size: int) -> tuple[int, int]:
    """Refuses a batch that groups do not fill."""
    rows = positive_int(num_images, "num_envs")
    group = positive_int(group_size, "group_size")
    if rows % group:
        raise ValueError(
            f"expected num_envs to be a multiple of group_size={group}, got {rows}; change one"
        )
    return rows, group


def check_device(device: str | torch.device) -> torch.device:
    """Refuses a device that torch does not know or this machine does not have."""
    try:
        torch_device = torch.device(device)
        if torch_device.type not in ("cpu", "cuda"):
            raise TypeError("inputs and network live on neither")
        torch.empty(0, device=torch_device)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise ValueError(
            f"expected device to be 'cpu' or a CUDA device that is here, got {shown(device)}: "
            f"{shortened(str(error))}"
        ) from error
    return torch_device


def check_indices(indices: Tensor, num_images: int) -> None:
    """Refuses numbers that are no inputs of the split."""
    if indices.dtype != torch.int64 or indices.ndim != 1 or not len(indices):
        raise ValueError(
            f"expected indices int64 [n], n > 0, got {indices.dtype} {list(indices.shape)}"
        )
    if int(indices.min()) < 0 or int(indices.max()) >= num_images:
        raise ValueError(
            f"expected indices in 0..{num_images - 1}, "
            f"got {int(indices.min())}..{int(indices.max())}"
        )


def check_answers(logits: Tensor, checks: Checks = AT_ONCE) -> None:
    """Refuses answers [batch, num_classes] that are no numbers: they would be paid as right."""
    checks.expect(all_finite(logits), functools.partial(infinite_answers, logits))


def infinite_answers(logits: Tensor) -> ValueError:
    """The error of answers that are no numbers."""
    rows = int((~logits.isfinite()).any(dim=1).sum())
    return ValueError(
        f"expected finite logits of the network, got others for {rows} of {len(logits)} rows; "
        "its weights or the inputs are too large or no numbers; where it learns, lower its "
        "learning_rate"
    )
