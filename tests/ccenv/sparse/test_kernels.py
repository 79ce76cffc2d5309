"""Laws of the compiled CPU kernels beyond those of every way: layouts, caches, routes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import carray, njit, types
from numba.core import event as events
from numba.core.caching import CacheImpl
from sparse_layers import draw_layer, through

from ccenv import explain_backend
from ccenv.annexes.sparse_gpu import routes as gpu_routes
from ccenv.networks.core.mlp import GatedMLP
from ccenv.sparse.buffers import keep_panels
from ccenv.sparse.cpu.codegen import compiled as compiling
from ccenv.sparse.linear import block_sparse_linear
from ccenv.sparse.operands import layer_sizes
from ccenv.sparse.routes import kept_pairs, most_pairs

kernels = through("cpu")
side = st.tuples(st.integers(1, 9), st.sampled_from([1, 3, 4, 12, 20, 33]))


def frozen_layer(weight):
    """A layer whose weights the kernels may keep copies of."""
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight = torch.nn.Parameter(weight.clone(), requires_grad=False)
    keep_panels(layer)
    return layer


def forward(layer, weight, backend="cpu"):
    operands = layer.x, weight, layer.bias, layer.in_mask, layer.out_mask
    return block_sparse_linear(*operands, activation=layer.activation, backend=backend)


def assert_read_anew(layer, weight):
    """Of a weight that has just changed."""
    for _ in range(2):
        y, wanted = (forward(layer, weight, backend) for backend in ("cpu", "reference"))
        torch.testing.assert_close(y, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("change", ["in place", "through data"])
def test_a_weight_that_is_changed_between_calls_is_read_anew(change):
    layer = draw_layer(40, (4, 8), (4, 8), (0.5, 0.5))
    for scale in (1.0, -2.0, 0.5):
        (layer.weight if change == "in place" else layer.weight.data).mul_(scale)
        assert_read_anew(layer, layer.weight)


def test_frozen_weights_that_torch_sees_changing_are_read_anew():
    layer = draw_layer(40, (4, 8), (4, 8), (0.5, 0.5))
    frozen = frozen_layer(layer.weight)
    for scale in (1.0, -2.0, 0.5):
        frozen.load_state_dict({"weight": scale * layer.weight, "bias": layer.bias})
        assert_read_anew(layer, frozen.weight)


def test_a_frozen_weight_at_the_address_of_one_that_is_gone_is_not_taken_for_it():
    layer = draw_layer(40, (4, 8), (4, 8), (0.5, 0.5))
    for seed in range(20):
        assert_read_anew(layer, frozen_layer(layer.weight * (seed + 1)).weight)


def test_one_weight_cut_into_blocks_in_two_ways_gives_each_its_own():
    weight = frozen_layer(draw_layer(1, (4, 8), (4, 8), (None, None)).weight).weight
    for blocks in (4, 2, 4, 8, 2):
        assert_read_anew(draw_layer(40, (1, 32), (blocks, 32 // blocks), (None, 0.5)), weight)


@pytest.mark.parametrize("out_size", [4, 7, 8, 16, 64])
@pytest.mark.parametrize("batch", [1, 3, 40, 300])
@pytest.mark.parametrize("in_size", [12, 700])
def test_where_the_weights_lie_changes_no_bit(out_size, batch, in_size):
    layer = draw_layer(batch, (5, in_size), (9, out_size), (0.6, 0.4))
    y, packed = (forward(layer, w) for w in (layer.weight, frozen_layer(layer.weight).weight))
    assert torch.equal(y, packed)


@settings(max_examples=40)
@given(ins=side, outs=side, density=st.floats(0, 1), rows=st.sampled_from([1, 3]))
def test_rows_by_weights_of_outputs_read_no_weight_of_a_skipped_block(ins, outs, density, rows):
    layer = draw_layer(rows, ins, outs, (density, density), in_major=False)
    x, weight = layer.x, layer.weight
    masks = [mask[:1].expand(rows, -1) for mask in (layer.in_mask, layer.out_mask)]
    keep = [
        mask[0].repeat_interleave(size) for mask, (_, size) in zip(masks, (ins, outs), strict=True)
    ]
    expected = (x * keep[0]) @ weight.t() * keep[1]
    weight[~keep[1]], weight[:, ~keep[0]] = torch.nan, torch.nan
    found = block_sparse_linear(x, weight, None, *masks, backend="cpu")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_kernels_compiled_from_other_sources_are_forgotten(tmp_path):
    cache = tmp_path / "__pycache__"
    cache.mkdir()
    (tmp_path / "tiles.py").write_text("a = 1")
    for _ in range(2):
        (cache / "program.nbi").touch()
        compiling.forget_stale(tmp_path)
    assert (cache / "program.nbi").exists()
    (tmp_path / "tiles.py").write_text("a = 2")
    (cache / "tiles.pyc").touch()
    compiling.forget_stale(tmp_path)
    assert not (cache / "program.nbi").exists()
    assert (cache / "tiles.pyc").exists()


@pytest.mark.parametrize(("module", "lines"), [("ccenv.sparse.mine", 1), ("elsewhere", 0)])
def test_who_waits_for_our_kernels_is_told_so_once(module, lines, capfd):
    def first(x):
        return x + 1

    def second(x):
        return x + 2

    listener = compiling.Announcement()
    # The process's own may not have spoken yet.
    events.unregister("numba:compile", compiling.announcement)
    events.register("numba:compile", listener)
    try:
        for function in (first, second):
            function.__module__ = module
            function = njit(function)
            assert function(1) in (2, 3)
            function(2)
    finally:
        events.unregister("numba:compile", listener)
        events.register("numba:compile", compiling.announcement)
    said = [line for line in capfd.readouterr().err.splitlines() if "compiling kernels" in line]
    assert len(said) == lines


def test_a_user_who_may_keep_no_kernels_compiles_them_and_is_told(monkeypatch, capfd):
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    monkeypatch.setattr(compiling.announcement, "is_done", False)
    monkeypatch.setattr(compiling.announcement, "may_say", lambda: True)

    def third(x):
        return x + 3

    third.__module__ = "ccenv.sparse.mine"
    assert compiling.compiled(third)(1) == 4
    assert "(up to 20 seconds; in every process: neither" in capfd.readouterr().err


@njit
def checked_square(x):
    if x < 0:
        raise ValueError("negative")
    return x * x


SQUARE = types.int64(types.int64)
call_square = compiling.make_call(SQUARE)


@njit(error_model="numpy")
def square_at(address, x):
    return call_square(address, x) + 1


@njit(error_model="numpy")
def set_float(at, value):
    carray(compiling.as_pointer(at), (1,), np.float32)[0] = value


call_set_float = compiling.called_by_name(set_float)


@njit(error_model="numpy")
def set_two(at):
    # A literal and a variable go to the one kernel that was compiled.
    call_set_float(at, 3)
    call_set_float(at + 4, at - at + 4)


def test_kernels_call_others_by_address_and_by_name_and_errors_pass_through():
    address = compiling.entry(checked_square, SQUARE)
    assert square_at(address, 5) == 26
    with pytest.raises(ValueError, match="negative"):
        square_at(address, -1)
    written = torch.zeros(2)
    set_two(written.data_ptr())
    assert written.tolist() == [3, 4]
    assert len(set_float.signatures) == 1


def test_tanh_keeps_its_relative_precision_from_the_smallest_numbers_to_saturation():
    near = torch.cat([torch.logspace(-30, 1.3, 4000), torch.linspace(0.01, 12, 40_000)])
    x = torch.cat([near, -near, torch.zeros(1)])[:, None]
    one, mask = torch.ones(1, 1), torch.ones(len(x), 1, dtype=torch.bool)
    y = block_sparse_linear(x, one, None, mask, mask, activation="tanh", backend="cpu")
    expected = x.double().tanh()
    relative = ((y - expected) / expected.abs().clamp(min=1e-300)).abs()
    assert relative[expected != 0].max() < 3e-7
    assert y[-1] == 0


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_nan_stays_nan_through_an_activation(activation):
    mask = torch.ones(1, 1, dtype=torch.bool)
    x = torch.full((1, 16), np.nan)
    y = block_sparse_linear(
        x, torch.eye(16), None, mask, mask, activation=activation, backend="cpu"
    )
    assert y.isnan().all()


def test_a_networks_weights_lie_as_the_kernels_read_them_through_a_step_and_a_copy():
    network = GatedMLP(12, num_blocks=(3,), block_size=4, num_classes=2)
    optimizer = torch.optim.AdamW(network.parameters())
    masks = [torch.ones(5, 3, dtype=torch.bool)]
    network(torch.rand(5, 12), masks, backend="cpu").sum().backward()
    optimizer.step()
    copied = GatedMLP(12, num_blocks=(3,), block_size=4, num_classes=2)
    copied.load_state_dict(network.state_dict())
    for model in (network, copied):
        assert all(layer.weight.t().is_contiguous() for layer in model.layers)


@pytest.mark.parametrize(
    ("density", "batch", "dtype", "backend", "route"),
    [
        (0.0, 100, torch.float32, "auto", "kernels"),
        (0.95, 4000, torch.float32, "auto", "masked_dense"),
        (1.0, 4000, torch.float32, "auto", "dense"),
        (1.0, 4000, torch.float32, "cpu", "kernels"),
        (0.2, 100, torch.float64, "auto", "grouped"),
        (0.2, 100, torch.float32, "reference", "reference"),
    ],
)
def test_the_choice_of_a_route_can_be_asked_for(density, batch, dtype, backend, route):
    mask = torch.rand(batch, 4, generator=torch.Generator().manual_seed(0)) < density
    x, weight = torch.zeros(batch, 8, dtype=dtype), torch.zeros(8, 8, dtype=dtype)
    found = explain_backend(x, weight, mask, mask, backend=backend)
    assert found.route == route
    assert found.reason


@given(st.integers(1, 300), st.integers(1, 30), st.integers(1, 70), st.booleans())
def test_kernels_are_chosen_up_to_most_pairs_and_explained_by_it(batch, blocks, size, is_training):
    mask = torch.ones(batch, blocks, dtype=torch.bool)
    mask[0, 1:] = False
    x, weight = torch.zeros(batch, blocks * size), torch.zeros(size, blocks * size)
    most = most_pairs((batch, blocks, size, 1, size))
    found = explain_backend(x, weight, mask, is_training=is_training)
    is_read = batch > 1 or blocks == 1
    faster = not is_read or int(mask.sum()) <= most
    full = "dense" if bool(mask.all()) else "masked_dense"
    assert found.route == ("kernels" if faster else full)
    assert ("chosen up to" in found.reason) == (is_read and found.route != "dense")


@given(st.integers(0, 40), st.integers(1, 70), st.integers(1, 9), st.booleans(), st.booleans())
def test_pairs_of_blocks_are_counted_right(batch, in_blocks, out_blocks, has_in, has_out):
    generator = torch.Generator().manual_seed(batch)
    masks = [
        torch.rand(batch, n, generator=generator) < 0.8 if wanted else None
        for n, wanted in ((in_blocks, has_in), (out_blocks, has_out))
    ]
    x, weight = torch.zeros(batch, in_blocks), torch.zeros(out_blocks, in_blocks)
    found = kept_pairs(layer_sizes((x, weight, None, *masks)), *masks)
    full = [torch.ones(batch, 1, dtype=torch.bool) if mask is None else mask for mask in masks]
    if all(bool(mask.any(dim=0).all()) for mask in full):
        assert found == int((full[0].sum(dim=1) * full[1].sum(dim=1)).sum())
    else:
        assert found == -1


@pytest.mark.parametrize("reason", [None, "it has no compiler"])
def test_a_gpu_without_triton_is_told_once_and_served_by_torch(reason, monkeypatch, recwarn):
    monkeypatch.setattr(gpu_routes, "reason_against", lambda *_: reason)
    gpu_routes.triton_takes.cache_clear()
    for _ in range(2):
        assert gpu_routes.triton_takes(torch.device("cpu"), torch.float16) == (reason is None)
    gpu_routes.triton_takes.cache_clear()
    told = [str(warning.message) for warning in recwarn]
    assert len(told) == (reason is not None)
    assert all("it has no compiler" in message for message in told)
