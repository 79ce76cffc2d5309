"""Rows copied for several masks, and residual sums of some rows: bit for bit as torch does it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sparse_layers import assert_equal, shared_by

from ccenv.base.seeding import stream
from ccenv.networks.core.stage import add_kept_rows
from ccenv.sparse.reference import zero_where_skipped
from ccenv.sparse.rows import can_merge, merged, repeat_for_masks

LAYOUTS = (torch.contiguous_format, torch.channels_last)


def drawn(images, group, blocks, size, share, dtype=torch.float32):
    """Activations, masks and a gradient of the result; what no mask keeps is NaN on both ways."""
    generator = stream(images, "spread")
    shared = torch.randn(images, blocks * size, generator=generator, dtype=dtype)
    mask = torch.rand(images * group, blocks, generator=generator) < share
    grad = torch.randn(images * group, blocks * size, generator=generator, dtype=dtype)
    used = mask.unflatten(0, (images, group)).any(dim=1).repeat_interleave(size, dim=1)
    grad = grad.masked_fill(~mask.repeat_interleave(size, dim=1), torch.nan)
    return shared.masked_fill(~used, torch.nan), mask, grad


def with_gradient(shared, mask, grad):
    """Result and gradient of the activations."""
    leaf = shared.clone().requires_grad_()
    y = repeat_for_masks(leaf, mask)
    y.backward(grad)
    return y.detach(), leaf.grad


@settings(max_examples=60)
@given(
    images=st.integers(1, 5),
    group=st.integers(1, 5),
    blocks=st.integers(1, 70),
    size=st.integers(1, 70),
    share=st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    is_turned=st.booleans(),
)
def test_every_mask_gets_what_it_keeps(images, group, blocks, size, share, dtype, is_turned):
    shared, mask, grad = drawn(images, group, blocks, size, share, dtype)
    expected = zero_where_skipped(shared.repeat_interleave(group, 0), mask)
    total = zero_where_skipped(grad, mask).unflatten(0, (images, group)).sum(dim=1)
    if is_turned:
        shared, mask, grad = (part.t().contiguous().t() for part in (shared, mask, grad))
    y, gradient = with_gradient(shared, mask, grad)
    assert torch.equal(y, expected)
    torch.testing.assert_close(gradient, total)


def test_threads_share_the_rows_and_change_nothing():
    operands = drawn(300, 4, 32, 16, 0.3)
    alone = with_gradient(*operands)
    with shared_by(2):
        assert_equal(with_gradient(*operands), alone)


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (torch.ones(4, 3), TypeError, "expected a bool mask"),
        (torch.ones(3, 3, dtype=torch.bool), ValueError, "a multiple of 2 inputs"),
        (torch.ones(4, 4, dtype=torch.bool), ValueError, "blocks that divide 6 units"),
    ],
)
def test_what_does_not_fit_is_refused(mask, error, message):
    with pytest.raises(error, match=message):
        repeat_for_masks(torch.zeros(2, 6), mask)


def test_no_images_have_no_rows():
    assert repeat_for_masks(torch.zeros(0, 6), torch.ones(0, 3, dtype=torch.bool)).shape == (0, 6)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("relu", [False, True])
@settings(max_examples=20)
@given(keep=st.lists(st.booleans(), min_size=1, max_size=9), channels=st.sampled_from([1, 3, 16]))
def test_merged_rows_are_torchs_bit_for_bit(layout, relu, keep, channels):
    generator = stream(0, "test")
    base = torch.randn(len(keep), channels, 5, 7, generator=generator).to(memory_format=layout)
    rows = torch.tensor(keep).nonzero().squeeze(1)
    added = torch.randn(len(rows), channels, 5, 7, generator=generator).to(memory_format=layout)
    added[:, :, 0] = torch.inf
    before, sums = base.clone(), base.index_select(0, rows) + added
    expected = base.index_copy(0, rows, sums.relu() if relu else sums)
    assert torch.equal(merged(base, added, rows, relu=relu), expected)
    assert torch.equal(base, before)
    is_nan = merged(base, torch.full_like(added, torch.nan), rows, relu=relu)[rows].isnan()
    assert is_nan.all()


def test_small_or_learning_or_differently_laid_features_are_left_to_torch():
    base = torch.rand(4, 16, 32, 32)
    assert can_merge(base, base[:2])
    assert not can_merge(base[:, :1, :4], base[:2, :1, :4])
    assert not can_merge(base.double(), base[:2])
    assert not can_merge(base, base[:2].clone().requires_grad_())
    assert not can_merge(base, base[:2].to(memory_format=torch.channels_last))
    assert not can_merge(base, base[:2].transpose(2, 3))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_unit_gives_the_same_with_gradients_and_without(layout):
    x = torch.rand(6, 16, 32, 32, generator=stream(0, "test")).to(memory_format=layout)
    body = torch.nn.Conv2d(16, 16, 3, 1, 1).to(memory_format=layout)
    mask = torch.tensor([[True], [False], [True], [True], [False], [False]])
    found = add_kept_rows(x, body, x, mask, None, torch.nn.ReLU(inplace=True), settled=True)
    with torch.no_grad():
        again = add_kept_rows(x, body, x, mask, None, torch.nn.ReLU(inplace=True), settled=True)
    assert torch.equal(found, again)
