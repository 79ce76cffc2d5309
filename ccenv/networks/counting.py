"""What a call costs: (function, inputs) -> multiply-accumulates by torch's own counter."""

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch._ops import HigherOrderOperator
from torch.utils._python_dispatch import TorchDispatchMode

from ccenv.networks.operations import kind_without_formula, name_of

MOST_PRODUCTS = 0.01
"""Elementwise products over multiply-accumulates, from which a bill that leaves them out is worth a
warning."""


class UncountedError(ValueError):
    """An operation whose multiply-accumulates are not known."""


@dataclass(frozen=True)
class Count:
    """What a call did."""

    macs: int
    """multiply-accumulates."""
    products: Mapping[str, int]
    """operation -> elementwise products, which no bill holds."""
    result: Any
    """of the function."""


def counted(function: Callable[..., Any], *inputs: Any) -> tuple[int, Any]:
    """Multiply-accumulates of a call without gradients, and what it gave; see `count`."""
    found = count(function, *inputs)
    return found.macs, found.result


def count(function: Callable[..., Any], *inputs: Any) -> Count:
    """Counts a call without gradients.

    Matrix products, convolutions, attention and recurrent layers count; biases, norms, activations,
    pooling and look-ups do not, nor do elementwise products, which are counted apart. What does not
    go through torch's operations (NumPy, kernels of one's own) is not seen.

    Raises:
        UncountedError: if an operation is neither known to be free nor has a formula; it names the
            operation, where it was called, and how to give a formula.
    """
    # Imported on use: torch's counter brings Triton where that is installed.
    from torch.utils.flop_counter import FlopCounterMode

    counting = FlopCounterMode(display=False, custom_mapping=further_formulas())
    seeing = SeenOperations(counting)
    # Torch's fused transformer layer would hide its products from the counter.
    is_fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # The counter is inside: it takes apart what consists of other operations.
        with torch.no_grad(), seeing, counting as counter:
            result = function(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(is_fused)
    if seeing.unknown:
        raise UncountedError(
            "expected operations whose multiply-accumulates are known, got "
            f"{', '.join(seeing.unknown)}; replace them, or say what they cost: "
            "torch.utils.flop_counter.register_flop_formula(operation)(formula), with a formula "
            "that takes the operation's shapes and gives twice its multiply-accumulates"
        )
    return Count(counter.get_total_flops() // 2, dict(seeing.products), result)


class SeenOperations(TorchDispatchMode):
    """Notes operations that torch's counter passes over: products, and those that nobody knows."""

    supports_higher_order_operators = True

    def __init__(self, counter: Any) -> None:
        super().__init__()
        self.counter = counter
        self.unknown: dict[str, None] = {}
        self.products: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs an operation and notes what it is."""
        if isinstance(func, HigherOrderOperator):
            return NotImplemented
        found = func(*args, **(kwargs or {}))
        if func.overloadpacket in self.counter.flop_registry:
            return found
        kind = kind_without_formula(func)
        if kind == "product" and not is_scaling(func, args):
            self.products[name_of(func)] += max(found.numel(), args[0].numel())
        elif kind == "unknown":
            place = max(self.counter.mod_tracker.parents - {"Global"}, key=len, default="")
            self.unknown[f"{func.overloadpacket}{place and f' in {place}'}"] = None
        return found


def is_scaling(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether a product is one with a single number, as averages and temperatures are."""
    is_plain = name_of(func) in ("aten.mul", "aten.multiply")
    return is_plain and not all(isinstance(one, Tensor) and one.ndim for one in args[:2])


def warn_of_products(found: Count, stacklevel: int) -> None:
    """Names elementwise products that a bill leaves out, where they are many.

    Args:
        found: of the whole network with everything kept, for one input.
        stacklevel: as of `warnings.warn`, of the caller.
    """
    total = sum(found.products.values())
    if total > MOST_PRODUCTS * found.macs:
        named = ", ".join(f"{name}: {number:,}" for name, number in found.products.items())
        warnings.warn(
            f"the bill leaves out {total:,} elementwise products for one input ({named}) beside "
            f"{found.macs:,} multiply-accumulates: they are free by convention; write those that "
            "are summed as a matrix product (torch.matmul, torch.einsum), to have them counted",
            UserWarning,
            stacklevel=stacklevel + 1,
        )


def tokens(x: Sequence[int]) -> int:
    """Vectors in a tensor of this shape."""
    return prod(x[:-1])


FURTHER: Mapping[str, Callable[[Any, Any], int]] = {
    # A token meets each matrix of a recurrent layer once.
    "mkldnn_rnn_layer": lambda x, y: tokens(x[0]) * (prod(x[1]) + prod(x[2])),
    "_cudnn_rnn": lambda x, y: tokens(x[0]) * sum(prod(w) for w in x[1] if len(w) > 1),
    "miopen_rnn": lambda x, y: tokens(x[0]) * sum(prod(w) for w in x[1] if len(w) > 1),
    "mv": lambda x, y: prod(x[0]),
    "dot": lambda x, y: prod(x[0]),
    "vdot": lambda x, y: prod(x[0]),
    "addmv": lambda x, y: prod(x[1]),
    "addmv_": lambda x, y: prod(x[1]),
    "addr": lambda x, y: prod(y),
    "addr_": lambda x, y: prod(y),
    "addmm_": lambda x, y: prod(x[1]) * x[2][-1],
    "addbmm": lambda x, y: prod(x[1]) * x[2][-1],
    "addbmm_": lambda x, y: prod(x[1]) * x[2][-1],
    "baddbmm_": lambda x, y: prod(x[1]) * x[2][-1],
    "_addmm_activation": lambda x, y: prod(x[1]) * x[2][-1],
    "_int_mm": lambda x, y: prod(x[0]) * x[1][-1],
    "_weight_int8pack_mm": lambda x, y: prod(x[0]) * x[1][0],
    # Sums over a dimension of products of two, one after the other.
    "_trilinear": lambda x, y: prod(joint_shape(x)),
    "_cdist_forward": lambda x, y: prod(y) * x[0][-1],
    "_euclidean_dist": lambda x, y: prod(y) * x[0][-1],
    "affine_grid_generator": lambda x, y: prod(y) * (y[-1] + 1),
}
"""Multiply-accumulates that torch's counter does not know: (shapes of arguments, of the result)."""
ATTENTION = (
    # Torch's counter knows the attention of GPUs alone.
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_attention_math_for_mps",
    "_scaled_dot_product_fused_attention_overrideable",
)


def joint_shape(given: Sequence[Any]) -> Sequence[int]:
    """Shape in which `aten._trilinear` multiplies: that of three tensors with dimensions added."""
    shapes = [list(shape) for shape in given[:3]]
    for shape, places in zip(shapes, given[3:6], strict=True):
        for place in places:
            shape.insert(place, 1)
    return torch.broadcast_shapes(*shapes)


def further_formulas() -> dict[Any, Callable[..., int]]:
    """Formulas for torch's counter: operation -> (shapes -> floating-point operations)."""
    from torch.utils.flop_counter import sdpa_flop_count

    def doubled(macs: Callable[[Any, Any], int]) -> Callable[..., int]:
        return lambda *shapes, out_shape, **_: 2 * macs(shapes, out_shape)

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    formulas = {name: doubled(macs) for name, macs in FURTHER.items()}
    formulas |= dict.fromkeys(ATTENTION, attention)
    aten = torch.ops.aten
    return {getattr(aten, name): one for name, one in formulas.items() if hasattr(aten, name)}
