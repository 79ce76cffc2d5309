"""Kinds of torch's operations: (operation) -> an elementwise product, free, or unknown.

An operation that no formula and no list knows is not taken for free: `ccenv.networks.counting`
refuses it. Free are views, copies, sums, comparisons, reductions, norms, activations and pooling.
"""

import functools
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tag
from torch._ops import OpOverload, OpOverloadPacket

Kind = Literal["product", "free", "unknown"]

PRODUCTS = frozenset(
    [
        *("mul", "multiply", "addcmul", "lerp", "prod", "cumprod", "linalg_cross"),
        *("upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d"),
        *("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "grid_sampler_2d"),
        *("grid_sampler_3d", "_grid_sampler_2d_cpu_fallback", "cudnn_grid_sampler"),
    ]
)
"""Elementwise products and interpolation: by convention not billed, but named in a warning."""

COPIES = frozenset(
    [
        *("_to_copy", "copy", "clone", "cat", "stack", "_stack", "_chunk_cat", "_unsafe_view"),
        *("constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d"),
        *("replication_pad1d", "replication_pad2d", "replication_pad3d", "repeat"),
        *("repeat_interleave", "flip", "roll", "rot90", "tril", "triu", "pixel_shuffle"),
        *("pixel_unshuffle", "channel_shuffle", "im2col", "col2im", "block_diag", "diag_embed"),
        *("select_scatter", "slice_scatter", "diagonal_scatter", "as_strided_scatter"),
        *("unsafe_split", "unsafe_split_with_sizes", "resize", "resize_as", "fill", "zero", "set"),
        *("lift", "_lazy_clone", "_pin_memory", "narrow_copy", "complex", "dequantize"),
        *("_local_scalar_dense", "_pack_padded_sequence", "_conj_physical", "bitwise_not"),
    ]
)
"""What moves, fills or converts numbers."""
LOOK_UPS = frozenset(
    [
        *("embedding", "_embedding_bag", "_embedding_bag_forward_only", "index", "_unsafe_index"),
        *("_unsafe_masked_index", "index_select", "index_put", "_index_put_impl", "index_copy"),
        *("_unsafe_index_put", "index_add", "index_fill", "index_reduce", "gather", "scatter"),
        *("scatter_add", "scatter_reduce", "take", "put", "masked_fill", "masked_scatter"),
        *("masked_select", "where", "max_unpool2d", "max_unpool3d", "upsample_nearest1d"),
        *("upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact1d"),
        *("_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "searchsorted", "bucketize"),
    ]
)
"""What reads or writes at places."""
REDUCTIONS = frozenset(
    [
        *("sum", "nansum", "mean", "amax", "amin", "aminmax", "_aminmax", "max", "min", "argmax"),
        *("argmin", "any", "all", "_is_all_true", "_is_any_true", "cumsum", "_cummax_helper"),
        *("_cummin_helper", "cummax", "cummin", "logsumexp", "logcumsumexp", "_logcumsumexp"),
        *("var", "var_mean", "std", "std_mean", "median", "nanmedian", "mode", "kthvalue", "sort"),
        *("topk", "_unique", "_unique2", "unique_dim", "unique_consecutive"),
        *("unique_dim_consecutive", "count_nonzero", "nonzero", "nonzero_static", "bincount"),
        *("histc", "isin", "trace", "segment_reduce", "dist", "linalg_vector_norm", "norm"),
        *("is_same_size", "equal", "_assert_async", "_assert_tensor_metadata", "isnan", "isinf"),
        *("_functional_assert_async", "_fused_sdp_choice", "allclose"),
    ]
)
"""Sums, extremes, orders, counts and comparisons."""
NORMS = frozenset(
    [
        *("native_layer_norm", "native_group_norm", "native_batch_norm", "_fused_rms_norm"),
        *("_native_batch_norm_legit", "_native_batch_norm_legit_no_training"),
        *("_native_batch_norm_legit_functional", "_batch_norm_with_update"),
        *("_batch_norm_no_update", "cudnn_batch_norm", "miopen_batch_norm", "batch_norm_elemt"),
        *("batch_norm_stats", "batch_norm_update_stats", "_weight_norm_interface", "renorm"),
        "embedding_renorm",
    ]
)
"""Norms, with the scale that they learn."""
ACTIVATIONS = frozenset(
    [
        *("_softmax", "_log_softmax", "_safe_softmax", "_masked_softmax", "softmax"),
        *("log_softmax", "glu", "_prelu_kernel", "hardswish", "hardsigmoid", "log_sigmoid_forward"),
        *("rrelu_with_noise", "gelu", "elu", "celu", "leaky_relu", "hardtanh", "mish", "softplus"),
        *("native_dropout", "_fused_dropout", "polar", "floor_divide"),
        *("_thnn_fused_lstm_cell", "_thnn_fused_gru_cell"),
    ]
)
"""Functions of single numbers, softmax and the gates of recurrent cells among them."""
POOLING = frozenset(
    [
        *("avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d"),
        *("_adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool3d"),
        *("max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool2d"),
        *("adaptive_max_pool3d", "fractional_max_pool2d", "fractional_max_pool3d"),
    ]
)
"""Averages and extremes of neighbours."""
MADE = frozenset(
    [
        *("arange", "zeros", "ones", "full", "eye", "linspace", "logspace", "rand", "randn"),
        *("randint", "randperm", "empty"),
        *("bernoulli", "multinomial", "normal", "uniform", "exponential", "random", "poisson"),
        *("geometric", "cauchy", "log_normal", "binomial", "_standard_gamma", "_sample_dirichlet"),
    ]
)
"""What comes from no operand: constants and random numbers."""
FREE = COPIES | LOOK_UPS | REDUCTIONS | NORMS | ACTIVATIONS | POOLING | MADE


def name_of(operation: OpOverload) -> str:
    """Its name without overload and underscore.

    >>> name_of(torch.ops.aten.relu_.default), name_of(torch.ops.aten.sum.dim_IntList)
    ('aten.relu', 'aten.sum')
    """
    return str(operation.overloadpacket).rstrip("_")


@functools.cache
def kind_without_formula(operation: OpOverload) -> Kind:
    """What an operation is that no formula counts."""
    space, _, name = name_of(operation).partition(".")
    if not any("Tensor" in str(one.type) for one in operation._schema.arguments):
        return "free"
    if space != "aten":
        return "unknown"
    if name in PRODUCTS:
        return "product"
    of_likes = name.endswith(("_like", "_copy")) or name.startswith("new_")
    is_free = name in FREE or of_likes or any(map(is_plain, relatives(operation)))
    return "free" if is_free else "unknown"


def is_plain(operation: OpOverload) -> bool:
    """Whether torch itself marks an operation as a view, or as working on single numbers."""
    return operation.is_view or Tag.pointwise in operation.tags


def relatives(operation: OpOverload) -> Iterator[OpOverload]:
    """Overloads of an operation, and of the one that it is the in-place form of.

    Torch marks `aten.relu` as working on single numbers, but not every `aten.relu_`.
    """
    name = name_of(operation).removeprefix("aten.")
    plain: Any = getattr(torch.ops.aten, name, None)
    for packet in (operation.overloadpacket, plain):
        if isinstance(packet, OpOverloadPacket):
            yield from (getattr(packet, overload) for overload in packet.overloads())
