"""Laws of the Triton kernels on a card: pytest -m gpu -n 0, with the path of this file."""

from dataclasses import replace

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

import interpreted_laws
import sparse_layers as layers
from interpreted_laws import *  # noqa: F403 (a card runs all of the interpreter's laws)
from interpreted_laws import WAYS, each_dtype, each_way
from sparse_layers import assert_agrees, draw_layer, run

import ccenv

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
INPUTS = ("x", "in_mask", "out_mask", "grad_y")
each_batch = pytest.mark.parametrize("batch", [7, 1000])


def draw(batch, block_size, dtype, densities=(0.3, 0.3), **settings):
    return interpreted_laws.draw(
        batch, ((6, block_size), (4, block_size)), densities, dtype, **settings
    )


@each_way
@each_dtype
def test_a_wide_layer_equals_the_reference(dtype, way):
    for density in (1 / 8, 1 / 32):
        layer = draw_layer(8192, (32, 64), (32, 64), (density, density), dtype, device="cuda")
        assert_agrees(layer, WAYS[way])


def test_float32_is_multiplied_in_tf32_where_torch_does_so():
    layer = draw(1000, 64, torch.float32, (1.0, 1.0), activation=None)
    exact, errors = layers.expected(layer)[0], {}
    before = torch.get_float32_matmul_precision()
    try:
        for setting in ("highest", "high"):
            torch.set_float32_matmul_precision(setting)
            errors[setting] = (run(layer, WAYS["kernels"])[0].double() - exact).abs().max().item()
    finally:
        torch.set_float32_matmul_precision(before)
    assert errors["highest"] < 1e-5 < errors["high"] < 1e-2


@each_way
@each_dtype
@each_batch
def test_repeats_are_equal_by_bits(dtype, batch, way):
    layers.assert_repeats_are_equal_by_bits(draw(batch, 16, dtype), WAYS[way], times=20)


@each_way
@each_dtype
@each_batch
def test_nothing_waits_for_the_device(dtype, batch, way):
    layer = draw(batch, 64, dtype)
    run(layer, WAYS[way])
    torch.cuda.set_sync_debug_mode("error")
    try:
        run(layer, WAYS[way])
    finally:
        torch.cuda.set_sync_debug_mode("default")


@each_way
@each_batch
def test_a_captured_graph_follows_other_masks_and_inputs(batch, way):
    layers = [draw(batch, 64, torch.bfloat16, seed=seed) for seed in range(3)]
    # A graph reads and writes fixed places.
    static = replace(layers[0], **{name: getattr(layers[0], name).clone() for name in INPUTS})
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run(static, WAYS[way])
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = run(static, WAYS[way])
    for layer in layers:
        for name in INPUTS:
            getattr(static, name).copy_(getattr(layer, name))
        graph.replay()
        for one, other in zip(found, run(layer, WAYS[way]), strict=True):
            assert torch.equal(one, other)


def test_the_front_door_agrees_with_its_own_reference():
    layer = draw(1000, 64, torch.float32)

    def door(*operands):
        return ccenv.block_sparse_linear(*operands[:5], activation=operands[5], backend="gpu")

    layers.assert_close(run(layer, door), layers.expected(layer), torch.float32)


@each_dtype
@pytest.mark.parametrize("batch", [8, 256, 8192])
def test_the_route_of_every_shape_agrees_with_its_own_reference(dtype, batch):
    layer = draw_layer(batch, (32, 64), (32, 64), (1 / 8, 1 / 8), dtype, device="cuda")

    def door(*operands):
        return ccenv.block_sparse_linear(*operands[:5], activation=operands[5])

    assert_agrees(layer, door)
    operands = layer.x, layer.weight, layer.in_mask, layer.out_mask
    found = ccenv.explain_backend(*operands)
    assert found.route in ("triton", "masked_dense")
    assert "not measured" in found.reason
