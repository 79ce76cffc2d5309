"""Laws of merged rows: what the kernels write is what torch's operations do, bit for bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.base.seeding import stream
from ccenv.networks.core.stage import add_kept_rows
from ccenv.sparse.residual_add import can_merge, merged

LAYOUTS = (torch.contiguous_format, torch.channels_last)


def plain(base, added, rows, relu):
    sums = base.index_select(0, rows) + added
    return base.index_copy(0, rows, sums.relu() if relu else sums)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("relu", [False, True])
@settings(deadline=None, max_examples=20)
@given(keep=st.lists(st.booleans(), min_size=1, max_size=9), channels=st.sampled_from([1, 3, 16]))
def test_merged_rows_are_torchs_bit_for_bit(layout, relu, keep, channels):
    generator = stream(0, "test")
    base = torch.randn(len(keep), channels, 5, 7, generator=generator).to(memory_format=layout)
    rows = torch.tensor(keep).nonzero().squeeze(1)
    added = torch.randn(len(rows), channels, 5, 7, generator=generator).to(memory_format=layout)
    before = base.clone()
    assert torch.equal(merged(base, added, rows, relu=relu), plain(base, added, rows, relu))
    assert torch.equal(base, before)


def test_what_is_no_number_stays_so():
    base, added = torch.zeros(2, 3), torch.full((1, 3), torch.nan)
    found = merged(base, added, torch.tensor([1]), relu=True)
    assert found[1].isnan().all()
    assert (found[0] == 0).all()


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
    generator = stream(0, "test")
    x = torch.rand(6, 16, 32, 32, generator=generator).to(memory_format=layout)
    body = torch.nn.Conv2d(16, 16, 3, 1, 1).to(memory_format=layout)
    mask = torch.tensor([[True], [False], [True], [True], [False], [False]])
    found = add_kept_rows(x, body, x, mask, None, torch.nn.ReLU(inplace=True), settled=True)
    with torch.no_grad():
        again = add_kept_rows(x, body, x, mask, None, torch.nn.ReLU(inplace=True), settled=True)
    assert torch.equal(found, again)
