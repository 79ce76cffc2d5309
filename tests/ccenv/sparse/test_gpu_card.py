"""Laws of the Triton kernels on a card: pytest -m gpu -n 0, with the path of this file."""

import importlib.util
from dataclasses import replace

import gpu_laws
import pytest
import torch
from gpu_laws import assert_agrees, draw_layer, run

import ccenv
from ccenv.sparse.gpu import dispatch as gpu

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.skipif(
        importlib.util.find_spec("triton") is None, reason="Triton is not installed"
    ),
]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
BLOCK_SIZES = [4, 5, 8, 12, 16, 24, 32, 48, 64, 100, 128]
BATCHES = [1, 7, 33, 1000]
ROUTES = ["kernels", "dense"]


@pytest.fixture(autouse=True)
def memory_without_numbers(monkeypatch):
    """torch.empty is NaN, so that whatever a kernel forgets to write or to skip is seen."""
    # Torch asks for it before it multiplies the references.
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def multiply(request):
    """A way to multiply by its name."""
    return gpu.masked_dense_linear if request.param == "dense" else gpu.triton_linear


all_routes = pytest.mark.parametrize("multiply", ROUTES, indirect=True)


def draw(batch, block_size, dtype, densities=(0.3, 0.3), **settings):
    sizes = (6, block_size), (4, block_size)
    return draw_layer(batch, *sizes, densities, dtype, device="cuda", **settings)


@pytest.mark.parametrize("dtype", DTYPES)
def test_triton_can_be_used_here(dtype):
    assert gpu.why_not(torch.zeros(1, dtype=dtype, device="cuda")) is None


@all_routes
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block_size", BLOCK_SIZES)
@pytest.mark.parametrize("batch", BATCHES)
def test_every_route_equals_the_reference_in_outputs_and_all_gradients(
    batch, block_size, dtype, multiply
):
    for density in (0.0, 1 / 16, 0.5, 1.0):
        assert_agrees(draw(batch, block_size, dtype, (density, density)), multiply)


@all_routes
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block_size", [5, 16, 64, 128])
@pytest.mark.parametrize("batch", BATCHES)
def test_masks_may_be_missing_on_either_side(batch, block_size, dtype, multiply):
    for densities in ((None, 0.3), (0.3, None)):
        for activation in (None, "relu"):
            for in_major in (True, False):
                assert_agrees(
                    draw(
                        batch,
                        block_size,
                        dtype,
                        densities,
                        activation=activation,
                        in_major=in_major,
                    ),
                    multiply,
                )


@all_routes
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_wide_layer_equals_the_reference(dtype, multiply):
    for density in (1 / 8, 1 / 32):
        layer = draw_layer(8192, (32, 64), (32, 64), (density, density), dtype, device="cuda")
        assert_agrees(layer, multiply)


def test_float32_is_multiplied_in_tf32_where_torch_does_so():
    layer = draw(1000, 64, torch.float32, (1.0, 1.0), activation=None)
    exact, errors = gpu_laws.expected(layer)[0], {}
    before = torch.get_float32_matmul_precision()
    try:
        for setting in ("highest", "high"):
            torch.set_float32_matmul_precision(setting)
            errors[setting] = (run(layer)[0].double() - exact).abs().max().item()
    finally:
        torch.set_float32_matmul_precision(before)
    assert errors["highest"] < 1e-5 < errors["high"] < 1e-2


@all_routes
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block_size", [5, 16, 64, 128])
@pytest.mark.parametrize("batch", [7, 1000])
@pytest.mark.parametrize(("poison", "activation"), [(torch.nan, "relu"), (torch.inf, None)])
def test_rows_that_skip_a_block_do_not_meet_its_weights(
    dtype, block_size, batch, poison, activation, multiply
):
    layer = draw(batch, block_size, dtype, (0.5, 0.8), activation=activation)
    gpu_laws.assert_rows_that_skip_a_block_do_not_meet_its_weights(layer, poison, multiply)


@all_routes
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [7, 1000])
def test_what_nobody_keeps_changes_nothing(dtype, batch, multiply):
    by_bits = multiply is not gpu.masked_dense_linear
    for block_size in (5, 16, 64, 128):
        layer = draw(batch, block_size, dtype)
        gpu_laws.assert_what_nobody_keeps_changes_nothing(layer, multiply, by_bits)


@all_routes
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [7, 1000])
def test_a_block_that_was_on_and_is_off_is_zero(dtype, batch, multiply):
    gpu_laws.assert_a_block_that_was_on_and_is_off_is_zero(draw(batch, 64, dtype), multiply)


@all_routes
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block_size", BLOCK_SIZES)
@pytest.mark.parametrize("batch", [7, 1000])
def test_repeats_are_equal_by_bits(dtype, block_size, batch, multiply):
    layer = draw(batch, block_size, dtype)
    gpu_laws.assert_repeats_are_equal_by_bits(layer, 20, multiply)


def test_an_empty_batch_gives_an_empty_result_and_zero_gradients():
    y, _, grad_weight, grad_bias = run(draw(0, 16, torch.float32))
    assert y.shape == (0, 64)
    assert not grad_weight.any()
    assert not grad_bias.any()


@all_routes
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [7, 1000])
def test_nothing_waits_for_the_device(dtype, batch, multiply):
    layer = draw(batch, 64, dtype)
    run(layer, multiply)
    torch.cuda.set_sync_debug_mode("error")
    try:
        run(layer, multiply)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@all_routes
@pytest.mark.parametrize("batch", [7, 1000])
def test_a_captured_graph_follows_other_masks_and_inputs(batch, multiply):
    layers = [draw(batch, 64, torch.bfloat16, seed=seed) for seed in range(3)]
    # A graph reads and writes fixed places.
    static = replace(layers[0], **{name: getattr(layers[0], name).clone() for name in INPUTS})
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run(static, multiply)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = run(static, multiply)
    for layer in layers:
        for name in INPUTS:
            getattr(static, name).copy_(getattr(layer, name))
        graph.replay()
        for one, other in zip(found, run(layer, multiply), strict=True):
            assert torch.equal(one, other)


INPUTS = ("x", "in_mask", "out_mask", "grad_y")


def test_the_front_door_agrees_with_its_own_reference():
    layer = draw(1000, 64, torch.float32)

    def door(*operands):
        return ccenv.block_sparse_linear(*operands[:5], activation=operands[5], backend="gpu")

    gpu_laws.assert_close(run(layer, door), gpu_laws.expected(layer), torch.float32)


@pytest.mark.parametrize("dtype", DTYPES)
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
