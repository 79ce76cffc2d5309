"""Laws of the Triton kernels and of the GPU's dense product between masks, on any device.

test_gpu.py runs this file in a process where Triton interprets kernels, test_gpu_card.py on a card.
"""

import os
from dataclasses import replace

import pytest
import sparse_layers as layers
import torch
from sparse_layers import draw_layer, run

from ccenv.annexes.sparse_gpu import gradients as gpu_gradients
from ccenv.annexes.sparse_gpu import lists as gpu_lists
from ccenv.annexes.sparse_gpu.dense import dense_linear
from ccenv.annexes.sparse_gpu.layer import triton_linear
from ccenv.annexes.sparse_gpu.routes import reason_against
from ccenv.sparse import linear

ON_CARD = os.environ.get("TRITON_INTERPRET") != "1"
WAYS = {
    name: lambda *operands, layer=layer: layer(operands[:5], operands[5])
    for name, layer in {"kernels": triton_linear, "dense": dense_linear}.items()
}
DTYPES = [torch.float32, torch.float16, torch.bfloat16][: 3 if ON_CARD else 2]
# (blocks, units of a block) of both sides: merged, odd, padded, alone, and cut in pieces.
SIZES = [((5, 4), (3, 8)), ((3, 5), (2, 12)), ((2, 24), (3, 16)), ((2, 64), (1, 32))]
LARGE = [((2, 128), (1, 5)), ((1, 48), (2, 128)), ((1, 200), (1, 136))]
BATCHES = {"kernels": [1, 7, 33], "dense": [20]}
if ON_CARD:
    SIZES += [((6, n), (4, n)) for n in (4, 5, 8, 12, 16, 24, 32, 48, 64, 100, 128)]
    BATCHES = {"kernels": [1, 7, 33, 1000], "dense": [1, 7, 33, 1000]}
# Few rows go another way than many, but not by dense products.
FEW_AND_MANY = [7, 1000 if ON_CARD else 20]
ROWS = {"kernels": FEW_AND_MANY, "dense": FEW_AND_MANY if ON_CARD else [20]}

each_way = pytest.mark.parametrize("way", WAYS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
each_batch = pytest.mark.parametrize("batch", FEW_AND_MANY)


@pytest.fixture(autouse=True)
def memory_without_numbers(monkeypatch):
    """torch.empty is NaN, so that whatever a kernel forgets to write or to skip is seen."""
    # Torch asks for it on a card before it multiplies the references.
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=ON_CARD)
    yield
    torch.use_deterministic_algorithms(False)


def draw(batch, sizes, densities=(0.5, 0.5), dtype=torch.float32, **settings):
    device = "cuda" if ON_CARD else "cpu"
    return draw_layer(batch, *sizes, densities, dtype, device, **settings)


def assert_agrees(layer, way="kernels"):
    tensors = layers.assert_agrees(layer, WAYS[way])
    # The gradient of the weight lies as the weight does, so that no optimizer has to copy it.
    assert tensors[2].stride() == layer.weight.stride()


@each_way
@each_dtype
@pytest.mark.parametrize("density", [0.0, 1 / 16, 0.5, 1.0])
def test_every_way_equals_the_reference_in_outputs_and_all_gradients(density, dtype, way):
    # Half precision rounds otherwise, and a dense product has no tiles: two sizes show it as well.
    is_whole = ON_CARD or (dtype == torch.float32 and way == "kernels")
    for number, sizes in enumerate(SIZES if is_whole else SIZES[1::2]):
        batches = BATCHES[way]
        if not ON_CARD:
            # Interpreted, a third of the cases: all pairs of a size, a density and a batch.
            batches = batches[(number + int(16 * density)) % len(batches) :][:1]
        for batch in batches:
            activation = (None, "tanh", "relu")[number % 3]
            layer = draw(batch, sizes, (density, density), dtype, activation=activation)
            assert_agrees(layer, way)


@each_way
@each_dtype
def test_blocks_larger_than_a_tile_are_cut_in_pieces(dtype, way):
    for batch, sizes in zip((3, 20, 7), LARGE, strict=True):
        assert_agrees(draw(batch, sizes, dtype=dtype), way)


@each_way
@each_dtype
@pytest.mark.parametrize("densities", [(None, 0.3), (0.3, None), (0.9, 0.1), (None, None)])
def test_masks_may_differ_or_be_missing_on_either_side(dtype, densities, way):
    for batch in ROWS[way][: None if ON_CARD else -1]:
        assert_agrees(draw(batch, ((3, 5), (2, 12)), densities, dtype), way)
    layer = draw(20, ((3, 16), (2, 32)), densities, dtype, in_major=False, activation="relu")
    assert_agrees(layer, way)


@each_way
@each_batch
def test_a_layer_may_lack_a_bias_and_want_only_some_gradients(batch, way):
    layer = replace(draw(batch, ((2, 16), (2, 16))), bias=None)
    assert_agrees(layer, way)
    y, grad_x, grad_weight = run(layer, WAYS[way])
    for wanted, gradient in (("x", grad_x), ("weight", grad_weight)):
        leaf = getattr(layer, wanted).detach().requires_grad_()
        operands = [leaf if name == wanted else getattr(layer, name) for name in ("x", "weight")]
        again = WAYS[way](*operands, None, layer.in_mask, layer.out_mask, "tanh")
        assert torch.equal(again, y)
        assert torch.equal(torch.autograd.grad(again, leaf, layer.grad_y)[0], gradient)


@each_batch
def test_operands_and_masks_may_have_any_strides(batch):
    layer, multiply = draw(batch, ((3, 16), (2, 16))), WAYS["kernels"]
    layers.assert_equal(run(layers.spread(layer), multiply), run(layer, multiply))


@each_way
@each_dtype
@pytest.mark.parametrize(("poison", "activation"), [(torch.nan, "relu"), (torch.inf, None)])
def test_rows_that_skip_a_block_do_not_meet_its_weights(dtype, poison, activation, way):
    # Interpreted, few rows meet NaN and many infinity, which is NaN where zeros are multiplied.
    ways = list(zip(ROWS[way], [((2, 80), (1, 16)), ((4, 5), (2, 12))], strict=False))
    for batch, sizes in ways if ON_CARD else ways[-1:] if poison == torch.inf else ways[:1]:
        layer = draw(batch, sizes, (0.5, 0.8), dtype, activation=activation)
        layers.assert_rows_that_skip_a_block_do_not_meet_its_weights(layer, poison, WAYS[way])


@each_way
@each_dtype
def test_what_nobody_keeps_changes_nothing(dtype, way):
    for batch, sizes in zip(ROWS[way], [((4, 5), (2, 12)), ((2, 64), (2, 16))], strict=False):
        layer = draw(batch, sizes, dtype=dtype)
        by_bits = way == "kernels"
        layers.assert_what_nobody_keeps_changes_nothing(layer, WAYS[way], by_bits=by_bits)


@each_way
def test_an_empty_batch_gives_an_empty_result_and_zero_gradients(way):
    layers.assert_an_empty_batch_gives_nothing(draw(0, ((2, 16), (3, 8))), WAYS[way])


@each_way
@each_batch
def test_a_block_that_was_on_and_is_off_is_zero(batch, way):
    layer = draw(batch, ((2, 16), (2, 16)), (1.0, 1.0))
    layers.assert_a_block_that_was_on_and_is_off_is_zero(layer, WAYS[way])


def test_sorted_rows_and_pairs_in_slabs_change_nothing(monkeypatch):
    layer = draw(33, ((3, 16), (5, 16)))
    assert gpu_lists.kept_order(layer.in_mask) is None
    monkeypatch.setattr(gpu_lists, "SORTED_ROWS", 1)
    monkeypatch.setattr(gpu_gradients, "PAIR_ENTRIES", 2 * 3 * 33)
    assert len(gpu_lists.kept_order(layer.in_mask).unique()) == 33
    assert_agrees(layer)


@pytest.mark.skipif(ON_CARD, reason="a card chooses the order itself")
@each_way
def test_programs_of_a_launch_may_run_in_any_order(monkeypatch, way):
    from triton.runtime.interpreter import interpreter_builder as builder

    drawn = [draw(batch, ((3, 16), (5, 8))) for batch in FEW_AND_MANY]
    wanted, choose = [run(layer, WAYS[way]) for layer in drawn], builder.set_grid_idx
    backwards = []

    def choose_from_the_end(x, y, z):
        backwards.append(x)
        choose(builder.grid_dim[0] - 1 - x, y, z)

    monkeypatch.setattr(builder, "set_grid_idx", choose_from_the_end)
    for layer, before in zip(drawn, wanted, strict=True):
        layers.assert_equal(run(layer, WAYS[way]), before)
    assert max(backwards) > 1


def test_a_list_holds_each_row_once_and_those_that_keep_the_block_first():
    mask = draw(40, ((5, 1), (1, 1)), (0.4, None)).in_mask
    lists = gpu_lists.list_mask(mask, merged=3, order=None)
    for block, rows in enumerate(lists.rows):
        kept, skipped = rows.split([int(lists.counts[block]), 40 - int(lists.counts[block])])
        assert torch.equal(kept, mask[:, block].nonzero().squeeze(1).int())
        assert sorted(skipped.tolist()) == (~mask[:, block]).nonzero().squeeze(1).tolist()
    bits = [(lists.codes[block // 3] >> (block % 3)) & 1 for block in range(5)]
    assert torch.equal(torch.stack(bits, dim=1).bool(), mask)


@each_dtype
def test_triton_takes_every_dtype_but_the_interpreter_no_bfloat16(dtype):
    assert reason_against(draw(1, ((1, 1), (1, 1))).x.device, dtype) is None
    if not ON_CARD:
        assert "bfloat16" in reason_against(torch.device("cpu"), torch.bfloat16)


def test_the_door_takes_the_kernels_where_they_are_chosen(monkeypatch):
    layer = draw(20, ((2, 16), (2, 16)))
    monkeypatch.setattr(linear, "choose_route", lambda *args, **settings: "triton")
    operands = (layer.x, layer.weight, layer.bias, layer.in_mask, layer.out_mask)
    y = linear.block_sparse_linear(*operands, activation="tanh")
    assert torch.equal(y, triton_linear(operands, "tanh"))
