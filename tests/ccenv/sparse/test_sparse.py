"""Block-sparse layers: the kernel is the reference, and a skipped block is not executed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.sparse.linear import block_sparse_linear
from ccenv.sparse.operands import check_operands, plainly_fit

# (in_features, in_blocks, out_features, out_blocks); the last two are odd.
SIZES = [(16, 4, 24, 3), (8, 1, 8, 8), (21, 7, 15, 5), (39, 13, 33, 3)]
DENSITIES = [0.0, 1 / 16, 0.5, 1.0]
ACTIVATIONS = [None, "tanh", "relu", torch.sin]


def draw(size, batch, seed=0, dtype=torch.float32):
    """Operands that need gradients: x, weight, bias."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, size[0]), (size[2], size[0]), (size[2],)]
    return [torch.randn(s, generator=generator, dtype=dtype).requires_grad_() for s in shapes]


def draw_mask(batch, num_blocks, density, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, num_blocks, generator=generator) < density


def run(operands, in_mask, out_mask, activation, backend):
    """Output and gradients of one pass, with a fixed gradient coming in."""
    x, weight, bias = operands
    y = block_sparse_linear(
        x, weight, bias, in_mask, out_mask, activation=activation, backend=backend
    )
    incoming = torch.randn(y.shape, generator=torch.Generator().manual_seed(9), dtype=y.dtype)
    wanted = [operand for operand in operands if operand is not None]
    return [y.detach(), *torch.autograd.grad(y, wanted, incoming)]


def assert_same(left, right, tolerance=1e-5):
    for a, b in zip(left, right, strict=True):
        scale = max(1.0, b.abs().max().item()) if b.numel() else 1.0
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("batch", [1, 7, 33])
@pytest.mark.parametrize("out_density", DENSITIES)
@pytest.mark.parametrize("in_density", [None, *DENSITIES])
def test_the_kernel_equals_the_reference_in_outputs_and_all_gradients(
    size, batch, out_density, in_density
):
    in_mask = None if in_density is None else draw_mask(batch, size[1], in_density, 1)
    out_mask = draw_mask(batch, size[3], out_density, 2)
    for activation in ACTIVATIONS:
        for has_bias in (True, False):
            operands = draw(size, batch)
            operands = operands if has_bias else [*operands[:2], None]
            kernel = run(operands, in_mask, out_mask, activation, "cpu")
            assert_same(kernel, run(operands, in_mask, out_mask, activation, "reference"))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("in_density", [None, *DENSITIES])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_kernel_equals_the_reference_when_every_output_is_computed(
    size, in_density, activation
):
    in_mask = None if in_density is None else draw_mask(7, size[1], in_density, 1)
    for bias in (True, False):
        operands = draw(size, 7) if bias else [*draw(size, 7)[:2], None]
        kernel = run(operands, in_mask, None, activation, "cpu")
        assert_same(kernel, run(operands, in_mask, None, activation, "reference"))


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_kernel_equals_the_reference_for_any_masks(data):
    in_blocks, out_blocks, in_size, out_size, batch = (
        data.draw(st.integers(1, high)) for high in (5, 5, 4, 4, 6)
    )
    bits = st.booleans()
    in_mask = torch.tensor([[data.draw(bits) for _ in range(in_blocks)] for _ in range(batch)])
    out_mask = torch.tensor([[data.draw(bits) for _ in range(out_blocks)] for _ in range(batch)])
    size = (in_blocks * in_size, in_blocks, out_blocks * out_size, out_blocks)
    kernel = run(draw(size, batch), in_mask, out_mask, "tanh", "cpu")
    assert_same(kernel, run(draw(size, batch), in_mask, out_mask, "tanh", "reference"))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("masks", ["both", "out", "in", "none"])
def test_gradients_are_those_of_finite_differences(backend, masks):
    size, batch = (6, 3, 8, 4), 3
    in_mask = draw_mask(batch, 3, 0.5, 1) if masks in ("both", "in") else None
    out_mask = draw_mask(batch, 4, 0.5, 2) if masks in ("both", "out") else None

    def layer(x, weight, bias):
        return block_sparse_linear(
            x, weight, bias, in_mask, out_mask, activation="tanh", backend=backend
        )

    assert torch.autograd.gradcheck(layer, draw(size, batch, dtype=torch.float64))


@pytest.mark.parametrize("backend", ["auto", "cpu", "reference"])
def test_a_skipped_output_is_exactly_zero_and_a_kept_one_is_the_dense_product(backend):
    x, weight, bias = (operand.detach() for operand in draw(SIZES[0], 7))
    out_mask = draw_mask(7, 3, 0.5, 2)
    y = block_sparse_linear(x, weight, bias, None, out_mask, activation="tanh", backend=backend)
    units = out_mask.repeat_interleave(8, dim=1)
    assert (y[~units] == 0).all()
    dense = torch.tanh(x @ weight.t() + bias)
    torch.testing.assert_close(y[units], dense[units])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_weights_of_an_output_block_that_nobody_keeps_are_not_read(activation):
    x, weight, bias = draw(SIZES[0], 7)
    out_mask = draw_mask(7, 3, 0.7, 2)
    out_mask[:, 1] = False
    healthy = run([x, weight, bias], None, out_mask, activation, "cpu")
    with torch.no_grad():
        weight[8:16], bias[8:16] = torch.nan, torch.nan
    poisoned = run([x, weight, bias], None, out_mask, activation, "cpu")
    assert all(torch.equal(a, b) for a, b in zip(healthy, poisoned, strict=True))
    assert (poisoned[2][8:16] == 0).all()
    assert (poisoned[3][8:16] == 0).all()


@pytest.mark.parametrize("has_out_mask", [True, False])
def test_weights_of_an_input_block_that_nobody_keeps_are_not_read(has_out_mask):
    x, weight, bias = draw(SIZES[0], 7)
    in_mask = draw_mask(7, 4, 0.7, 1)
    in_mask[:, 2] = False
    out_mask = draw_mask(7, 3, 0.5, 2) if has_out_mask else None
    healthy = run([x, weight, bias], in_mask, out_mask, "tanh", "cpu")
    with torch.no_grad():
        weight[:, 8:12] = torch.nan
    poisoned = run([x, weight, bias], in_mask, out_mask, "tanh", "cpu")
    assert all(torch.equal(a, b) for a, b in zip(healthy, poisoned, strict=True))
    assert (poisoned[2][:, 8:12] == 0).all()


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("has_out_mask", [True, False])
def test_units_of_skipped_input_blocks_are_ignored_whatever_they_are(backend, has_out_mask):
    x, weight, bias = draw(SIZES[0], 7)
    in_mask = draw_mask(7, 4, 0.5, 1)
    out_mask = draw_mask(7, 3, 0.5, 2) if has_out_mask else None
    healthy = run([x, weight, bias], in_mask, out_mask, "tanh", backend)
    with torch.no_grad():
        x[~in_mask.repeat_interleave(4, dim=1)] = torch.nan
    poisoned = run([x, weight, bias], in_mask, out_mask, "tanh", backend)
    assert all(torch.equal(a, b) for a, b in zip(healthy, poisoned, strict=True))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_where_no_input_is_kept_the_layer_sees_its_bias_only(backend):
    x, weight, bias = draw(SIZES[0], 7)
    nothing, everything = torch.zeros(7, 4, dtype=torch.bool), torch.ones(7, 3, dtype=torch.bool)
    for out_mask in (everything, None):
        y = block_sparse_linear(x, weight, bias, nothing, out_mask, backend=backend)
        assert torch.equal(y, bias.expand(7, -1))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_empty_batch_gives_an_empty_result_and_zero_gradients(backend, activation):
    in_mask, out_mask = (torch.zeros(0, n, dtype=torch.bool) for n in (4, 3))
    for masks in ((in_mask, out_mask), (None, out_mask), (in_mask, None), (None, None)):
        y, grad_x, grad_weight, grad_bias = run(draw(SIZES[0], 0), *masks, activation, backend)
        assert y.shape == (0, 24)
        assert grad_x.shape == (0, 16)
        assert not grad_weight.any()
        assert not grad_bias.any()


@pytest.mark.parametrize("in_density", [None, 0.5])
@pytest.mark.parametrize("out_density", [None, 0.5])
@pytest.mark.parametrize("activation", [None, "tanh"])
def test_the_layout_of_tensors_in_memory_changes_nothing(in_density, out_density, activation):
    in_mask = None if in_density is None else draw_mask(7, 4, in_density, 1)
    out_mask = None if out_density is None else draw_mask(7, 3, out_density, 2)
    x, weight, bias = (operand.detach() for operand in draw(SIZES[0], 7))
    strided = [
        x.t().contiguous().t().requires_grad_(),
        weight.t().contiguous().t().requires_grad_(),
        bias.repeat_interleave(2)[::2].requires_grad_(),
    ]
    masks = [m if m is None else m.t().contiguous().t() for m in (in_mask, out_mask)]
    incoming = torch.randn(24, 7).t()

    def gradients(operands, masks, incoming):
        y = block_sparse_linear(*operands, *masks, activation=activation, backend="cpu")
        return [y.detach(), *torch.autograd.grad(y, operands, incoming)]

    plain = [operand.clone().requires_grad_() for operand in (x, weight, bias)]
    expected = gradients(plain, (in_mask, out_mask), incoming.contiguous())
    assert_same(gradients(strided, masks, incoming), expected)


def test_the_gradient_of_a_sum_flows_although_it_is_one_number_expanded():
    x, weight, bias = draw(SIZES[0], 7)
    out_mask = draw_mask(7, 3, 0.5, 2)
    for backend in ("cpu", "reference"):
        block_sparse_linear(x, weight, bias, None, out_mask, backend=backend).sum().backward()
    assert_same([bias.grad / 2], [out_mask.sum(dim=0).repeat_interleave(8).float()])


@pytest.mark.parametrize("masks", ["both", "in", "out"])
def test_repeated_calls_are_equal_bit_for_bit(masks):
    in_mask = draw_mask(33, 13, 0.5, 1) if masks != "out" else None
    out_mask = draw_mask(33, 3, 0.5, 2) if masks != "in" else None
    first, second = (run(draw(SIZES[3], 33), in_mask, out_mask, "tanh", "cpu") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("needed", [0, 1, 2])
def test_one_operand_alone_may_need_a_gradient(needed):
    in_mask, out_mask = draw_mask(7, 4, 0.5, 1), draw_mask(7, 3, 0.5, 2)
    expected = run(draw(SIZES[0], 7), in_mask, out_mask, "relu", "reference")[1 + needed]
    operands = [operand.detach() for operand in draw(SIZES[0], 7)]
    operands[needed].requires_grad_()
    y = block_sparse_linear(*operands, in_mask, out_mask, activation="relu", backend="cpu")
    incoming = torch.randn(y.shape, generator=torch.Generator().manual_seed(9))
    assert_same(torch.autograd.grad(y, operands[needed], incoming), [expected])


def operands_of(**changes):
    x, weight, bias = (operand.detach() for operand in draw(SIZES[0], 7))
    given = {"x": x, "weight": weight, "bias": bias, "in_mask": None, "out_mask": None}
    return given | changes


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": np.zeros((7, 16))}, TypeError, "expected x to be a tensor, got ndarray"),
        ({"weight": [[1.0]]}, TypeError, "expected weight to be a tensor, got list"),
        ({"bias": 0.0}, TypeError, "expected bias to be a tensor, got float"),
        ({"x": torch.zeros(16)}, ValueError, r"got \[16\] and \[24, 16\]"),
        ({"x": torch.zeros(7, 15)}, ValueError, r"got \[7, 15\] and \[24, 16\]"),
        ({"bias": torch.zeros(23)}, ValueError, r"expected bias \[24\], got \[23\]"),
        ({"x": torch.zeros(7, 16).double()}, TypeError, "one floating dtype"),
        ({"x": torch.zeros(7, 16).long()}, TypeError, "one floating dtype"),
        ({"out_mask": torch.ones(7, 3)}, TypeError, r"out_mask to be a bool .* use out_mask.bool"),
        ({"in_mask": torch.ones(7, 4).int()}, TypeError, "in_mask to be a bool"),
        ({"out_mask": [[True]]}, TypeError, "got list"),
        ({"out_mask": torch.ones(6, 3).bool()}, ValueError, r"out_mask of shape \[7, num_blocks\]"),
        ({"in_mask": torch.ones(4).bool()}, ValueError, r"in_mask of shape \[7, num_blocks\]"),
        ({"in_mask": torch.ones(7, 0).bool()}, ValueError, r"got \[7, 0\]"),
        ({"in_mask": torch.ones(7, 5).bool()}, ValueError, "multiple of the 5 blocks of in_mask"),
        ({"out_mask": torch.ones(7, 5).bool()}, ValueError, "multiple of the 5 blocks of out_mask"),
        ({"out_mask": torch.ones(7, 3, device="meta").bool()}, ValueError, "one device, got cpu"),
        ({"backend": "gpu"}, ValueError, "tensors that backend='gpu' can reach"),
        ({"backend": "cpuu"}, ValueError, "did you mean 'cpu'"),
        ({"activation": "tanhh"}, ValueError, "did you mean 'tanh'"),
        ({"activation": torch.cos}, ValueError, "maps 0 to 0, got 1 at 0"),
        ({"activation": 3}, TypeError, "expected activation to be a name or a function"),
    ],
)
def test_operands_that_do_not_fit_are_refused_with_what_was_expected(changes, error, message):
    with pytest.raises(error, match=message):
        block_sparse_linear(**operands_of(**changes))


def test_a_second_derivative_through_the_kernel_is_refused():
    x, weight, bias = draw(SIZES[0], 7)
    y = block_sparse_linear(x, weight, bias, None, draw_mask(7, 3, 0.5, 2), activation="tanh")
    (slope,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@given(
    st.sampled_from([(3, 8), (3, 9), (8,), (0, 8)]),
    st.sampled_from([(6, 8), (6, 9), (5, 8)]),
    st.sampled_from([None, (6,), (5,), (1, 6)]),
    st.sampled_from([None, (3, 4), (2, 4), (3, 3), (3, 0), (3,)]),
    st.sampled_from([None, (3, 2), (3, 4)]),
    st.sampled_from([torch.float32, torch.float64, torch.int64]),
    st.sampled_from([torch.bool, torch.uint8]),
)
def test_what_the_quick_look_lets_through_fits(x, weight, bias, in_mask, out_mask, dtype, bits):
    numbers = [None if s is None else torch.zeros(s, dtype=dtype) for s in (x, weight, bias)]
    masks = [None if s is None else torch.zeros(s, dtype=bits) for s in (in_mask, out_mask)]
    if plainly_fit(*numbers, *masks):
        check_operands(*numbers, *masks)
        assert numbers[0].dtype == torch.float32


def test_the_quick_look_lets_through_what_is_usual():
    x, weight, mask = torch.zeros(3, 8), torch.zeros(6, 8), torch.ones(3, 2, dtype=torch.bool)
    assert plainly_fit(x, weight, torch.zeros(6), mask, mask)
    assert plainly_fit(x, weight, None, None, None)
