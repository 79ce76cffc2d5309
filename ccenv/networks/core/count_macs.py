"""What a call costs: (function, inputs) -> multiply-accumulates by torch's own counter.

An operation that no formula and no list knows is not taken for free: it is refused. Free are views,
copies, sums, comparisons, reductions, norms, activations and pooling.
"""

import functools
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch
from torch import Tag, Tensor
from torch._ops import HigherOrderOperator, OpOverload, OpOverloadPacket
from torch.utils._python_dispatch import TorchDispatchMode

Kind = Literal["product", "free", "unknown"]


def names(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


PRODUCTS = names(
    """
    mul multiply addcmul lerp prod cumprod linalg_cross upsample_linear1d upsample_bilinear2d
    upsample_bicubic2d upsample_trilinear3d _upsample_bilinear2d_aa _upsample_bicubic2d_aa
    grid_sampler_2d grid_sampler_3d _grid_sampler_2d_cpu_fallback cudnn_grid_sampler
    """
)
"""Elementwise products and interpolation: by convention not billed, but named in a warning."""

FREE = names(
    """
    _to_copy copy clone cat stack _stack _chunk_cat _unsafe_view constant_pad_nd
    reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d
    replication_pad3d repeat repeat_interleave flip roll rot90 tril triu pixel_shuffle
    pixel_unshuffle channel_shuffle im2col col2im block_diag diag_embed select_scatter
    slice_scatter diagonal_scatter as_strided_scatter unsafe_split unsafe_split_with_sizes
    resize resize_as fill zero set lift _lazy_clone _pin_memory narrow_copy complex dequantize
    _local_scalar_dense _pack_padded_sequence _conj_physical bitwise_not
    embedding _embedding_bag _embedding_bag_forward_only index _unsafe_index
    _unsafe_masked_index index_select index_put _index_put_impl index_copy _unsafe_index_put
    index_add index_fill index_reduce gather scatter scatter_add scatter_reduce take put
    masked_fill masked_scatter masked_select where max_unpool2d max_unpool3d upsample_nearest1d
    upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d
    _upsample_nearest_exact3d searchsorted bucketize
    sum nansum mean amax amin aminmax _aminmax max min argmax argmin any all _is_all_true
    _is_any_true cumsum _cummax_helper _cummin_helper cummax cummin logsumexp logcumsumexp
    _logcumsumexp var var_mean std std_mean median nanmedian mode kthvalue sort topk _unique
    _unique2 unique_dim unique_consecutive unique_dim_consecutive count_nonzero nonzero
    nonzero_static bincount histc isin trace segment_reduce dist linalg_vector_norm norm
    is_same_size equal _assert_async _assert_tensor_metadata isnan isinf
    _functional_assert_async _fused_sdp_choice allclose
    native_layer_norm native_group_norm native_batch_norm _fused_rms_norm
    _native_batch_norm_legit _native_batch_norm_legit_no_training
    _native_batch_norm_legit_functional _batch_norm_with_update _batch_norm_no_update
    cudnn_batch_norm miopen_batch_norm batch_norm_elemt batch_norm_stats batch_norm_update_stats
    _weight_norm_interface renorm embedding_renorm
    _softmax _log_softmax _safe_softmax _masked_softmax softmax log_softmax glu _prelu_kernel
    hardswish hardsigmoid log_sigmoid_forward rrelu_with_noise gelu elu celu leaky_relu hardtanh
    mish softplus native_dropout _fused_dropout polar floor_divide _thnn_fused_lstm_cell
    _thnn_fused_gru_cell
    avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d
    _adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool3d max_pool2d_with_indices
    max_pool3d_with_indices adaptive_max_pool2d adaptive_max_pool3d fractional_max_pool2d
    fractional_max_pool3d
    arange zeros ones full eye linspace logspace rand randn randint randperm empty bernoulli
    multinomial normal uniform exponential random poisson geometric cauchy log_normal binomial
    _standard_gamma _sample_dirichlet
    """
)
"""Copies, look-ups, reductions, norms with their scale, activations, pooling and constants."""


def plain_name(operation: OpOverload) -> str:
    """Its name without overload and underscore.

    >>> plain_name(torch.ops.aten.relu_.default), plain_name(torch.ops.aten.sum.dim_IntList)
    ('aten.relu', 'aten.sum')
    """
    return str(operation.overloadpacket).rstrip("_")


def aten(name: str) -> OpOverloadPacket | None:
    """An operation of torch's, None where this version has none of the name."""
    operation: Any = getattr(torch.ops.aten, name, None)
    return operation if isinstance(operation, OpOverloadPacket) else None


@functools.cache
def kind_without_formula(operation: OpOverload) -> Kind:
    """What an operation is that no formula counts."""
    space, _, name = plain_name(operation).partition(".")
    if not any("Tensor" in str(one.type) for one in operation._schema.arguments):
        return "free"
    if space != "aten":
        return "unknown"
    if name in PRODUCTS:
        return "product"
    of_likes = name.endswith(("_like", "_copy")) or name.startswith("new_")
    is_free = name in FREE or of_likes or any(map(is_marked_free, relatives(operation)))
    return "free" if is_free else "unknown"


def is_marked_free(operation: OpOverload) -> bool:
    """Whether torch itself marks an operation as a view, or as working on single numbers."""
    return operation.is_view or Tag.pointwise in operation.tags


def relatives(operation: OpOverload) -> Iterator[OpOverload]:
    """Overloads of an operation, and of the one that it is the in-place form of.

    Torch marks `aten.relu` as working on single numbers, but not every `aten.relu_`.
    """
    plain = aten(plain_name(operation).removeprefix("aten."))
    for packet in (operation.overloadpacket, plain):
        if packet is not None:
            yield from (getattr(packet, overload) for overload in packet.overloads())


MOST_PRODUCTS = 0.01
"""Elementwise products over multiply-accumulates, from which a count that leaves them out is worth
a warning."""


class UncountedError(ValueError):
    """An operation whose multiply-accumulates are not known."""


@dataclass(frozen=True)
class Count:
    """What a call did."""

    macs: int
    """multiply-accumulates."""
    products: Mapping[str, int]
    """operation -> elementwise products, which MACs leave out."""
    result: Any
    """of the function."""


def counted(function: Callable[..., Any], *inputs: Any) -> tuple[int, Any]:
    """Multiply-accumulates of a call without gradients, and what it gave; see `count`."""
    counts = count(function, *inputs)
    return counts.macs, counts.result


def count(function: Callable[..., Any], *inputs: Any) -> Count:
    """Counts a call without gradients.

    Matrix products, convolutions, attention and recurrent layers count; biases, norms, activations,
    pooling and look-ups do not, nor do elementwise products, which are counted apart. What does not
    go through torch's operations (NumPy, kernels of one's own) is not seen.

    Raises:
        UncountedError: if an operation is neither known to be free nor has a formula.
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
    """Notes operations that torch's counter passes over: products, and unknown ones."""

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
        output = func(*args, **(kwargs or {}))
        if func.overloadpacket in self.counter.flop_registry:
            return output
        kind = kind_without_formula(func)
        if kind == "product" and not is_scaling(func, args):
            self.products[plain_name(func)] += max(output.numel(), args[0].numel())
        elif kind == "unknown":
            place = max(self.counter.mod_tracker.parents - {"Global"}, key=len, default="")
            self.unknown[f"{func.overloadpacket}{place and f' in {place}'}"] = None
        return output


def is_scaling(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether a product is one with a single number, as averages and temperatures are."""
    is_product = plain_name(func) in ("aten.mul", "aten.multiply")
    return is_product and not all(isinstance(one, Tensor) and one.ndim for one in args[:2])


def warn_of_products(counts: Count, stacklevel: int) -> None:
    """Names elementwise products that a network's MACs leave out, where they are many."""
    total = sum(counts.products.values())
    if total > MOST_PRODUCTS * counts.macs:
        named = ", ".join(f"{name}: {number:,}" for name, number in counts.products.items())
        warnings.warn(
            f"the MACs leave out {total:,} elementwise products for one input ({named}) next to "
            f"{counts.macs:,} multiply-accumulates: they are free by convention; write those that "
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
    # Of groups that lie side by side each row, or each column, meets one matrix.
    "_grouped_mm": lambda x, y: prod(x[0]) * x[1][-1] // (x[0][0] if len(x[0]) > len(x[1]) else 1),
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


def joint_shape(operands: Sequence[Any]) -> Sequence[int]:
    """Shape in which `aten._trilinear` multiplies: that of three tensors with dimensions added."""
    shapes = [list(shape) for shape in operands[:3]]
    for shape, places in zip(shapes, operands[3:6], strict=True):
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
    by_operation = {aten(name): one for name, one in formulas.items()}
    return {operation: one for operation, one in by_operation.items() if operation is not None}
