"""Laws of the Triton kernels in Triton's interpreter; test_gpu.py runs this file with it on."""

from dataclasses import replace

import gpu_laws
import pytest
import torch
from gpu_laws import assert_agrees, draw_layer, run

from ccenv.sparse.gpu import dispatch as gpu

DTYPES = [torch.float32, torch.float16]
DENSITIES = [0.0, 1 / 16, 0.5, 1.0]
# (blocks, units of a block) of both sides: merged, odd, padded, alone and cut in pieces.
SIZES = [((5, 4), (3, 8)), ((3, 5), (2, 12)), ((2, 24), (3, 16)), ((2, 64), (1, 32))]
LARGE = [((2, 128), (1, 5)), ((1, 48), (2, 128)), ((1, 200), (1, 136))]


@pytest.fixture(autouse=True)
def memory_without_numbers():
    """torch.empty is NaN, so that whatever a kernel forgets to write or to skip is seen."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("batch", [1, 7, 33])
def test_the_kernels_equal_the_reference_in_outputs_and_all_gradients(dtype, density, batch):
    cases = list(zip(SIZES, (None, "tanh", "relu", "tanh"), strict=True))
    # Half precision rounds otherwise, which two sizes show as well as four.
    for sizes, activation in cases if dtype == torch.float32 else cases[1::2]:
        assert_agrees(draw_layer(batch, *sizes, (density, density), dtype, activation=activation))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [3, 33])
def test_blocks_larger_than_a_tile_are_cut_in_pieces(dtype, batch):
    for sizes in LARGE:
        assert_agrees(draw_layer(batch, *sizes, (0.5, 0.5), dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [3, 33])
@pytest.mark.parametrize("densities", [(None, 0.3), (0.3, None), (0.9, 0.1), (0.1, 0.9)])
def test_masks_may_differ_or_be_missing_on_either_side(dtype, batch, densities):
    for sizes, in_major in [(((3, 5), (2, 12)), True), (((3, 16), (2, 32)), False)]:
        assert_agrees(draw_layer(batch, *sizes, densities, dtype, in_major=in_major))


def test_a_layer_without_masks_is_dense():
    assert_agrees(draw_layer(33, (1, 70), (1, 37), (None, None)))


@pytest.mark.parametrize("batch", [3, 33])
def test_a_layer_may_lack_a_bias_and_want_only_some_gradients(batch):
    layer = replace(draw_layer(batch, (2, 16), (2, 16), (0.5, 0.5)), bias=None)
    assert_agrees(layer)
    y, grad_x, grad_weight = run(layer)
    for wanted, gradient in (("x", grad_x), ("weight", grad_weight)):
        leaf = getattr(layer, wanted).detach().requires_grad_()
        operands = [leaf if name == wanted else getattr(layer, name) for name in ("x", "weight")]
        again = gpu.triton_linear(*operands, None, layer.in_mask, layer.out_mask, "tanh")
        assert torch.equal(again, y)
        assert torch.equal(torch.autograd.grad(again, leaf, layer.grad_y)[0], gradient)


@pytest.mark.parametrize("batch", [3, 33])
def test_operands_and_masks_may_have_any_strides(batch):
    layer = draw_layer(batch, (3, 16), (2, 16), (0.5, 0.5))
    spread = {
        name: getattr(layer, name).repeat_interleave(2, dim=1)[:, ::2]
        for name in ("x", "weight", "in_mask", "out_mask", "grad_y")
    }
    for found, wanted in zip(run(replace(layer, **spread)), run(layer), strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [7, 33])
@pytest.mark.parametrize(("poison", "activation"), [(torch.nan, "relu"), (torch.inf, None)])
def test_rows_that_skip_a_block_do_not_meet_its_weights(dtype, batch, poison, activation):
    for sizes in [((4, 5), (2, 12)), ((2, 80), (1, 16))]:
        layer = draw_layer(batch, *sizes, (0.5, 0.8), dtype, activation=activation)
        gpu_laws.assert_rows_that_skip_a_block_do_not_meet_its_weights(layer, poison)


@pytest.mark.parametrize("batch", [7, 33])
def test_what_nobody_keeps_changes_nothing(batch):
    for sizes in [((4, 5), (2, 12)), ((2, 64), (2, 16))]:
        gpu_laws.assert_what_nobody_keeps_changes_nothing(draw_layer(batch, *sizes, (0.5, 0.5)))


def test_an_empty_batch_gives_an_empty_result_and_zero_gradients():
    y, grad_x, grad_weight, grad_bias = run(draw_layer(0, (2, 16), (3, 8), (0.5, 0.5)))
    assert y.shape == (0, 24)
    assert grad_x.shape == (0, 32)
    assert not grad_weight.any()
    assert not grad_bias.any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [7, 33])
def test_repeats_are_equal_by_bits(dtype, batch):
    layer = draw_layer(batch, (3, 16), (2, 24), (0.5, 0.5), dtype)
    gpu_laws.assert_repeats_are_equal_by_bits(layer, times=2)


@pytest.mark.parametrize("batch", [7, 33])
def test_a_block_that_was_on_and_is_off_is_zero(batch):
    layer = draw_layer(batch, (2, 16), (2, 16), (1.0, 1.0))
    gpu_laws.assert_a_block_that_was_on_and_is_off_is_zero(layer)


def test_sorted_rows_and_pairs_in_slabs_change_nothing(monkeypatch):
    from ccenv.sparse.gpu import gradients as gpu_gradients
    from ccenv.sparse.gpu import lists as gpu_lists

    layer = draw_layer(33, (3, 16), (5, 16), (0.5, 0.5))
    assert gpu_lists.kept_order(layer.in_mask) is None
    monkeypatch.setattr(gpu_lists, "SORTED_ROWS", 1)
    monkeypatch.setattr(gpu_gradients, "PAIR_ENTRIES", 2 * 3 * 33)
    assert len(gpu_lists.kept_order(layer.in_mask).unique()) == 33
    assert_agrees(layer)


@pytest.mark.parametrize("batch", [7, 33])
def test_programs_of_a_launch_may_run_in_any_order(batch, monkeypatch):
    from triton.runtime.interpreter import interpreter_builder as builder

    layer = draw_layer(batch, (3, 16), (5, 8), (0.5, 0.5))
    wanted, choose = run(layer), builder.set_grid_idx
    backwards = []

    def choose_from_the_end(x, y, z):
        backwards.append(x)
        choose(builder.grid_dim[0] - 1 - x, y, z)

    monkeypatch.setattr(builder, "set_grid_idx", choose_from_the_end)
    for found, expected in zip(run(layer), wanted, strict=True):
        assert torch.equal(found, expected)
    assert max(backwards) > 1


def test_a_list_holds_each_row_once_and_those_that_keep_the_block_first():
    from ccenv.sparse.gpu.lists import list_mask

    mask = torch.rand(40, 5, generator=torch.Generator().manual_seed(0)) < 0.4
    lists = list_mask(mask, merged=3, order=None)
    for block, rows in enumerate(lists.rows):
        kept, skipped = rows.split([int(lists.counts[block]), 40 - int(lists.counts[block])])
        assert torch.equal(kept, mask[:, block].nonzero().squeeze(1).int())
        assert sorted(skipped.tolist()) == (~mask[:, block]).nonzero().squeeze(1).tolist()
    bits = [(lists.codes[block // 3] >> (block % 3)) & 1 for block in range(5)]
    assert torch.equal(torch.stack(bits, dim=1).bool(), mask)


def test_the_interpreter_takes_all_but_bfloat16():
    assert gpu.why_not(torch.zeros(1)) is None
    assert gpu.why_not(torch.zeros(1, dtype=torch.float16)) is None
    assert "bfloat16" in gpu.why_not(torch.zeros(1, dtype=torch.bfloat16))
