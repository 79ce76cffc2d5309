"""Gradients of a layer on the CPU: its operands, result and slopes -> those that are wanted."""

from functools import partial

import torch
from torch import Tensor

from ccenv.sparse.cpu import gradients, kernels
from ccenv.sparse.cpu import slopes as slope_kernels
from ccenv.sparse.cpu.buffers import new_result
from ccenv.sparse.cpu.codegen.floats import NONE
from ccenv.sparse.cpu.places import Sizes, Weights, address, sizes_of, weights_of
from ccenv.sparse.cpu.sharing import is_worth_sharing, share, share_units

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


def gradients_of(
    x: Tensor,
    weight: Tensor,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    y: Tensor,
    grad_y: Tensor,
    activation: int,
    sizes: Sizes,
    wanted: tuple[bool, bool, bool],
) -> Gradients:
    """Gradients of x, weight and bias; None where unwanted. All but the weight are contiguous."""
    need_x, need_weight, need_bias = wanted
    batch, in_blocks, in_size, out_blocks, out_size = sizes
    in_width, out_width = in_blocks * in_size, out_blocks * out_size
    weights = weights_of(weight, out_size)
    across = weights.of_output != 1
    grad_weight = None
    if need_weight:
        grad_weight = new_result(out_width, in_width) if across else new_result(in_width, out_width)
    grad_bias = torch.empty(out_width) if need_bias else None
    grad_x = new_result(batch, in_width) if need_x else None
    found = grad_x, grad_weight, grad_bias
    if torch.get_num_threads() == 1:
        held, of_input, of_output, _ = weights
        gradients.all_gradients(
            *(x.data_ptr(), held.data_ptr(), of_input, of_output),
            *(address(in_mask), address(out_mask), y.data_ptr(), grad_y.data_ptr()),
            *(address(grad_x), address(grad_weight), address(grad_bias)),
            *sizes,
            activation,
        )
    else:
        shared_gradients(x, weights, in_mask, out_mask, y, grad_y, activation, found)
    return grad_x, grad_weight if grad_weight is None or across else grad_weight.t(), grad_bias


def shared_gradients(
    x: Tensor,
    weights: Weights,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    y: Tensor,
    grad_y: Tensor,
    activation: int,
    found: Gradients,
) -> None:
    """Writes the same, bit for bit, in parts that threads may share."""
    grad_x, grad_weight, grad_bias = found
    if grad_weight is not None or grad_bias is not None:
        operands = x, in_mask, out_mask, y, grad_y, grad_weight, grad_bias
        run_weight_gradients(*operands, activation, across=weights.of_output != 1)
    if grad_x is not None:
        z = slopes(y, grad_y, out_mask, activation)
        run_transposed(z, weights, in_mask, out_mask, grad_x)


def run_weight_gradients(
    x: Tensor,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    y: Tensor,
    grad_y: Tensor,
    grad_weight: Tensor | None,
    grad_bias: Tensor | None,
    activation: int,
    *,
    across: bool,
) -> None:
    """Writes the gradients of weight and bias; those of the weight output by output if `across`."""
    (batch, in_width), out_width = x.shape, y.shape[1]
    work = partial(
        gradients.weight_gradients,
        *(x.data_ptr(), int(across), address(in_mask), address(out_mask)),
        *(y.data_ptr(), grad_y.data_ptr(), address(grad_weight), address(grad_bias)),
        *(batch, *sizes_of(in_width, in_mask), *sizes_of(out_width, out_mask), activation),
    )
    share_units(work, in_width, batch * out_width)


def slopes(y: Tensor, grad_y: Tensor, out_mask: Tensor | None, activation: int) -> Tensor:
    """Gradients before the activation, where blocks are kept; anything elsewhere."""
    if activation == NONE:
        return grad_y
    z, sizes = new_result(*y.shape), sizes_of(y.shape[1], out_mask)
    addresses = y.data_ptr(), grad_y.data_ptr(), z.data_ptr(), address(out_mask)
    slope_kernels.slope_blocks(*addresses, len(y), *sizes, activation)
    return z


def run_transposed(
    z: Tensor, weights: Weights, in_mask: Tensor | None, out_mask: Tensor | None, grad_x: Tensor
) -> None:
    """Writes the inputs' gradient: the layer backwards, whose outputs are this one's inputs.

    Weights that lie output by output lie input by input for it, as the kernels read them fastest;
    others are turned, which takes a fraction of what dot products along them took.
    """
    (batch, in_width), out_width = grad_x.shape, z.shape[1]
    in_blocks, in_size = sizes_of(in_width, in_mask)
    work = partial(
        kernels.forward,
        *(z.data_ptr(), weights.held.data_ptr(), weights.of_output, weights.of_input),
        *(in_size * weights.of_input, 0, address(out_mask), address(in_mask), grad_x.data_ptr()),
        *(*sizes_of(out_width, out_mask), in_blocks, in_size, NONE, 1, 0, batch),
    )
    # Never by rows: gradients do not depend on the number of threads.
    is_large = is_worth_sharing(batch * in_width * out_width, in_mask, out_mask)
    share(work, in_blocks, 1 if is_large else in_blocks)
