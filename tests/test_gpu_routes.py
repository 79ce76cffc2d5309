"""Which way a GPU takes, without a GPU: calculated times, plans of exact pairs, routes by shape."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.sparse import gpu_plan, gpu_roofline, gpu_routes, gpu_step_plan
from ccenv.sparse.gpu_roofline import A100, H100, GpuShape

WIDE = GpuShape(8192, 4096, 4096, 64, 64, itemsize=2, is_tf32=False)
shapes = st.builds(
    GpuShape,
    batch=st.integers(1, 100_000),
    in_features=st.sampled_from([64, 640, 4096]),
    out_features=st.sampled_from([64, 640, 4096]),
    in_blocks=st.sampled_from([None, 1, 8, 64]),
    out_blocks=st.sampled_from([None, 1, 8, 64]),
    itemsize=st.sampled_from([2, 4]),
    is_tf32=st.booleans(),
)
cards, training = st.sampled_from([H100, A100]), st.booleans()


@given(shapes, cards, training, st.floats(0, 1), st.floats(0, 1))
def test_keeping_more_never_takes_less_calculated_time(shape, card, is_training, one, other):
    low, high = sorted([one, other])
    times = [
        gpu_roofline.kernel_seconds(shape, card, density, is_training=is_training)
        for density in (low, high)
    ]
    assert 0 < times[0] <= times[1]


@given(shapes, cards, training, st.integers(1, 100_000))
def test_more_rows_never_take_less_calculated_time_by_a_dense_product(
    shape, card, is_training, more
):
    # Few rows are another case: the host's time does not count there.
    few = replace(shape, batch=max(shape.batch, gpu_plan.VECTOR_ROWS + 1))
    many = replace(few, batch=few.batch + more)
    times = [
        gpu_roofline.dense_seconds(each, card, is_training=is_training) for each in (few, many)
    ]
    assert 0 < times[0] <= times[1]


@given(shapes, cards)
def test_training_never_takes_less_calculated_time_than_forward(shape, card):
    forward = gpu_roofline.expected_seconds(shape, card, is_training=False)
    both = gpu_roofline.expected_seconds(shape, card, is_training=True)
    assert all(a < b for a, b in zip(forward, both, strict=True))


def expects_dense(shape, is_training=False):
    return gpu_roofline.dense_is_expected(shape, H100, is_training=is_training)


@pytest.mark.parametrize("is_training", [False, True])
def test_a_dense_product_is_expected_in_the_valley_between_few_rows_and_many(is_training):
    for batch in (128, 256, 512):
        assert expects_dense(replace(WIDE, batch=batch), is_training)
    for batch in (2048, 8192):
        assert not expects_dense(replace(WIDE, batch=batch), is_training)
    assert not expects_dense(replace(WIDE, batch=1))


def route_of(shape, backend="auto", is_training=False):
    """The route on tensors without numbers: nobody can look at their masks."""
    dtype = torch.bfloat16 if shape.itemsize == 2 else torch.float32
    x = torch.empty(shape.batch, shape.in_features, dtype=dtype, device="meta")
    weight = torch.empty(shape.out_features, shape.in_features, dtype=dtype, device="meta")
    masks = [
        None if blocks is None else torch.empty(shape.batch, blocks, dtype=bool, device="meta")
        for blocks in (shape.in_blocks, shape.out_blocks)
    ]
    return gpu_routes.gpu_route(x, weight, *masks, backend, is_training=is_training)


@pytest.fixture
def _takes_all(monkeypatch):
    monkeypatch.setattr(gpu_routes, "triton_takes", lambda device, dtype: True)


@pytest.mark.usefixtures("_takes_all")
def test_a_route_is_chosen_by_shape_and_can_be_forced():
    assert route_of(WIDE) == "triton"
    assert route_of(replace(WIDE, batch=256)) == "masked_dense"
    assert route_of(replace(WIDE, batch=256), "gpu") == "triton"
    assert route_of(replace(WIDE, batch=256, itemsize=4)) == "triton"
    small = GpuShape(128, 640, 640, 10, 10, itemsize=4, is_tf32=False)
    assert route_of(small, is_training=True) == "masked_dense"


def test_where_triton_cannot_run_torch_multiplies(monkeypatch):
    monkeypatch.setattr(gpu_routes, "triton_takes", lambda device, dtype: False)
    for backend in ("auto", "gpu"):
        assert route_of(replace(WIDE, batch=256), backend) == "grouped"


def test_a_choice_says_its_figures_and_that_they_are_not_measured():
    x, weight = torch.empty(256, 4096, device="meta"), torch.empty(4096, 4096, device="meta")
    mask = torch.empty(256, 64, dtype=bool, device="meta")
    said = gpu_routes.gpu_figures(x, weight, mask, mask, is_training=False)
    shape = gpu_routes.shape_of(x, weight, mask, mask)
    for seconds in gpu_roofline.expected_seconds(shape, H100, is_training=False):
        assert f"{1e6 * seconds:.0f}" in said
    assert "not measured" in said
    assert gpu_routes.gpu_pairs_share(x[:3], weight, mask[:3], mask[:3]) == "; each row by itself"


def plan_of(batch, block, in_blocks, out_blocks, itemsize, is_listed, is_tf32):
    """The cuts of a layer and its plan of steps for an H100."""
    inner = gpu_plan.cut_inner(block * in_blocks, in_blocks, itemsize)
    outs = out_blocks if is_listed else None
    outer = gpu_plan.cut_outer(block * out_blocks, outs, gpu_plan.OUTER_UNITS[itemsize])
    tile = gpu_plan.choose_tile(batch, inner, outer, itemsize, is_listed=True)
    cuts, sides = (inner, outer, tile), {"is_listed": is_listed, "is_tf32": is_tf32}
    return *cuts, gpu_step_plan.plan_steps(batch, in_blocks, *cuts, itemsize, H100, **sides)


@settings(deadline=None)
@given(
    batch=st.integers(1, 200_000),
    block=st.integers(1, 300),
    in_blocks=st.integers(1, 70),
    out_blocks=st.integers(1, 70),
    itemsize=st.sampled_from([2, 4]),
    is_listed=st.booleans(),
    is_tf32=st.booleans(),
)
def test_steps_fit_in_their_chunks_their_words_and_their_memory(
    batch, block, in_blocks, out_blocks, itemsize, is_listed, is_tf32
):
    inner, outer, tile, plan = plan_of(
        batch, block, in_blocks, out_blocks, itemsize, is_listed, is_tf32
    )
    if plan is None:
        return
    assert batch >= gpu_step_plan.STEPPED_ROWS
    assert plan.chunk % tile.rows == plan.chunk % plan.rows == 0
    # A word holds the block times 256 and the number of rows.
    assert plan.rows < 256
    assert 0 < plan.capacity <= in_blocks * plan.chunk // plan.rows
    chunks = -(-batch // plan.chunk) * (outer.num_blocks if is_listed else 1)
    most = max(gpu_plan.PAIR_ENTRIES, batch * outer.width // 8)
    assert chunks * plan.capacity * plan.rows <= most
    assert min(plan.step_price, plan.row_price, plan.tile_price) > 0
    # Beyond the capacity steps would not have been cheaper, or there is no room for more.
    full = plan.capacity == in_blocks * plan.chunk // plan.rows
    more = (plan.capacity + 1) * (plan.step_price + plan.row_price)
    tiles = inner.num_groups * (plan.chunk // tile.rows) * plan.tile_price
    no_room = chunks * (plan.capacity + 1) * plan.rows > most
    assert full or more >= tiles or no_room


def test_steps_are_listed_where_products_are_dear_and_not_where_starting_them_is():
    wide, small = (8192, 64, 64, 64), (1024, 64, 10, 10)
    assert plan_of(*wide, 4, is_listed=True, is_tf32=False)[3] is not None
    assert plan_of(*small, 2, is_listed=True, is_tf32=False)[3] is None


@given(st.integers(1, 300), st.integers(1, 40), st.sampled_from([2, 4]))
def test_a_step_never_holds_two_blocks(block, num_blocks, itemsize):
    cut = gpu_step_plan.cut_step(block * num_blocks, num_blocks, itemsize)
    assert cut.merged == 1
    assert cut.block == block
    assert cut.pieces * cut.step >= block > (cut.pieces - 1) * cut.step
