"""One image's activations for each of its masks: equal, bit for bit, to repeating and masking."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.base.seeding import stream
from ccenv.sparse.expand_masks import repeat_for_masks
from ccenv.sparse.reference import zero_where_skipped


def drawn(images, group, blocks, size, share, seed, dtype=torch.float32):
    """Activations, masks and a gradient of the result."""
    generator = stream(seed, "spread")
    shared = torch.randn(images, blocks * size, generator=generator, dtype=dtype)
    mask = torch.rand(images * group, blocks, generator=generator) < share
    grad = torch.randn(images * group, blocks * size, generator=generator, dtype=dtype)
    return shared, mask, grad


def with_gradient(function, shared, grad):
    """Result and gradient of the activations."""
    shared = shared.clone().requires_grad_()
    y = function(shared)
    y.backward(grad)
    return y.detach(), shared.grad


@settings(max_examples=60)
@given(
    *(st.integers(1, 5) for _ in range(2)),
    *(st.integers(1, 70) for _ in range(2)),
    st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    st.integers(0, 99),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_every_mask_gets_what_it_keeps(images, group, blocks, size, share, seed, dtype):
    shared, mask, grad = drawn(images, group, blocks, size, share, seed, dtype)

    def repeated(x):
        return zero_where_skipped(x.repeat_interleave(group, 0), mask)

    y, own = with_gradient(lambda x: repeat_for_masks(x, mask), shared, grad)
    expected, their = with_gradient(repeated, shared, grad)
    assert torch.equal(y, expected)
    torch.testing.assert_close(own, their)
    with torch.no_grad():
        assert torch.equal(repeat_for_masks(shared, mask), expected)


def test_what_no_mask_keeps_may_be_anything_on_both_ways():
    shared, mask, grad = drawn(4, 3, 5, 2, 0.5, 0)
    nobody = ~mask.unflatten(0, (4, 3)).any(dim=1).repeat_interleave(2, dim=1)
    assert nobody.any()
    y, own = with_gradient(
        lambda x: repeat_for_masks(x, mask),
        shared.masked_fill(nobody, torch.nan),
        grad.masked_fill(~mask.repeat_interleave(2, dim=1), torch.nan),
    )
    assert y.isfinite().all()
    assert own.isfinite().all()


@pytest.mark.parametrize("turned", [False, True])
def test_memory_in_any_order_is_read_rightly(turned):
    shared, mask, grad = drawn(3, 2, 4, 5, 0.5, 1)
    if turned:
        shared, mask, grad = (part.t().contiguous().t() for part in (shared, mask, grad))
    y, own = with_gradient(lambda x: repeat_for_masks(x, mask), shared, grad)
    expected = zero_where_skipped(shared.repeat_interleave(2, 0), mask)
    kept = zero_where_skipped(grad.contiguous(), mask)
    assert torch.equal(y, expected)
    torch.testing.assert_close(own, kept.unflatten(0, (3, 2)).sum(dim=1))


def test_threads_share_the_rows_and_change_nothing():
    shared, mask, grad = drawn(300, 4, 32, 16, 0.3, 2)
    once = with_gradient(lambda x: repeat_for_masks(x, mask), shared, grad)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        again = with_gradient(lambda x: repeat_for_masks(x, mask), shared, grad)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (torch.ones(4, 3), TypeError, "expected a bool mask"),
        (torch.ones(3, 3, dtype=torch.bool), ValueError, "a multiple of 2 images"),
        (torch.ones(4, 4, dtype=torch.bool), ValueError, "blocks that divide 6 units"),
    ],
)
def test_what_does_not_fit_is_refused(mask, error, message):
    with pytest.raises(error, match=message):
        repeat_for_masks(torch.zeros(2, 6), mask)


def test_no_images_have_no_rows():
    assert repeat_for_masks(torch.zeros(0, 6), torch.ones(0, 3, dtype=torch.bool)).shape == (0, 6)
