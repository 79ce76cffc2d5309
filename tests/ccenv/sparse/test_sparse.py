"""Block-sparse layers on the CPU: every way is the reference, and skipped blocks do not count."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import sparse_layers as layers
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sparse_layers import draw_layer, reference, run, shared_by, through

from ccenv.sparse.buffers import kept_in_dtype, remember
from ccenv.sparse.cpu.masked_dense import FEW_ROWS, masked_dense_linear
from ccenv.sparse.linear import block_sparse_linear, resolve_activation
from ccenv.sparse.reference import grouped_linear, reference_linear
from ccenv.sparse.routes import explain_backend

# (blocks, units of a block) of both sides; the last two are odd.
SIZES = [((4, 4), (3, 8)), ((1, 8), (8, 1)), ((7, 3), (5, 3)), ((13, 3), (3, 11))]
DENSITIES = [0.0, 1 / 16, 0.5, 1.0]
ACTIVATIONS = [None, "tanh", "relu", torch.sin]


def masked_dense(*operands):
    """One dense product between masks, of few rows by the kernels."""
    y = masked_dense_linear(operands[:5], is_training=True)
    activation = resolve_activation(operands[5])
    return y if activation is None else activation(y)


def groups(*operands):
    """By torch, the rows of each block."""
    if operands[3] is None and operands[4] is None:
        return reference(*operands)
    return grouped_linear(operands[:5], resolve_activation(operands[5]))


@pytest.fixture
def way(request):
    """A way to multiply by its name."""
    if request.param == "threads":
        with shared_by(3, rows=1):
            yield through("cpu")
    else:
        named = {"kernels": through("cpu"), "auto": through("auto")}
        yield (named | {"masked dense": masked_dense, "groups": groups})[request.param]


def ways(*names):
    return pytest.mark.parametrize("way", names, indirect=True)


each_way = ways("kernels", "threads", "masked dense", "groups")


@each_way
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("batch", [1, 33])
def test_every_way_equals_the_reference_in_outputs_and_all_gradients(sizes, batch, way):
    for number, out_density in enumerate([None, *DENSITIES]):
        for shift, in_density in enumerate([None, *DENSITIES]):
            layer = draw_layer(batch, *sizes, (in_density, out_density))
            layer = replace(layer, activation=ACTIVATIONS[(number + shift) % 4])
            bias = layer.bias if shift % 2 else None
            layers.assert_agrees(replace(layer, bias=bias), way)


side = st.tuples(st.integers(1, 17), st.sampled_from([1, 3, 4, 8, 13, 16, 32, 64, 70]))
density = st.one_of(st.none(), st.floats(0, 1))


@ways("kernels", "threads", "auto")
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch=st.sampled_from([0, 1, 5, 31, 130, 600]),
    ins=side,
    outs=side,
    densities=st.tuples(density, density),
    activation=st.sampled_from(ACTIVATIONS),
    in_major=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_kernels_are_the_reference_for_any_shape_density_and_layout(
    batch, ins, outs, densities, activation, in_major, seed, way
):
    layer = draw_layer(
        batch, ins, outs, densities, activation=activation, in_major=in_major, seed=seed
    )
    layers.assert_agrees(layer, way)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("densities", [(0.5, 0.5), (None, 0.5), (0.5, None), (None, None)])
def test_gradients_are_those_of_finite_differences(backend, densities):
    layer = draw_layer(3, (3, 2), (4, 2), densities, torch.float64)
    masks = layer.in_mask, layer.out_mask, layer.activation
    leaves = [t.requires_grad_() for t in (layer.x, layer.weight, layer.bias)]
    assert torch.autograd.gradcheck(lambda *given: through(backend)(*given, *masks), leaves)


@each_way
def test_what_nobody_keeps_changes_nothing(way):
    for activation in ("tanh", None):
        layer = draw_layer(FEW_ROWS, (5, 20), (4, 12), (0.5, 0.5), activation=activation)
        layers.assert_what_nobody_keeps_changes_nothing(layer, way)


@ways("kernels", "threads", "masked dense")
@pytest.mark.parametrize("batch", [7, FEW_ROWS])
@pytest.mark.parametrize("in_major", [True, False])
def test_rows_that_skip_a_block_do_not_meet_its_weights(batch, in_major, way):
    for poison, activation in ((torch.nan, "relu"), (torch.inf, None)):
        layer = draw_layer(
            batch, (4, 8), (4, 8), (0.5, 0.8), activation=activation, in_major=in_major
        )
        layers.assert_rows_that_skip_a_block_do_not_meet_its_weights(layer, poison, way)


@pytest.mark.parametrize("density", [0.0, 0.2, 0.8])
def test_the_definition_is_tanh_of_the_product_where_kept_and_zero_elsewhere(density):
    x, weight, bias = torch.randn(130, 8), torch.randn(90, 8), torch.randn(90)
    mask = torch.rand(130, 30) < density
    units = mask.repeat_interleave(3, dim=1)
    expected = torch.where(units, torch.nn.functional.linear(x, weight, bias).tanh(), 0.0)
    options = {"out_mask": mask, "activation": "tanh", "backend": "reference"}
    assert torch.equal(block_sparse_linear(x, weight, bias, **options), expected)


@ways("kernels", "threads")
def test_nan_weights_of_a_pair_of_blocks_reach_only_the_rows_that_keep_both(way):
    for batch in (3, 40, 200):
        layer = draw_layer(batch, (4, 8), (4, 8), (0.5, 0.5))
        poisoned = layer.weight.clone()
        poisoned[8:16, 16:24] = torch.nan
        y, healthy = (run(replace(layer, weight=w), way)[0] for w in (poisoned, layer.weight))
        keep_both = layer.in_mask[:, 2] & layer.out_mask[:, 1]
        hit = keep_both[:, None] & (torch.arange(32) // 8 == 1)
        assert y[hit].isnan().all()
        assert torch.equal(y[~hit], healthy[~hit])


@ways("kernels", "threads", "groups")
def test_weights_of_a_pair_of_blocks_that_no_row_keeps_are_not_read(way):
    mask = torch.eye(2, dtype=torch.bool)
    layer = replace(draw_layer(2, (2, 4), (2, 4), (1.0, 1.0)), in_mask=mask, out_mask=mask)
    weight = layer.weight.clone()
    weight[:4, 4:] = weight[4:, :4] = torch.nan
    layers.assert_equal(run(replace(layer, weight=weight), way), run(layer, way))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("out_density", [None, 0.5])
def test_units_of_skipped_input_blocks_are_ignored_whatever_they_are(backend, out_density):
    layer = draw_layer(7, (4, 4), (3, 8), (0.5, out_density))
    x = layer.x.masked_fill(~layer.in_mask.repeat_interleave(4, dim=1), torch.nan)
    layers.assert_equal(run(replace(layer, x=x), through(backend)), run(layer, through(backend)))


def test_inputs_that_are_not_finite_reach_no_weight_of_a_block_that_their_row_skips():
    layer = draw_layer(9, (12, 4), (12, 4), (1.0, 1.0), activation=None)
    layer.x[2] = torch.inf
    layer.out_mask[2, :6] = False
    for weight in (layer.weight, layer.weight.contiguous()):
        found = run(replace(layer, weight=weight), through("cpu"))[2]
        assert found[:24].isfinite().all()
        assert not found[24:].isfinite().any()


@each_way
def test_an_empty_batch_gives_an_empty_result_and_zero_gradients(way):
    for densities in ((0.5, 0.5), (None, 0.5), (0.5, None), (None, None)):
        layer = draw_layer(0, (2, 16), (3, 8), densities)
        layers.assert_an_empty_batch_gives_nothing(layer, way)


@each_way
def test_the_layout_of_tensors_in_memory_changes_nothing(way):
    for densities in ((0.5, 0.5), (None, 0.5), (0.5, None)):
        layer = draw_layer(7, (4, 4), (3, 8), densities, in_major=False)
        layers.assert_close(run(layers.spread(layer), way), run(layer, way), torch.float32)


def test_the_gradient_of_a_sum_flows_although_it_is_one_number_expanded():
    layer = draw_layer(7, (4, 4), (3, 8), (None, 0.5), activation=None)
    expanded = replace(layer, grad_y=torch.ones(1).expand(7, 24))
    assert torch.equal(
        run(expanded, through("cpu"))[3], layer.out_mask.sum(dim=0).repeat_interleave(8).float()
    )


@each_way
def test_repeated_passes_are_equal_bit_for_bit(way):
    for densities in ((0.5, 0.5), (None, 0.5), (0.5, None)):
        layers.assert_repeats_are_equal_by_bits(draw_layer(300, (13, 3), (8, 16), densities), way)


@ways("kernels", "threads")
@pytest.mark.parametrize("batch", [1, 40, 600])
def test_a_block_that_was_on_and_is_off_is_zero(batch, way):
    # The last is so large that the memory of one call's results is used again by the next.
    size = 64 if batch == 600 else 8
    layer = draw_layer(batch, (8, size), (8, size), (1.0, 1.0))
    for _ in range(2):
        layers.assert_a_block_that_was_on_and_is_off_is_zero(layer, way)


@each_way
@pytest.mark.parametrize("needed", [0, 1, 2])
def test_one_operand_alone_may_need_a_gradient(needed, way):
    layer = draw_layer(7, (4, 4), (3, 8), (0.5, 0.5), activation="relu")
    operands = [layer.x, layer.weight, layer.bias]
    operands[needed].requires_grad_()
    y = way(*operands, layer.in_mask, layer.out_mask, "relu")
    found = torch.autograd.grad(y, operands[needed], layer.grad_y)
    layers.assert_close(found, [run(layer, reference)[1 + needed]], torch.float32)


@given(
    batch=st.integers(1, 70),
    ins=side,
    outs=side,
    densities=st.tuples(*[st.sampled_from([None, 0.0, 0.3, 0.9, 1.0])] * 2),
    in_major=st.booleans(),
)
def test_one_dense_product_between_masks_is_the_definition_bit_for_bit(
    batch, ins, outs, densities, in_major
):
    layer = draw_layer(batch, ins, outs, densities, activation=None, in_major=in_major)
    if layer.in_mask is not None:
        layer.x[~layer.in_mask.repeat_interleave(ins[1], 1)] = torch.nan
    operands = layer.x, layer.weight, layer.bias, layer.in_mask, layer.out_mask
    wanted = reference_linear(operands, None)
    assert torch.equal(masked_dense_linear(operands, is_training=False), wanted)
    by_torch = partial(masked_dense_linear, is_training=True, few_rows=0)
    found = run(layer, lambda *operands: by_torch(operands[:5]))
    assert torch.equal(found[0], wanted)
    layers.assert_close(found, run(layer, reference), torch.float32)


@pytest.mark.parametrize("threads", [1, 2])
def test_operands_stay_as_they_are(threads):
    x, weight = torch.randn(2048, 256), torch.randn(64, 256)
    mask, before = torch.rand(2048, 16) < 0.5, x.clone()
    with shared_by(threads):
        y = masked_dense_linear((x, weight, None, mask, mask), is_training=False)
    assert torch.equal(x, before)
    assert torch.equal(y, reference_linear((x, weight, None, mask, mask), None))


@pytest.mark.parametrize("density", [0.2, 0.9])
@pytest.mark.parametrize("kept", [False, True])
def test_under_autocast_it_is_the_definition_and_gradients_are_float32(density, kept):
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(n, 32, generator=generator, requires_grad=True) for n in (64, 16))
    bias = torch.randn(16, generator=generator)
    mask = torch.rand(64, 4, generator=generator) < density
    if kept:
        remember(weight.requires_grad_(False))
    with torch.autocast("cpu", torch.bfloat16):
        # As between two layers of a network: what comes is rounded already.
        for inputs in (x, x.bfloat16()):
            found = block_sparse_linear(inputs, weight, bias, mask, mask)
            expected = reference_linear((inputs, weight, bias, mask, mask), None)
            assert found.dtype == expected.dtype == torch.bfloat16
            torch.testing.assert_close(found, expected, atol=2**-5, rtol=2**-7)
        why = explain_backend(x, weight, mask, mask)
    assert (why.route, "torch.bfloat16 on cpu" in why.reason) == ("grouped", True)
    found.sum().backward()
    assert x.grad.dtype == torch.float32
    assert kept or weight.grad.dtype == torch.float32


def test_weights_that_stay_are_rounded_once_and_anew_after_a_change():
    weight = torch.randn(4, 4)
    assert kept_in_dtype(weight, torch.bfloat16) is None
    remember(weight)
    first = kept_in_dtype(weight, torch.bfloat16)
    assert kept_in_dtype(weight, torch.bfloat16) is first
    weight.mul_(2)
    assert torch.equal(kept_in_dtype(weight, torch.bfloat16), 2 * first)
    assert kept_in_dtype(weight.requires_grad_(), torch.bfloat16) is None


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
        ({"weight": torch.zeros(24, 16).double()}, TypeError, "one floating dtype"),
        ({"bias": torch.zeros(24).double()}, TypeError, "one floating dtype"),
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
    operands = {"x": torch.zeros(7, 16), "weight": torch.zeros(24, 16), "bias": torch.zeros(24)}
    with pytest.raises(error, match=message):
        block_sparse_linear(**operands | changes)


def test_a_second_derivative_through_the_kernel_is_refused():
    layer = draw_layer(7, (4, 4), (3, 8), (None, 0.5))
    x = layer.x.requires_grad_()
    y = through("auto")(x, layer.weight, layer.bias, None, layer.out_mask, "tanh")
    (slope,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()
