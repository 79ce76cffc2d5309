"""Laws of convolutions on channel groups: every route means the same, and skips what is skipped."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sparse_layers import assert_equal, shared_by

from ccenv.sparse.conv2d import NEARLY_DENSE, block_sparse_conv2d, choose_conv_route, used_weights
from ccenv.sparse.cpu import conv_layer


@st.composite
def convolutions(draw):
    """Operands, gradient of the output, and the settings of a small convolution."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    batch, in_blocks, out_blocks = (draw(st.sampled_from(s)) for s in ((0, 1, 5), (1, 3), (1, 4)))
    in_size, out_size = draw(st.sampled_from([1, 3, 4])), draw(st.sampled_from([1, 4, 9, 16]))
    height, width = draw(st.sampled_from([1, 6, 17])), draw(st.sampled_from([1, 8, 16, 21]))
    kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    padding = draw(st.integers(kernel // 2, 3))
    density = draw(st.sampled_from([0.0, 0.3, 1.0]))

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    masks = [torch.rand(batch, n, generator=generator) < density for n in (in_blocks, out_blocks)]
    return {
        "x": random(batch, in_blocks * in_size, height, width),
        "weight": random(out_blocks * out_size, in_blocks * in_size, kernel, kernel),
        "bias": random(out_blocks * out_size) if draw(st.booleans()) else None,
        "in_mask": masks[0] if draw(st.booleans()) else None,
        "out_mask": masks[1] if draw(st.booleans()) else None,
        "stride": stride,
        "padding": padding,
        "activation": draw(st.sampled_from([None, "relu", "tanh"])),
    }


def values_and_gradients(operands, compute, dtype=torch.float32):
    """Output and the gradients of a sum of its squares, in float32."""
    named = {k: v for k, v in operands.items() if k in ("x", "weight", "bias") and v is not None}
    leaves = {k: v.to(dtype, copy=True).requires_grad_(True) for k, v in named.items()}
    y = compute(**{**operands, **leaves})
    found = torch.autograd.grad(y.square().sum(), list(leaves.values()))
    return [t.float() for t in (y, *found)]


def assert_close(expected, found):
    """Equal but for float32's rounding of sums, whose terms are as large as the largest entry."""
    largest = max([1.0, *expected.detach().abs().flatten().tolist()])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * largest)


def with_backend(backend):
    return lambda **operands: block_sparse_conv2d(**operands, backend=backend)


def by_kernels(**operands):
    values = tuple(operands.values())
    return conv_layer.kernel_conv2d(values[:5], *values[5:], is_training=True)


@given(convolutions())
@settings(max_examples=60)
def test_kernels_and_groups_equal_the_reference_with_all_gradients(operands):
    expected = values_and_gradients(operands, with_backend("reference"), torch.float64)
    for compute, dtype in (
        (by_kernels, torch.float32),
        (with_backend("auto"), torch.float32),
        (with_backend("cpu"), torch.float64),
    ):
        for a, b in zip(expected, values_and_gradients(operands, compute, dtype), strict=True):
            assert_close(a, b)


def operands_of(batch=6, generator=None):
    generator = generator or torch.Generator().manual_seed(0)
    masks = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0]] * 2, dtype=torch.bool)[:batch]
    return {
        "x": torch.randn(batch, 32, 10, 10, generator=generator),
        "weight": torch.randn(16, 32, 3, 3, generator=generator),
        "bias": torch.randn(16, generator=generator),
        "in_mask": masks.roll(1, 0).contiguous(),
        "out_mask": masks,
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_of_a_group_that_nobody_keeps_are_not_read_and_get_no_gradient(dtype):
    operands = operands_of() | {"stride": 1, "padding": 1, "activation": "relu"}
    clean = values_and_gradients(operands, with_backend("cpu"), dtype)
    spoiled = {k: operands[k].clone() for k in ("x", "weight", "bias")}
    spoiled["weight"][8:] = spoiled["weight"][:, 16:] = spoiled["bias"][8:] = torch.nan
    spoiled["x"].unflatten(1, (4, 8))[~operands["in_mask"]] = torch.nan
    for backend in ("cpu", "auto"):
        assert_equal(values_and_gradients(operands | spoiled, with_backend(backend), dtype), clean)
    assert not bool(clean[2][8:].any())
    assert not bool(clean[2][:, 16:].any())


def test_kernels_do_not_read_pairs_that_an_image_does_not_keep():
    operands = operands_of(2)
    weight = operands["weight"].clone()
    # The first image keeps input group 1 and output group 0, the second 0 and 1.
    weight[:4, :8] = weight[4:8, 8:16] = torch.nan
    expected = block_sparse_conv2d(**operands, padding=1)
    assert torch.equal(block_sparse_conv2d(**operands | {"weight": weight}, padding=1), expected)


def test_strips_of_large_maps_fit_together():
    generator = torch.Generator().manual_seed(0)
    operands = {
        "x": torch.randn(1, 12, 70, 65, generator=generator),
        "weight": torch.randn(8, 12, 3, 3, generator=generator),
        "bias": None,
        "in_mask": torch.ones(1, 1, dtype=torch.bool),
        "out_mask": torch.ones(1, 2, dtype=torch.bool),
        "stride": 1,
        "padding": 1,
        "activation": None,
    }
    expected = values_and_gradients(operands, with_backend("reference"))
    for a, b in zip(expected, values_and_gradients(operands, with_backend("cpu")), strict=True):
        assert_close(a, b)


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch):
    operands = operands_of() | {"stride": 1, "padding": 1, "activation": "relu"}
    one = values_and_gradients(operands, by_kernels)
    monkeypatch.setattr(conv_layer, "MIN_SHARED_MACS", 0)
    with shared_by(2, rows=1):
        assert_equal(values_and_gradients(operands, by_kernels), one)


def test_unused_weights_of_a_dense_convolution_are_zero():
    operands = operands_of()
    used = used_weights(torch.full((16, 32, 3, 3), torch.nan), None, operands["out_mask"])
    assert not bool(used[8:].any())
    assert bool(used[:8].isnan().all())
    used = used_weights(operands["weight"], operands["in_mask"], operands["out_mask"])
    assert torch.equal(used[:8, :16], operands["weight"][:8, :16])
    assert not bool(used[:, 16:].any())


def test_auto_takes_kernels_where_little_is_kept_and_one_convolution_where_nearly_all_is():
    x, weight = torch.zeros(8, 32, 4, 4), torch.zeros(16, 32, 3, 3)
    full = torch.ones(8, 4, dtype=torch.bool)
    nearly = full.clone()
    nearly[0, 0] = False
    some = nearly & (torch.arange(4) < 2)
    assert NEARLY_DENSE < 31 / 32

    def route(*masks, backend="auto"):
        return choose_conv_route((x, weight, None, *masks), backend)

    assert [route(full, m) for m in (full, nearly, some)] == ["dense", "masked_dense", "kernels"]
    assert route(None, None) == "dense"
    assert route(full, nearly, backend="cpu") == "kernels"
    assert route(full, some, backend="reference") == "reference"
    x, weight = x.double(), weight.double()
    assert route(full, some) == "grouped"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": torch.zeros(6, 31, 10, 10)}, r"x \[batch, in_channels"),
        ({"weight": torch.zeros(16, 32, 3, 2)}, "square kernel"),
        ({"weight": torch.zeros(16, 32, 13, 13)}, "fits maps"),
        ({"bias": torch.zeros(3)}, r"bias \[16\]"),
        ({"out_mask": torch.ones(6, 3, dtype=torch.bool)}, "multiple of the 3 blocks"),
        ({"in_mask": torch.ones(5, 4, dtype=torch.bool)}, "in_mask"),
        ({"weight": torch.zeros(16, 32, 3, 3, dtype=torch.float64)}, "one floating dtype"),
    ],
)
def test_operands_that_do_not_fit_are_refused(changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        block_sparse_conv2d(**operands_of() | changes)
