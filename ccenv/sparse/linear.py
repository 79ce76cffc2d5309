"""Entry point of block-sparse layers: (x, weight, bias, masks) -> act(x W + b) on kept blocks."""

import torch
from torch import Tensor

from ccenv.base.registry import check_names
from ccenv.base.values import shortened, shown
from ccenv.sparse import cpu
from ccenv.sparse.operands import as_autocast, check_operands, plainly_fit
from ccenv.sparse.reference import Activation, grouped_linear, reference_linear
from ccenv.sparse.routes import choose_route, on_gpu

ACTIVATIONS: dict[str, Activation] = {"tanh": torch.tanh, "relu": torch.relu}


def block_sparse_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_mask: Tensor | None = None,
    out_mask: Tensor | None = None,
    *,
    activation: str | Activation | None = None,
    backend: str = "auto",
) -> Tensor:
    """Linear layer on the blocks that the masks keep; skipped blocks are exactly zero.

    Differentiable in x, weight and bias. A block that no row keeps is not executed: its weights
    are not read and their gradient is zero (Bengio et al. 2015, section 4).

    Args:
        x: [batch, in_features] float; units of skipped input blocks are ignored, whatever they are.
        weight: [out_features, in_features], as in `torch.nn.Linear`.
        bias: [out_features] or None.
        in_mask: bool [batch, in_blocks], or None for all input blocks.
        out_mask: bool [batch, out_blocks], or None for all output blocks.
        activation: None, "tanh", "relu" or an elementwise function that maps 0 to 0.
        backend: "reference" computes everything and masks; "cpu" computes kept blocks only;
            "gpu" does so on a CUDA device; "auto" takes the device's own, or one dense product
            where that is expected to be faster (see `explain_backend`).

    Returns:
        [batch, out_features] of x's dtype; under `torch.autocast` of the dtype that it names.

    Raises:
        TypeError: if a tensor or mask has the wrong type.
        ValueError: if shapes, devices, dtypes, backend or activation do not fit.

    Example:
        >>> import ccenv, torch
        >>> x, weight = torch.ones(1, 4), torch.ones(4, 4)
        >>> out_mask = torch.tensor([[True, False]])
        >>> ccenv.block_sparse_linear(x, weight, None, out_mask=out_mask)
        tensor([[4., 4., 0., 0.]])
    """
    operands = as_autocast((x, weight, bias, in_mask, out_mask))
    sizes = plainly_fit(operands)
    if sizes is None:
        check_operands(operands)
    x, weight, bias, in_mask, out_mask = operands
    act = resolve_activation(activation, like=x)
    is_training = torch.is_grad_enabled() and (
        x.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    )
    route = choose_route(operands, backend, is_training=is_training, sizes=sizes)
    if route == "reference":
        return reference_linear(operands, act)
    if route == "grouped":
        return grouped_linear(operands, act)
    # A function of the user's runs on the result: it maps 0 to 0, so skipped blocks stay zero.
    fused = activation if isinstance(activation, str) else None
    y: Tensor
    if route == "kernels":
        y = cpu.kernel_linear(operands, fused, is_training, sizes)
    elif route == "triton":
        y = on_gpu("triton_linear")(operands, fused)
    elif route == "masked_dense" and x.is_cuda:
        y = on_gpu("dense_linear")(operands, fused)
    elif route == "masked_dense":
        y, fused = cpu.masked_dense_linear(operands, is_training=is_training), None
    else:
        y, fused = torch.nn.functional.linear(x, weight, bias), None
    return y if act is None or fused is not None else act(y)


def resolve_activation(
    activation: str | Activation | None, like: Tensor | None = None
) -> Activation | None:
    """Finds the activation and checks that it maps 0 to 0, so that a skipped unit stays 0.

    Args:
        activation: a name, an elementwise function, or None.
        like: a tensor whose dtype and device the function is tried on.

    Raises:
        TypeError: if it is neither a name nor a function.
        ValueError: if the name is unknown or the function moves 0.
    """
    if activation is None:
        return None
    if isinstance(activation, str):
        if activation not in ACTIVATIONS:
            check_names([activation], ACTIVATIONS, "activation")
        return ACTIVATIONS[activation]
    if not callable(activation):
        raise TypeError(f"expected activation to be a name or a function, got {shown(activation)}")
    try:
        with torch.no_grad():
            zeros = torch.zeros(2) if like is None else like.new_zeros(2)
            at_zero = float(activation(zeros).abs().max())
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise TypeError(
            f"expected activation to be an elementwise function, got {shown(activation)}, which "
            f"gives {type(error).__name__} for a zero: {shortened(str(error))}"
        ) from error
    if at_zero != 0.0:
        raise ValueError(
            f"expected an activation that maps 0 to 0, got {at_zero:g} at 0; "
            "a skipped block must stay zero: use tanh, relu or a function through the origin"
        )
    return activation
