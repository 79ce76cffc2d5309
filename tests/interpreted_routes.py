"""Laws of exact pairs, of the choice between them and tiles, and of the dense product, interpreted.

test_gpu.py runs this file in a process where Triton interprets kernels.
"""

from dataclasses import replace

import gpu_laws
import pytest
import torch
from gpu_laws import assert_agrees, draw_layer, run

from ccenv.sparse import gpu_layer, gpu_products, gpu_step_plan
from ccenv.sparse.gpu import masked_dense_linear

DTYPES = [torch.float32, torch.float16]
# (blocks, units of a block) of both sides: odd, padded, one block of results, cut in pieces.
SIZES = [((5, 4), (3, 8)), ((2, 24), (3, 16)), ((2, 64), (1, 32)), ((2, 130), (1, 66))]
ROUTES = ["pairs", "dense"]


@pytest.fixture(autouse=True)
def memory_without_numbers():
    """torch.empty is NaN, so that whatever a kernel forgets to write or to skip is seen."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def list_always(monkeypatch):
    """Steps are listed even where this takes more time than steps can save."""
    monkeypatch.setattr(gpu_step_plan, "LISTING_SECONDS", float("-inf"))


def cut_small(monkeypatch, prices):
    """Chunks and steps of 16 rows for any batch, at these prices of a step, a row and a tile."""
    list_always(monkeypatch)
    monkeypatch.setattr(gpu_step_plan, "STEPPED_ROWS", 1)
    monkeypatch.setattr(gpu_step_plan, "CHUNKS", (16,))
    monkeypatch.setattr(gpu_step_plan, "STEP_ROWS", {2: 16, 4: 16})
    monkeypatch.setattr(gpu_step_plan, "prices", lambda *cuts, **precision: prices)


@pytest.fixture
def multiply(request, monkeypatch):
    """A way to multiply by its name: exact pairs wherever a row is listed, or a dense product."""
    if request.param == "dense":
        return masked_dense_linear
    cut_small(monkeypatch, (0, 0, 100))
    return gpu_laws.triton_linear


def share_of(layer):
    return gpu_layer.share_by_steps(layer.x, layer.weight, layer.in_mask, layer.out_mask)


both = pytest.mark.parametrize("multiply", ROUTES, indirect=True)
by_pairs = pytest.mark.parametrize("multiply", ["pairs"], indirect=True)


@both
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("density", [0.0, 1 / 16, 0.5, 1.0])
def test_a_route_equals_the_reference_in_outputs_and_all_gradients(dtype, density, multiply):
    cases = list(zip(SIZES, (None, "tanh", "relu", "tanh"), strict=True))
    for sizes, activation in cases if dtype == torch.float32 else cases[1::2]:
        layer = draw_layer(20, *sizes, (density, density), dtype, activation=activation)
        assert_agrees(layer, multiply)


@both
@pytest.mark.parametrize("densities", [(None, 0.3), (0.3, None), (0.9, 0.1)])
def test_masks_may_differ_or_be_missing_on_either_side(densities, multiply):
    for sizes, in_major in [(((3, 5), (2, 12)), True), (((3, 16), (2, 32)), False)]:
        assert_agrees(draw_layer(20, *sizes, densities, in_major=in_major), multiply)


@both
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("poison", "activation"), [(torch.nan, "relu"), (torch.inf, None)])
def test_rows_that_skip_a_block_do_not_meet_its_weights(dtype, poison, activation, multiply):
    sizes = ((4, 5), (2, 12)) if poison == torch.inf else ((2, 80), (1, 16))
    layer = draw_layer(20, *sizes, (0.5, 0.8), dtype, activation=activation)
    gpu_laws.assert_rows_that_skip_a_block_do_not_meet_its_weights(layer, poison, multiply)


@both
def test_what_nobody_keeps_changes_nothing(multiply):
    by_bits = multiply is not masked_dense_linear
    for sizes in [((4, 5), (2, 12)), ((2, 64), (2, 16))]:
        layer = draw_layer(20, *sizes, (0.5, 0.5))
        gpu_laws.assert_what_nobody_keeps_changes_nothing(layer, multiply, by_bits)


@both
@pytest.mark.parametrize("dtype", DTYPES)
def test_repeats_are_equal_by_bits(dtype, multiply):
    layer = draw_layer(20, (3, 16), (2, 24), (0.5, 0.5), dtype)
    gpu_laws.assert_repeats_are_equal_by_bits(layer, 1, multiply)


@both
def test_a_block_that_was_on_and_is_off_is_zero(multiply):
    layer = draw_layer(20, (2, 16), (2, 16), (0.5, 0.5))
    gpu_laws.assert_a_block_that_was_on_and_is_off_is_zero(layer, multiply)


@both
def test_programs_of_a_launch_may_run_in_any_order(multiply, monkeypatch):
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


@both
def test_a_layer_may_lack_rows_or_a_bias_and_want_only_some_gradients(multiply):
    assert run(draw_layer(0, (2, 16), (3, 8), (0.5, 0.5)), multiply)[0].shape == (0, 24)
    layer = replace(draw_layer(20, (2, 16), (2, 16), (0.5, 0.5)), bias=None)
    assert_agrees(layer, multiply)
    leaf = layer.x.clone().requires_grad_()
    y = multiply(leaf, layer.weight, None, layer.in_mask, layer.out_mask, "tanh")
    (grad_x,) = torch.autograd.grad(y, leaf, layer.grad_y)
    assert torch.equal(grad_x, run(layer, multiply)[1])


@by_pairs
def test_every_chunk_with_a_listed_row_takes_steps_where_these_cost_nothing(multiply):
    assert share_of(draw_layer(33, (3, 16), (2, 24), (0.9, 0.9))) == 1.0
    assert share_of(draw_layer(33, (3, 16), (2, 24), (0.9, None))) == 1.0
    assert share_of(draw_layer(33, (3, 16), (2, 24), (None, 0.9))) == 0.0
    assert share_of(draw_layer(3, (3, 16), (2, 24), (0.9, 0.9))) == 0.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_block_that_many_rows_of_a_chunk_keep_takes_several_steps(dtype, monkeypatch):
    cut_small(monkeypatch, (0, 0, 100))
    monkeypatch.setattr(gpu_step_plan, "CHUNKS", (64,))
    layer = draw_layer(90, (2, 16), (2, 16), (0.7, 0.9), dtype)
    steps = listed_steps(layer)[1].steps
    assert steps.plan.chunk == 64
    assert steps.counts.max() > 2
    assert_agrees(layer)


def test_chunks_of_both_kinds_together_write_every_output(monkeypatch):
    cut_small(monkeypatch, (2, 0, 3))
    layer = draw_layer(33, (6, 16), (4, 16), (1.0, 0.6))
    # The later rows keep only one input block: few steps, as against tiles for all their blocks.
    layer.in_mask[:16] = True
    layer.in_mask[16:] = torch.eye(6, dtype=torch.bool)[torch.arange(17) % 6]
    layer.out_mask[:16, 1:] = False
    assert 0 < share_of(layer) < 1
    assert_agrees(layer)


def test_chunks_with_more_steps_than_there_is_room_for_are_left_to_tiles(monkeypatch):
    cut_small(monkeypatch, (0, 0, 100))
    monkeypatch.setattr(gpu_step_plan, "PAIR_ENTRIES", 16 * 2 * 9)
    layer = draw_layer(33, (3, 16), (3, 16), (0.5, 0.5))
    layer.in_mask[:, 2] = False
    layer.in_mask[0] = True
    assert 0 < share_of(layer) < 1
    assert_agrees(layer)


def listed_steps(layer):
    """The layer's lists, its cuts and its steps, as planned for an H100."""
    lists = gpu_layer.list_both(layer.x, layer.weight, layer.in_mask, layer.out_mask)
    in_blocks = gpu_products.blocks_of(layer.in_mask)
    return lists, gpu_products.list_product(layer.x, layer.weight, in_blocks, lists)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("has_out_mask", [True, False])
def test_a_chunk_takes_steps_exactly_where_they_are_calculated_to_be_cheaper(
    dtype, has_out_mask, monkeypatch
):
    list_always(monkeypatch)
    layer = draw_layer(1500, (8, 64), (2, 64), (1.0, 0.3 if has_out_mask else None), dtype)
    # Blocks grow rarer with their number, and rows keep fewer of them.
    generator = torch.Generator().manual_seed(0)
    wanted = torch.linspace(2.0, 0.0, 1500)[:, None] * torch.linspace(1.0, 0.5, 8)
    layer.in_mask[:] = torch.rand(1500, 8, generator=generator) < wanted
    lists, listed = listed_steps(layer)
    plan, counts = listed.steps.plan, listed.steps.counts.tolist()
    taken = []
    for block in range(2 if has_out_mask else 1):
        rows = torch.arange(1500)
        if has_out_mask:
            rows = lists.outs.rows[block, : lists.outs.counts[block]].long()
        for chunk in range(-(-1500 // plan.chunk)):
            own = layer.in_mask[rows[chunk * plan.chunk :][: plan.chunk]]
            steps = sum(-(-int(number) // plan.rows) for number in own.sum(dim=0))
            needed = sum(int(part.any(dim=0).sum()) for part in own.split(listed.tile.rows))
            price = steps * plan.step_price + int(own.sum()) * plan.row_price
            fits = steps <= plan.capacity and price < needed * plan.tile_price
            taken.append(steps if fits else -1)
    assert counts == taken
    assert has_out_mask or {count >= 0 for count in counts} == {True, False}


def test_steps_hold_each_kept_pair_of_a_chunk_once(monkeypatch):
    list_always(monkeypatch)
    layer = draw_layer(700, (5, 64), (1, 64), (0.1, None))
    _, listed = listed_steps(layer)
    steps, size = listed.steps, listed.steps.plan.chunk
    assert (steps.counts >= 0).all()
    for chunk, count in enumerate(steps.counts):
        found = [
            (row, int(word) // 256)
            for word, rows in zip(steps.blocks[chunk, :count], steps.rows[chunk], strict=False)
            for row in rows[: int(word) % 256].tolist()
        ]
        own = layer.in_mask[chunk * size : (chunk + 1) * size].nonzero()
        assert sorted(found) == [(chunk * size + row, block) for row, block in own.tolist()]
