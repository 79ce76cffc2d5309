"""Block-sparse layer on the CPU: float32 tensors -> the compiled kernels, with their gradients."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ccenv.sparse.cpu import kernels, sharing
from ccenv.sparse.cpu.buffers import new_result
from ccenv.sparse.cpu.codegen.floats import NONE, RELU, TANH
from ccenv.sparse.cpu.layer_gradients import gradients_of
from ccenv.sparse.cpu.once import once
from ccenv.sparse.cpu.packed_weights import panels_of
from ccenv.sparse.cpu.places import Sizes, Weights, address, sizes_of, weights_of

ACTIVATION_CODES = {None: NONE, "tanh": TANH, "relu": RELU}


def run_forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    activation: int,
    sizes: Sizes,
    *,
    is_training: bool,
) -> Tensor:
    """Calls the forward kernel on contiguous operands; weight is [out_features, in_features].

    Sizes: rows, input blocks, units of one, output blocks, units of one. A weight that is being
    trained is read in place: every step would make a copy out of date.
    """
    batch, in_blocks, in_size, out_blocks, out_size = sizes
    in_width, out_width = in_blocks * in_size, out_blocks * out_size
    y = new_result(batch, out_width)
    panels = None if is_training else panels_of(weight, out_blocks)
    if panels is None:
        weights = weights_of(weight, out_size)
    else:
        weights = Weights(panels, out_size, 1, in_width * out_size)
    held, of_input, of_output, panel = weights
    operands = (
        *(x.data_ptr(), held.data_ptr(), of_input, of_output, panel),
        *(address(bias), address(in_mask), address(out_mask), y.data_ptr()),
        *(in_blocks, in_size, out_blocks, out_size, activation, 1),
    )
    if torch.get_num_threads() == 1:
        kernels.forward(*operands, 0, batch, 0, out_blocks)
        return y
    work, macs_of_row = partial(kernels.forward, *operands), in_width * out_width
    if out_blocks == 1 or batch >= 2 * sharing.MIN_SHARED_ROWS:
        sharing.share_rows(lambda *rows: work(*rows, 0, out_blocks), batch, macs_of_row)
    else:
        # Few rows are not cut: each thread would read all weights.
        is_large = sharing.is_worth_sharing(batch * macs_of_row, in_mask, out_mask)
        sharing.share(partial(work, 0, batch), out_blocks, 1 if is_large else out_blocks)
    return y


class KernelLinear(torch.autograd.Function):
    """The kernels with their gradients; the gradient of the weight lies as the kernels read it."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        in_mask: Tensor | None,
        out_mask: Tensor | None,
        activation: int,
        sizes: Sizes,
    ) -> Tensor:
        """Runs the kernel and keeps what its gradients need."""
        y = run_forward(x, weight, bias, in_mask, out_mask, activation, sizes, is_training=True)
        ctx.save_for_backward(x, weight, in_mask, out_mask, y)
        ctx.activation, ctx.sizes, ctx.has_bias = activation, sizes, bias is not None
        return y

    @staticmethod
    @once
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias, those that are wanted."""
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        wanted = need_x, need_weight, need_bias and ctx.has_bias
        operands = *ctx.saved_tensors, grad_y.contiguous(), ctx.activation, ctx.sizes, wanted
        return *gradients_of(*operands), None, None, None, None


def kernel_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_mask: Tensor | None,
    out_mask: Tensor | None,
    activation: str | None,
    is_training: bool,
    sizes: Sizes | None = None,
) -> Tensor:
    """Computes only the pairs of blocks that each row keeps; arguments as `block_sparse_linear`.

    `is_training` says whether gradients are wanted, `sizes` what is known of them. float32 only;
    weights of an input may lie side by side, as `GatedMLP` keeps them, or those of an output, as
    `torch.nn.Linear` does: blocks that some row needs are then turned on their side, or read so, in
    every call. Others are copied.
    """
    x = x.contiguous()
    bias = None if bias is None else bias.contiguous()
    in_mask = None if in_mask is None else in_mask.contiguous()
    out_mask = None if out_mask is None else out_mask.contiguous()
    code = ACTIVATION_CODES[activation]
    if sizes is None:
        sizes = len(x), *sizes_of(x.shape[1], in_mask), *sizes_of(len(weight), out_mask)
    if not is_training:
        return run_forward(x, weight, bias, in_mask, out_mask, code, sizes, is_training=False)
    y: Tensor = KernelLinear.apply(x, weight, bias, in_mask, out_mask, code, sizes)
    return y
