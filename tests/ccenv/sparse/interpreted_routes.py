"""Laws of the dense product between masks, interpreted.

test_gpu.py runs this file in a process where Triton interprets kernels.
"""

from dataclasses import replace

import gpu_laws
import pytest
import torch
from gpu_laws import assert_agrees, draw_layer, run

from ccenv.sparse import linear
from ccenv.sparse.gpu.dispatch import masked_dense_linear as multiply

DTYPES = [torch.float32, torch.float16]
# (blocks, units of a block) of both sides: odd, padded, one block of results, cut in pieces.
SIZES = [((5, 4), (3, 8)), ((2, 24), (3, 16)), ((2, 64), (1, 32)), ((2, 130), (1, 66))]


@pytest.fixture(autouse=True)
def memory_without_numbers():
    """torch.empty is NaN, so that whatever a kernel forgets to write or to skip is seen."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("density", [0.0, 1 / 16, 0.5, 1.0])
def test_a_route_equals_the_reference_in_outputs_and_all_gradients(dtype, density):
    cases = list(zip(SIZES, (None, "tanh", "relu", "tanh"), strict=True))
    for sizes, activation in cases if dtype == torch.float32 else cases[1::2]:
        layer = draw_layer(20, *sizes, (density, density), dtype, activation=activation)
        assert_agrees(layer, multiply)


@pytest.mark.parametrize("densities", [(None, 0.3), (0.3, None), (0.9, 0.1)])
def test_masks_may_differ_or_be_missing_on_either_side(densities):
    for sizes, in_major in [(((3, 5), (2, 12)), True), (((3, 16), (2, 32)), False)]:
        assert_agrees(draw_layer(20, *sizes, densities, in_major=in_major), multiply)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("poison", "activation"), [(torch.nan, "relu"), (torch.inf, None)])
def test_rows_that_skip_a_block_do_not_meet_its_weights(dtype, poison, activation):
    sizes = ((4, 5), (2, 12)) if poison == torch.inf else ((2, 80), (1, 16))
    layer = draw_layer(20, *sizes, (0.5, 0.8), dtype, activation=activation)
    gpu_laws.assert_rows_that_skip_a_block_do_not_meet_its_weights(layer, poison, multiply)


def test_what_nobody_keeps_changes_nothing():
    for sizes in [((4, 5), (2, 12)), ((2, 64), (2, 16))]:
        layer = draw_layer(20, *sizes, (0.5, 0.5))
        gpu_laws.assert_what_nobody_keeps_changes_nothing(layer, multiply, by_bits=False)


@pytest.mark.parametrize("dtype", DTYPES)
def test_repeats_are_equal_by_bits(dtype):
    layer = draw_layer(20, (3, 16), (2, 24), (0.5, 0.5), dtype)
    gpu_laws.assert_repeats_are_equal_by_bits(layer, 1, multiply)


def test_a_block_that_was_on_and_is_off_is_zero():
    layer = draw_layer(20, (2, 16), (2, 16), (0.5, 0.5))
    gpu_laws.assert_a_block_that_was_on_and_is_off_is_zero(layer, multiply)


def test_programs_of_a_launch_may_run_in_any_order(monkeypatch):
    from triton.runtime.interpreter import interpreter_builder as builder

    layer = draw_layer(20, (3, 16), (3, 8), (0.5, 0.5))
    wanted, choose = run(layer, multiply), builder.set_grid_idx
    backwards = []

    def choose_from_the_end(x, y, z):
        backwards.append(x)
        choose(builder.grid_dim[0] - 1 - x, y, z)

    monkeypatch.setattr(builder, "set_grid_idx", choose_from_the_end)
    for found, expected in zip(run(layer, multiply), wanted, strict=True):
        assert torch.equal(found, expected)
    assert max(backwards) > 1


def test_a_layer_may_lack_rows_or_a_bias_and_want_only_some_gradients():
    assert run(draw_layer(0, (2, 16), (3, 8), (0.5, 0.5)), multiply)[0].shape == (0, 24)
    layer = replace(draw_layer(20, (2, 16), (2, 16), (0.5, 0.5)), bias=None)
    assert_agrees(layer, multiply)
    leaf = layer.x.clone().requires_grad_()
    y = multiply(leaf, layer.weight, None, layer.in_mask, layer.out_mask, "tanh")
    (grad_x,) = torch.autograd.grad(y, leaf, layer.grad_y)
    assert torch.equal(grad_x, run(layer, multiply)[1])


@pytest.mark.parametrize("route", ["triton", "masked_dense"])
def test_the_door_takes_the_route_that_was_chosen(route):
    layer = draw_layer(20, (2, 16), (2, 16), (0.5, 0.5))
    kernel = {"triton": gpu_laws.triton_linear, "masked_dense": multiply}[route]
    operands = (layer.x, layer.weight, layer.bias, layer.in_mask, layer.out_mask)
    assert torch.equal(linear.gpu_linear(route)(*operands, "tanh"), kernel(*operands, "tanh"))
