"""Block-sparse layer on the CPU: float32 tensors -> the compiled kernels, with their gradients."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from ccenv.sparse.buffers import new_result, panels_of
from ccenv.sparse.cpu import addresses, gradients, kernels
from ccenv.sparse.cpu.addresses import (
    Gradients,
    Kept,
    Weights,
    address,
    differentiable_layer,
    is_worth_sharing,
    share_parts,
    share_rows,
    share_units,
    weights_of,
)
from ccenv.sparse.cpu.codegen.floats import NONE, RELU, TANH
from ccenv.sparse.cpu.elementwise_kernels import slope_blocks
from ccenv.sparse.operands import Operands, Sizes, layer_sizes, side_sizes


def gradients_of(
    kept: Kept, grad_y: Tensor, wanted: Sequence[bool], activation: int, sizes: Sizes
) -> Gradients:
    """Gradients of x, weight and bias, those that are wanted; x and masks are contiguous."""
    x, weight, in_mask, out_mask, y = kept
    need_x, need_weight, need_bias = wanted[:3]
    grad_y = grad_y.contiguous()
    batch, in_blocks, in_size, out_blocks, out_size = sizes
    in_width, out_width = in_blocks * in_size, out_blocks * out_size
    weights = weights_of(weight, out_size)
    across = weights.of_output != 1
    grad_weight = None
    if need_weight:
        grad_weight = new_result(out_width, in_width) if across else new_result(in_width, out_width)
    grad_bias = torch.empty(out_width) if need_bias else None
    grad_x = new_result(batch, in_width) if need_x else None
    grads = grad_x, grad_weight, grad_bias
    if torch.get_num_threads() == 1:
        places = map(address, (in_mask, out_mask, y, grad_y, *grads))
        layer = x.data_ptr(), weights.held.data_ptr(), *weights[1:3], *places, *sizes
        gradients.all_gradients(*layer, activation)
    else:
        shared_gradients(kept, weights, grad_y, grads, activation, sizes)
    return grad_x, grad_weight if grad_weight is None or across else grad_weight.t(), grad_bias


def shared_gradients(
    kept: Kept, weights: Weights, grad_y: Tensor, wanted: Gradients, activation: int, sizes: Sizes
) -> None:
    """Writes the wanted ones, bit for bit as `all_gradients`, in parts that threads may share."""
    x, _, in_mask, out_mask, y = kept
    grad_x, grad_weight, grad_bias = wanted
    if grad_weight is not None or grad_bias is not None:
        places = map(address, (in_mask, out_mask, y, grad_y, grad_weight, grad_bias))
        across = int(weights.of_output != 1)
        numbers = x.data_ptr(), across, *places, *sizes, activation
        addresses = gradients.GradientAddresses._make(numbers)
        work = partial(gradients.weight_gradients, addresses)
        share_units(work, x.shape[1], len(x) * y.shape[1])
    if grad_x is not None:
        z = slopes(y, grad_y, out_mask, activation)
        run_transposed(z, weights, in_mask, out_mask, grad_x)


def slopes(y: Tensor, grad_y: Tensor, out_mask: Tensor | None, activation: int) -> Tensor:
    """Gradients before the activation, where blocks are kept; anything elsewhere."""
    if activation == NONE:
        return grad_y
    z, sizes = new_result(*y.shape), side_sizes(y.shape[1], out_mask)
    addresses = y.data_ptr(), grad_y.data_ptr(), z.data_ptr(), address(out_mask)
    slope_blocks(*addresses, len(y), *sizes, activation)
    return z


def run_transposed(
    z: Tensor, weights: Weights, in_mask: Tensor | None, out_mask: Tensor | None, grad_x: Tensor
) -> None:
    """Writes the inputs' gradient: the layer backwards, whose outputs are this one's inputs.

    Weights that lie output by output lie input by input for it, as the kernels read them fastest;
    others are turned, which takes a fraction of what dot products along them took.
    """
    (batch, in_width), out_width = grad_x.shape, z.shape[1]
    in_blocks, in_size = side_sizes(in_width, in_mask)
    held, of_input, of_output, _ = weights
    turned = held.data_ptr(), of_output, of_input, in_size * of_input
    places = map(address, (None, out_mask, in_mask, grad_x))
    sizes = *side_sizes(out_width, out_mask), in_blocks, in_size
    work = partial(kernels.multiply_kept, z.data_ptr(), *turned, *places, *sizes, NONE, 1, 0, batch)
    # Never by rows: gradients do not depend on the number of threads.
    is_large = is_worth_sharing(batch * in_width * out_width, in_mask, out_mask)
    share_parts(work, in_blocks, 1 if is_large else in_blocks)


ACTIVATION_CODES = {None: NONE, "tanh": TANH, "relu": RELU}


def run_forward(operands: Operands, activation: int, sizes: Sizes, *, is_training: bool) -> Tensor:
    """Calls the forward kernel on contiguous operands; weight is [out_features, in_features].

    Sizes: rows, input blocks, units of one, output blocks, units of one. A weight that is being
    trained is read in place: every step would make a copy out of date.
    """
    x, weight, bias, in_mask, out_mask = operands
    batch, in_blocks, in_size, out_blocks, out_size = sizes
    in_width, out_width = in_blocks * in_size, out_blocks * out_size
    y = new_result(batch, out_width)
    panels = None if is_training else panels_of(weight, out_blocks)
    if panels is None:
        weights = weights_of(weight, out_size)
    else:
        weights = Weights(panels, out_size, 1, in_width * out_size)
    held, of_input, of_output, panel = weights
    places = address(bias), address(in_mask), address(out_mask), y.data_ptr()
    of_weight = held.data_ptr(), of_input, of_output, panel
    layer = (x.data_ptr(), *of_weight, *places, *sizes[1:], activation, 1)
    if torch.get_num_threads() == 1:
        kernels.multiply_kept(*layer, 0, batch, 0, out_blocks)
        return y
    work = partial(kernels.multiply_kept, *layer)
    macs_of_row = in_width * out_width
    if out_blocks == 1 or batch >= 2 * addresses.MIN_SHARED_ROWS:
        share_rows(lambda *rows: work(*rows, 0, out_blocks), batch, macs_of_row)
    else:
        # Few rows are not cut: each thread would read all weights.
        is_large = is_worth_sharing(batch * macs_of_row, in_mask, out_mask)
        share_parts(partial(work, 0, batch), out_blocks, 1 if is_large else out_blocks)
    return y


def run_linear(
    operands: Operands, activation: int, sizes: Sizes
) -> tuple[Tensor, Kept, tuple[int, Sizes]]:
    """The kernel's result, with what `gradients_of` needs."""
    y = run_forward(operands, activation, sizes, is_training=True)
    x, weight, _, in_mask, out_mask = operands
    return y, (x, weight, in_mask, out_mask, y), (activation, sizes)


trained = differentiable_layer(run_linear, gradients_of)


def kernel_linear(
    operands: Operands, activation: str | None, is_training: bool, sizes: Sizes | None = None
) -> Tensor:
    """Computes only the pairs of blocks that each row keeps, as `block_sparse_linear`.

    `is_training` says whether gradients are wanted, `sizes` what is known of them. float32 only;
    weights of an input may lie side by side, as `GatedMLP` keeps them, or those of an output, as
    `torch.nn.Linear` does: blocks that some row needs are then turned on their side, or read so, in
    every call. Others are copied.
    """
    x, weight, bias, in_mask, out_mask = operands
    bias = None if bias is None else bias.contiguous()
    in_mask = None if in_mask is None else in_mask.contiguous()
    out_mask = None if out_mask is None else out_mask.contiguous()
    packed = x.contiguous(), weight, bias, in_mask, out_mask
    code, sizes = ACTIVATION_CODES[activation], sizes or layer_sizes(operands)
    if not is_training:
        return run_forward(packed, code, sizes, is_training=False)
    return trained(packed, code, sizes)
