"""What every way to compute a layer must do: drawn layers, and laws as assertions."""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
import torch

from ccenv.sparse.cpu import addresses
from ccenv.sparse.linear import block_sparse_linear, resolve_activation
from ccenv.sparse.reference import reference_linear

# Relative to the largest number; half precision is the rounding of operands' own format.
TOLERANCES = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.float16: 2e-3,
    torch.bfloat16: 1.6e-2,
}


@dataclass(frozen=True)
class Layer:
    """Operands of one call."""

    x: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor | None
    in_mask: torch.Tensor | None
    out_mask: torch.Tensor | None
    activation: str | Callable | None
    grad_y: torch.Tensor


def draw_layer(
    batch,
    ins,
    outs,
    densities,
    dtype=torch.float32,
    device="cpu",
    activation="tanh",
    in_major=True,
    seed=0,
):
    """ins and outs are (blocks, units of a block); a density is None for no mask."""
    generator = torch.Generator().manual_seed(seed)
    in_features, out_features = ins[0] * ins[1], outs[0] * outs[1]
    shapes = [(batch, in_features), (out_features, in_features), (out_features,)]
    x, weight, bias = (torch.randn(shape, generator=generator) for shape in shapes)
    masks = [
        None if density is None else torch.rand(batch, blocks, generator=generator) < density
        for density, (blocks, _) in zip(densities, (ins, outs), strict=True)
    ]
    grad_y = torch.randn(batch, out_features, generator=generator)
    x, weight, bias, grad_y = (
        t.to(dtype).to(device) for t in (x, weight / in_features**0.5, bias, grad_y)
    )
    if in_major:
        weight = weight.t().contiguous().t()
    masks = [None if mask is None else mask.to(device) for mask in masks]
    return Layer(x, weight, bias, *masks, activation, grad_y)


def run(layer, multiply):
    """Output and gradients of x, weight and, where there is one, bias."""
    wanted = [t for t in (layer.x, layer.weight, layer.bias) if t is not None]
    leaves = [t.detach().requires_grad_() for t in wanted]
    x, weight, bias = (*leaves, None)[:3]
    y = multiply(x, weight, bias, layer.in_mask, layer.out_mask, layer.activation)
    return [y.detach(), *torch.autograd.grad(y, leaves, layer.grad_y)]


def expected(layer):
    """The reference in float64."""
    wide = [t if t is None else t.double() for t in (layer.x, layer.weight, layer.bias)]
    exact = replace(layer, x=wide[0], weight=wide[1], bias=wide[2], grad_y=layer.grad_y.double())

    return run(exact, reference)


def reference(x, weight, bias, in_mask, out_mask, activation):
    operands = x, weight, bias, in_mask, out_mask
    return reference_linear(operands, resolve_activation(activation))


@contextmanager
def shared_by(threads, *, rows=512):
    """Everything that can be shared is shared between so many threads, rows by at least `rows`."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(addresses, "MIN_SHARED_ROWS", rows)
            patch.setattr(addresses, "MIN_SHARED_MACS", 0)
            patch.setattr(addresses, "MIN_SHARED_KEPT_MACS", 0)
            patch.setattr(addresses, "MIN_SHARED_UNITS", addresses.LINE)
            patch.setattr(addresses, "MIN_SHARED_GRADIENT_MACS", 0)
            yield
    finally:
        torch.set_num_threads(before)


def through(backend):
    """The front door by a backend."""

    def multiply(*operands):
        return block_sparse_linear(*operands[:5], activation=operands[5], backend=backend)

    return multiply


def assert_equal(tensors, wanted):
    """By bits."""
    assert all(torch.equal(one, other) for one, other in zip(tensors, wanted, strict=True))


def assert_close(tensors, wanted, dtype):
    for one, other in zip(tensors, wanted, strict=True):
        assert one.shape == other.shape
        assert one.dtype == dtype
        scale = max(1.0, other.abs().max().item()) if other.numel() else 1.0
        atol = TOLERANCES[dtype] * scale
        torch.testing.assert_close(one.double(), other.double(), rtol=0, atol=atol)


def assert_agrees(layer, multiply):
    tensors = run(layer, multiply)
    assert_close(tensors, expected(layer), layer.x.dtype)
    assert_exactly_zero_where_skipped(layer, tensors)
    return tensors


def assert_exactly_zero_where_skipped(layer, tensors):
    y, grad_x, grad_weight = tensors[:3]
    for mask, tensor in ((layer.out_mask, y), (layer.in_mask, grad_x)):
        if mask is not None:
            assert not tensor.unflatten(1, (mask.shape[1], -1))[~mask].any()
    if layer.in_mask is not None and layer.out_mask is not None:
        pairs = layer.out_mask.float().t() @ layer.in_mask.float() > 0
        assert not pair_blocks(layer, grad_weight)[~pairs].any()


def pair_blocks(layer, weight):
    """The weight as [out_blocks, in_blocks, out_size, in_size], a view."""
    outs, ins = layer.out_mask.shape[1], layer.in_mask.shape[1]
    return weight.unflatten(1, (ins, -1)).unflatten(0, (outs, -1)).transpose(1, 2)


def assert_rows_that_skip_a_block_do_not_meet_its_weights(layer, poison, multiply):
    """Input block 0 has bad weights: rows that keep it suffer, no other row notices."""
    size = layer.weight.shape[1] // layer.in_mask.shape[1]
    weight = layer.weight.clone()
    weight[:, :size] = poison
    clean, poisoned = run(layer, multiply), run(replace(layer, weight=weight), multiply)
    keeps = layer.in_mask[:, 0]
    assert keeps.any()
    assert not keeps.all()
    kept_outputs = layer.out_mask.repeat_interleave(
        layer.weight.shape[0] // layer.out_mask.shape[1], dim=1
    )
    wrong = ~torch.isfinite(poisoned[0]) & kept_outputs
    assert torch.equal(wrong, keeps[:, None] & kept_outputs)
    for tensor, wanted in zip(poisoned[:2], clean[:2], strict=True):
        close = {"rtol": 0, "atol": TOLERANCES[tensor.dtype] * 10}
        torch.testing.assert_close(tensor[~keeps], wanted[~keeps], **close)


def assert_what_nobody_keeps_changes_nothing(layer, multiply, by_bits=True):
    """Weights, biases and inputs that no row keeps may be anything, and so may their gradients.

    Where everything is multiplied, a sum that met them is made anew, and may be rounded otherwise.
    """
    in_mask, out_mask = layer.in_mask.clone(), layer.out_mask.clone()
    in_mask[:, -1] = out_mask[:, 0] = False
    layer = replace(layer, in_mask=in_mask, out_mask=out_mask)
    blocks = layer.in_mask.shape[1], layer.out_mask.shape[1]
    weight, bias = layer.weight.clone(), layer.bias.clone()
    weight[:, -(weight.shape[1] // blocks[0]) :] = torch.nan
    weight[: weight.shape[0] // blocks[1]] = torch.nan
    bias[: len(bias) // blocks[1]] = torch.nan
    x = layer.x.unflatten(1, (blocks[0], -1)).clone()
    x[~in_mask] = torch.nan
    grad_y = layer.grad_y.unflatten(1, (blocks[1], -1)).clone()
    grad_y[~out_mask] = torch.nan
    dirty = replace(layer, x=x.flatten(1), weight=weight, bias=bias, grad_y=grad_y.flatten(1))
    for tensor, wanted in zip(run(dirty, multiply), run(layer, multiply), strict=True):
        atol = 0 if by_bits else TOLERANCES[tensor.dtype] * 10
        torch.testing.assert_close(tensor, wanted, rtol=0, atol=atol)


def assert_an_empty_batch_gives_nothing(layer, multiply):
    """An empty result, and gradients of zero."""
    y, grad_x, grad_weight, grad_bias = run(layer, multiply)
    assert y.shape == (0, 24)
    assert grad_x.shape == (0, 32)
    assert not grad_weight.any()
    assert not grad_bias.any()


def spread(layer):
    """The same with tensors that lie apart in memory."""
    apart = {
        name: getattr(layer, name).repeat_interleave(2, dim=-1)[..., ::2]
        for name in ("x", "weight", "bias", "in_mask", "out_mask", "grad_y")
        if getattr(layer, name) is not None
    }
    return replace(layer, **apart)


def assert_repeats_are_equal_by_bits(layer, multiply, times=1):
    first = run(layer, multiply)
    for _ in range(times):
        for one, other in zip(run(layer, multiply), first, strict=True):
            assert torch.equal(one, other)


def assert_a_block_that_was_on_and_is_off_is_zero(layer, multiply):
    """All blocks are kept, then the last input block and the first output block are not."""
    in_mask, out_mask = torch.ones_like(layer.in_mask), torch.ones_like(layer.out_mask)
    assert run(replace(layer, in_mask=in_mask, out_mask=out_mask), multiply)[0].all()
    off = replace(layer, in_mask=in_mask.clone(), out_mask=out_mask.clone())
    off.in_mask[:, -1] = off.out_mask[:, 0] = False
    y, grad_x, grad_weight, grad_bias = run(off, multiply)
    ins = layer.weight.shape[1] // in_mask.shape[1]
    outs = layer.weight.shape[0] // out_mask.shape[1]
    for gone in (y[:, :outs], grad_x[:, -ins:], grad_weight[:outs], grad_weight[:, -ins:]):
        assert torch.equal(gone, torch.zeros_like(gone))
    assert not grad_bias[:outs].any()
