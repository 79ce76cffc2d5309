"""Networks that compute in bfloat16: (network, dtype) -> the network, its methods under autocast.

Weights stay float32, so that optimisers, checkpoints, cached and shipped weights are the same
whatever a network computes in. `torch.autocast` chooses the dtype of each operation, also within a
model of the user's: products run in bfloat16, what adds many numbers (norms, losses) where torch
says so in float32. What leaves a network (logits, features offered at gates) is float32.
"""

import functools
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from ccenv.base.values import shown
from ccenv.networks.core.protocol import GatedNetwork, sharing_parts

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""What a network may compute in. float16 is left out: its gradients need a scaled loss."""
COMPUTING = ("start", "step", "read", "advance", "played")
"""Methods that run in the dtype and pass it on."""
ANSWERING = (
    "logits",
    "look",
    "early_answer",
    "every_answer",
    "logits_everywhere",
    "block_norms",
    "answer_loss",
)
"""Methods that run in the dtype, and give float32 to policies, rewards and losses."""


def in_dtype(network: GatedNetwork, dtype: str) -> GatedNetwork:
    """A network that computes in a dtype and shares all parts of one, float32 weights among them.

    Args:
        network: not changed.
        dtype: a name in `DTYPES`.

    Returns:
        A network of a subclass, or of the class itself for "float32".

    Raises:
        ValueError: if there is no such dtype.

    >>> from ccenv.networks.core.mlp import GatedMLP
    >>> network = in_dtype(GatedMLP(8, (2,), 4), "bfloat16")
    >>> hidden = network.step(0, network.start(torch.rand(1, 8)), torch.tensor([[True, False]]))
    >>> hidden.x.dtype, network.logits(hidden).dtype, network.layers[0].weight.dtype
    (torch.bfloat16, torch.float32, torch.float32)
    """
    check_dtype(dtype)
    plain: Any = getattr(network, "plain_class", type(network))
    kind = plain if DTYPES[dtype] is torch.float32 else computing_in(plain, dtype)
    return cast(GatedNetwork, network if kind is type(network) else sharing_parts(network, kind))


def check_dtype(dtype: str) -> None:
    """Refuses what no network computes in (ValueError)."""
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"expected dtype of 'float32' or 'bfloat16', got {shown(dtype)}")


def dtype_of(network: GatedNetwork) -> str:
    """What a network computes in: a name in `DTYPES`."""
    return getattr(network, "computes_in", "float32")


@functools.cache
def computing_in(plain: Any, dtype: str) -> Any:
    """A subclass of a class of networks, whose methods run under autocast."""

    def reduced(self: Any, protocol: Any) -> Any:
        # A class that is made here cannot be imported: what is copied or pickled is the plain one.
        return in_dtype, (sharing_parts(self, plain), dtype)

    methods = {
        name: under_autocast(getattr(plain, name), DTYPES[dtype], answers=name in ANSWERING)
        for name in (*COMPUTING, *ANSWERING)
        if hasattr(plain, name)
    }
    attributes = {"plain_class": plain, "computes_in": dtype, "__reduce_ex__": reduced}
    names = {"__module__": plain.__module__, "__qualname__": plain.__qualname__}
    return type(plain.__name__, (plain,), {**names, **attributes, **methods})


def under_autocast(
    method: Callable[..., Any], dtype: torch.dtype, *, answers: bool
) -> Callable[..., Any]:
    """A network's method that computes in a dtype; with `answers` it returns float32."""

    @functools.wraps(method)
    def run(self: Any, *arguments: Any, **options: Any) -> Any:
        weight = next(self.parameters(), None)
        with torch.autocast("cpu" if weight is None else weight.device.type, dtype):
            output = method(self, *arguments, **options)
        return in_float32(output, dtype) if answers else output

    return run


def in_float32(value: Any, dtype: torch.dtype) -> Any:
    """Tensors of a dtype as float32, also those in a tuple; everything else as it is."""
    if isinstance(value, tuple):
        return tuple(in_float32(part, dtype) for part in value)
    return value.float() if isinstance(value, Tensor) and value.dtype is dtype else value


def in_own_dtype(policy: Callable[..., Any], *arguments: Any) -> Any:
    """Calls what is not part of a network from within: a policy computes in float32."""
    place = next(x.device.type for x in arguments if isinstance(x, Tensor))
    with torch.autocast(place, enabled=False):
        return policy(*arguments)
