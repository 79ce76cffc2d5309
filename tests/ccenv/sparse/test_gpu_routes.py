"""Which way a GPU takes, without a GPU: calculated times, routes by shape."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccenv.sparse.gpu import plan as gpu_plan
from ccenv.sparse.gpu import roofline as gpu_roofline
from ccenv.sparse.gpu import routes as gpu_routes
from ccenv.sparse.gpu.roofline import A100, H100, GpuShape

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


@given(st.integers(1, 300), st.integers(1, 40), st.sampled_from([2, 4]))
def test_a_tile_of_single_blocks_never_holds_two(block, num_blocks, itemsize):
    cut = gpu_plan.cut_blocks(block * num_blocks, num_blocks, itemsize)
    assert cut.merged == 1
    assert cut.block == block
    assert cut.pieces * cut.step >= block > (cut.pieces - 1) * cut.step
