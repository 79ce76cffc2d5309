"""A dense product between masks is the definition, bit for bit, with its gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccenv.base.masks import random_mask
from ccenv.sparse.linear import block_sparse_linear
from ccenv.sparse.masked_dense import masked_dense_linear
from ccenv.sparse.reference import reference_linear


@given(
    *(st.integers(1, 70), st.integers(1, 7), st.integers(1, 9), st.booleans(), st.booleans()),
    *(st.booleans(), st.booleans(), st.sampled_from([0.0, 0.3, 0.9, 1.0])),
)
def test_it_is_the_definition_and_torchs_gradients_bit_for_bit(
    batch, blocks, size, has_in, has_out, has_bias, by_input, density
):
    draw = torch.Generator().manual_seed(batch)
    out = 3 * size
    in_mask = random_mask(batch, blocks, density, draw) if has_in else None
    out_mask = random_mask(batch, 3, density, draw) if has_out else None
    x = torch.randn(batch, blocks * size, generator=draw)
    if in_mask is not None:
        x[~in_mask.repeat_interleave(size, 1)] = torch.nan
    weight = torch.randn(out, blocks * size, generator=draw)
    weight = weight.t().contiguous().t() if by_input else weight
    operands = [x, weight, torch.randn(out, generator=draw) if has_bias else None]
    leaves = [t.requires_grad_() for t in operands if t is not None]
    slopes = torch.randn(batch, out, generator=draw)
    expected = reference_linear(*operands, in_mask, out_mask, None)
    found = masked_dense_linear(*operands, in_mask, out_mask, is_training=True)
    with torch.no_grad():
        assert torch.equal(
            masked_dense_linear(*operands, in_mask, out_mask, is_training=False), expected
        )
    assert torch.equal(found, expected)
    for one, other in zip(
        *(torch.autograd.grad(y, leaves, slopes) for y in (found, expected)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_operands_stay_as_they_are(threads):
    torch.set_num_threads(threads)
    try:
        x, weight = torch.randn(2048, 256), torch.randn(64, 256)
        mask, before = torch.rand(2048, 16) < 0.5, x.clone()
        y = masked_dense_linear(x, weight, None, mask, mask, is_training=False)
    finally:
        torch.set_num_threads(1)
    assert torch.equal(x, before)
    assert torch.equal(y, reference_linear(x, weight, None, mask, mask, None))


def test_under_autocast_it_is_the_definition():
    x, weight = torch.randn(64, 32, requires_grad=True), torch.randn(16, 32, requires_grad=True)
    mask = torch.rand(64, 4) < 0.9
    with torch.autocast("cpu", torch.bfloat16):
        found = block_sparse_linear(x, weight, None, mask, mask)
        expected = reference_linear(x, weight, None, mask, mask, None)
        assert found.dtype == expected.dtype == torch.bfloat16
        assert torch.equal(found, expected)
    found.sum().backward()
    assert x.grad is not None
