"""Laws of the compiled CPU kernels beyond those of every route: sizes, NaN, weights that move."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numba.core import event as events
from numba.core.caching import CacheImpl

from ccenv import explain_backend
from ccenv.networks.core.mlp import GatedMLP
from ccenv.sparse.cpu.buffers import keep_panels
from ccenv.sparse.cpu.codegen.compiled import (
    Announcement,
    announcement,
    compiled,
    forget_stale,
)
from ccenv.sparse.gpu import routes as gpu_routes
from ccenv.sparse.linear import block_sparse_linear
from ccenv.sparse.routes import kept_pairs, most_pairs, sizes_of


def draw(batch, in_blocks, in_size, out_blocks, out_size, in_density, out_density, seed=0):
    """Operands with weights as `GatedMLP` keeps them, and masks (None for a density of None)."""
    generator = torch.Generator().manual_seed(seed)
    in_features, out_features = in_blocks * in_size, out_blocks * out_size
    x = torch.randn(batch, in_features, generator=generator)
    weight = torch.randn(in_features, out_features, generator=generator).t() / in_features**0.5
    bias = torch.randn(out_features, generator=generator)
    masks = [
        None if density is None else torch.rand(batch, blocks, generator=generator) < density
        for density, blocks in ((in_density, in_blocks), (out_density, out_blocks))
    ]
    return [x, weight, bias], masks


def outputs_and_gradients(operands, masks, activation, backend):
    leaves = [operand.clone().requires_grad_() for operand in operands]
    y = block_sparse_linear(*leaves, *masks, activation=activation, backend=backend)
    incoming = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    return [y.detach(), *torch.autograd.grad(y, leaves, incoming)]


def assert_close(found, expected):
    for a, b in zip(found, expected, strict=True):
        scale = b.abs().max().clamp(min=1.0).item() if b.numel() else 1.0
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5 * scale)


density = st.one_of(st.none(), st.floats(0, 1))


@settings(max_examples=40, deadline=None)
@given(
    batch=st.sampled_from([0, 1, 5, 31, 130, 600]),
    in_blocks=st.integers(1, 17),
    in_size=st.integers(1, 40),
    out_blocks=st.integers(1, 17),
    out_size=st.sampled_from([1, 3, 4, 8, 13, 16, 32, 64, 70]),
    densities=st.tuples(density, density),
    activation=st.sampled_from([None, "tanh", "relu"]),
    seed=st.integers(0, 1000),
)
def test_the_kernels_are_the_reference_for_any_shape_density_and_batch(
    batch, in_blocks, in_size, out_blocks, out_size, densities, activation, seed
):
    operands, masks = draw(batch, in_blocks, in_size, out_blocks, out_size, *densities, seed)
    kernel = outputs_and_gradients(operands, masks, activation, "cpu")
    assert_close(kernel, outputs_and_gradients(operands, masks, activation, "reference"))


@pytest.mark.parametrize("layers", [(3072, None, 64), (640, 10, 10), (1024, 32, 1024)])
def test_the_kernels_are_the_reference_at_the_sizes_of_the_papers_networks(layers):
    in_features, in_blocks, out_features = layers
    out_density = None if out_features == 10 else 0.2
    in_density = None if in_blocks is None else 0.2
    blocks, out_blocks = in_blocks or 1, 1 if out_density is None else out_features // 32
    operands, masks = draw(
        300, blocks, in_features // blocks, out_blocks, out_features // out_blocks,
        in_density, out_density,
    )  # fmt: skip
    kernel = outputs_and_gradients(operands, masks, "tanh", "cpu")
    assert_close(kernel, outputs_and_gradients(operands, masks, "tanh", "reference"))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), batch=st.sampled_from([3, 40, 200]))
def test_nan_weights_of_a_pair_of_blocks_reach_only_the_rows_that_keep_both(seed, batch):
    (x, weight, bias), masks = draw(batch, 4, 8, 4, 8, 0.5, 0.5, seed)
    healthy = block_sparse_linear(x, weight, bias, *masks, backend="cpu")
    poisoned = weight.clone()
    poisoned[8:16, 16:24] = torch.nan
    y = block_sparse_linear(x, poisoned, bias, *masks, backend="cpu")
    hit = (masks[0][:, 2] & masks[1][:, 1])[:, None] & (torch.arange(32) // 8 == 1)
    assert y[hit].isnan().all()
    assert torch.equal(y[~hit], healthy[~hit])


@pytest.mark.parametrize("batch", [1, 40, 300])
def test_a_block_on_in_one_call_and_off_in_the_next_is_exactly_zero(batch):
    (x, weight, bias), _ = draw(batch, 4, 8, 4, 8, None, None)
    everything, nothing = torch.ones(batch, 4).bool(), torch.zeros(batch, 4).bool()
    for _ in range(3):
        assert block_sparse_linear(x, weight, bias, everything, everything, backend="cpu").any()
        y = block_sparse_linear(x, weight, bias, everything, nothing, backend="cpu")
        assert torch.equal(y, torch.zeros_like(y))


def frozen_layer(weight):
    """A layer whose weights the kernels may keep copies of."""
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight = torch.nn.Parameter(weight.clone(), requires_grad=False)
    keep_panels(layer)
    return layer


def assert_kernels_agree(x, weight, bias, masks):
    y = block_sparse_linear(x, weight, bias, *masks, backend="cpu")
    expected = block_sparse_linear(x, weight, bias, *masks, backend="reference")
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("change", ["in place", "through data"])
def test_a_weight_that_is_changed_between_calls_is_read_anew(change):
    (x, weight, bias), masks = draw(40, 4, 8, 4, 8, 0.5, 0.5)
    for scale in (1.0, -2.0, 0.5):
        (weight if change == "in place" else weight.data).mul_(scale)
        for _ in range(3):
            assert_kernels_agree(x, weight, bias, masks)


def test_frozen_weights_that_torch_sees_changing_are_read_anew():
    (x, weight, bias), masks = draw(40, 4, 8, 4, 8, 0.5, 0.5)
    layer = frozen_layer(weight)
    for scale in (1.0, -2.0, 0.5):
        layer.load_state_dict({"weight": scale * weight, "bias": bias})
        for _ in range(3):
            assert_kernels_agree(x, layer.weight, bias, masks)


def test_a_frozen_weight_at_the_address_of_one_that_is_gone_is_not_taken_for_it():
    (x, weight, bias), masks = draw(40, 4, 8, 4, 8, 0.5, 0.5)
    for seed in range(20):
        layer = frozen_layer(weight * (seed + 1))
        for _ in range(2):
            assert_kernels_agree(x, layer.weight, bias, masks)
        del layer


def test_one_weight_cut_into_blocks_in_two_ways_gives_each_its_own():
    (x, weight, bias), _ = draw(40, 4, 8, 4, 8, None, None)
    weight = frozen_layer(weight).weight
    for blocks in (4, 2, 4, 8, 2):
        mask = torch.rand(40, blocks, generator=torch.Generator().manual_seed(blocks)) < 0.5
        y = block_sparse_linear(x, weight, bias, None, mask, backend="cpu")
        expected = block_sparse_linear(x, weight, bias, None, mask, backend="reference")
        torch.testing.assert_close(y, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("out_size", [1, 4, 8, 20])
def test_a_layer_of_one_block_is_computed_for_the_rows_that_keep_it(out_size):
    (x, weight, bias), (_, mask) = draw(30, 1, 6, 1, out_size, None, 0.5)
    assert 0 < mask.sum() < 30
    y, expected = (
        block_sparse_linear(x, weight, bias, None, mask, activation="tanh", backend=backend)
        for backend in ("cpu", "reference")
    )
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("out_size", [4, 7, 8, 16, 64])
@pytest.mark.parametrize("batch", [1, 3, 40, 300])
@pytest.mark.parametrize("in_size", [12, 700])
def test_where_the_weights_lie_changes_no_bit(out_size, batch, in_size):
    (x, weight, bias), masks = draw(batch, 5, in_size, 9, out_size, 0.6, 0.4)
    layer = frozen_layer(weight)
    y, packed = (
        block_sparse_linear(x, own, bias, *masks, backend="cpu") for own in (weight, layer.weight)
    )
    assert torch.equal(y, packed)


@pytest.mark.parametrize("sizes", [(5, 32, 3, 32), (3, 64, 9, 16), (4, 7, 6, 13), (2, 300, 7, 4)])
@pytest.mark.parametrize("densities", [(0.1, 0.2), (0.7, 0.6), (None, 0.5), (0.5, None)])
def test_weights_that_lie_output_by_output_give_what_those_input_by_input_do(sizes, densities):
    for batch in (0, 1, 2, 40, 300):
        operands, masks = draw(batch, *sizes, *densities)
        expected = outputs_and_gradients(operands, masks, "tanh", "cpu")
        x, weight, bias = operands[0], operands[1].contiguous(), operands[2]
        found = outputs_and_gradients([x, weight, bias], masks, "tanh", "cpu")
        assert_close(found, expected)
        # Gradients lie as the weights do: torch would copy them else.
        assert found[2].is_contiguous()
        part = torch.cat([weight, torch.full_like(weight, torch.nan)], dim=1)[:, : x.shape[1]]
        y = block_sparse_linear(x, part, bias, *masks, activation="tanh", backend="cpu")
        assert_close([y], expected[:1])


def test_what_a_weights_layout_costs_is_told():
    mask, weight = torch.eye(2, dtype=torch.bool), torch.zeros(4, 4)
    told = [
        explain_backend(torch.zeros(2, 4), w, mask, backend="cpu").reason
        for w in (weight.t(), weight, torch.zeros(4, 8)[:, ::2])
    ]
    assert [("turned" in reason, "copied" in reason) for reason in told] == [
        (False, False),
        (True, False),
        (False, True),
    ]


def test_kernels_compiled_from_other_sources_are_forgotten(tmp_path):
    cache = tmp_path / "__pycache__"
    cache.mkdir()
    (tmp_path / "tiles.py").write_text("a = 1")
    for _ in range(2):
        (cache / "program.nbi").touch()
        forget_stale(tmp_path)
    assert (cache / "program.nbi").exists()
    (tmp_path / "tiles.py").write_text("a = 2")
    (cache / "tiles.pyc").touch()
    forget_stale(tmp_path)
    assert not (cache / "program.nbi").exists()
    assert (cache / "tiles.pyc").exists()


@pytest.mark.parametrize(("module", "lines"), [("ccenv.sparse.mine", 1), ("elsewhere", 0)])
def test_who_waits_for_our_kernels_is_told_so_once(module, lines, capfd):
    def first(x):
        return x + 1

    def second(x):
        return x + 2

    listener = Announcement()
    # The process's own may not have spoken yet.
    events.unregister("numba:compile", announcement)
    events.register("numba:compile", listener)
    try:
        for function in (first, second):
            function.__module__ = module
            function = njit(function)
            assert function(1) in (2, 3)
            function(2)
    finally:
        events.unregister("numba:compile", listener)
        events.register("numba:compile", announcement)
    said = [line for line in capfd.readouterr().err.splitlines() if "compiling kernels" in line]
    assert len(said) == lines


def test_a_user_who_may_keep_no_kernels_compiles_them_and_is_told(monkeypatch, capfd):
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    monkeypatch.setattr(announcement, "said", False)
    monkeypatch.setattr(announcement, "may_say", lambda: True)

    def third(x):
        return x + 3

    third.__module__ = "ccenv.sparse.mine"
    assert compiled(third)(1) == 4
    assert "(about a minute; in every process: neither" in capfd.readouterr().err


def test_repeated_passes_are_equal_bit_for_bit():
    operands, masks = draw(300, 8, 16, 8, 16, 0.3, 0.3)
    first = outputs_and_gradients(operands, masks, "tanh", "cpu")
    again = outputs_and_gradients(operands, masks, "tanh", "cpu")
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


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
        (1.0, 10, torch.float32, "auto", "dense"),
        (1.0, 100, torch.float64, "auto", "masked_dense"),
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


def test_a_dense_product_is_never_chosen_where_a_block_is_kept_by_nobody():
    mask, weight = torch.ones(4000, 40, dtype=torch.bool), torch.zeros(40, 40)
    assert explain_backend(torch.zeros(4000, 40), weight, mask).route == "dense"
    mask[:, 7] = False
    assert explain_backend(torch.zeros(4000, 40), weight, mask).route == "kernels"


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


@given(st.integers(1, 4096), st.integers(1, 64), st.integers(1, 64))
def test_wider_blocks_are_worth_kernels_at_larger_shares(batch, blocks, size):
    shares = [most_pairs((batch, blocks, width, blocks, width)) for width in (size, size + 1)]
    assert shares[0] < shares[1]


@given(st.integers(0, 40), st.integers(1, 70), st.integers(1, 9), st.booleans(), st.booleans())
def test_pairs_of_blocks_are_counted_right(batch, in_blocks, out_blocks, has_in, has_out):
    generator = torch.Generator().manual_seed(batch)
    masks = [
        torch.rand(batch, n, generator=generator) < 0.8 if wanted else None
        for n, wanted in ((in_blocks, has_in), (out_blocks, has_out))
    ]
    x, weight = torch.zeros(batch, in_blocks), torch.zeros(out_blocks, in_blocks)
    found = kept_pairs(sizes_of(x, weight, *masks), *masks)
    full = [torch.ones(batch, 1, dtype=torch.bool) if mask is None else mask for mask in masks]
    if all(bool(mask.any(dim=0).all()) for mask in full):
        assert found == int((full[0].sum(dim=1) * full[1].sum(dim=1)).sum())
    else:
        assert found == -1


@pytest.mark.parametrize("reason", [None, "it has no compiler"])
def test_a_gpu_without_triton_is_told_once_and_served_by_torch(reason, monkeypatch, recwarn):
    monkeypatch.setattr("ccenv.sparse.gpu.dispatch.why_not", lambda x: reason)
    gpu_routes.triton_takes.cache_clear()
    for _ in range(2):
        assert gpu_routes.triton_takes(torch.device("cpu"), torch.float16) == (reason is None)
    gpu_routes.triton_takes.cache_clear()
    told = [str(warning.message) for warning in recwarn]
    assert len(told) == (reason is not None)
    assert all("it has no compiler" in message for message in told)
