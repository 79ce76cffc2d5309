"""Memory of large results: used again when nobody holds it, never before."""

import gc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccenv.sparse import buffers
from ccenv.sparse.buffers import LARGE, BufferPool, kept_memory, new_result
from ccenv.sparse.linear import block_sparse_linear

ROWS = LARGE // 64


@pytest.fixture(autouse=True)
def _own_pool():
    buffers.buffer_pool.cache_clear()
    yield
    buffers.buffer_pool.cache_clear()


@pytest.mark.parametrize(("new_result", "line"), [(new_result, 4), (kept_memory, 64)])
def test_memory_comes_back_when_the_last_view_dies_and_begins_at_a_line(new_result, line):
    first = new_result(ROWS, 64)
    assert not first.data_ptr() % line
    at, view = first.data_ptr(), first[1:, 3:]
    del first
    gc.collect()
    assert new_result(ROWS, 64).data_ptr() != at
    assert view.numel()
    del view
    gc.collect()
    assert at in {new_result(ROWS, 64).data_ptr() for _ in range(1)}


def test_a_layers_result_survives_many_later_ones():
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(ROWS, 16, generator=generator), torch.randn(64, 16, generator=generator)
    mask = torch.rand(ROWS, 4, generator=generator) < 0.5
    kept = block_sparse_linear(x, weight, None, None, mask, backend="cpu")
    copy = kept.clone()
    for _ in range(5):
        block_sparse_linear(x + 1, weight, None, None, ~mask, backend="cpu")
    assert torch.equal(kept, copy)
    assert torch.equal(kept, block_sparse_linear(x, weight, None, None, mask, backend="cpu"))


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(0, 400))
def test_a_pool_keeps_no_more_than_it_may_and_gives_what_was_asked_for(sizes, max_bytes):
    pool = BufferPool(max_bytes)
    given_back = [np.empty(size, np.float32) for size in sizes]
    for buffer in given_back:
        pool.give(buffer)
        assert pool.kept_bytes <= max_bytes
    for size in sizes:
        assert pool.take(size).size == size
    assert 0 <= pool.kept_bytes <= max_bytes
