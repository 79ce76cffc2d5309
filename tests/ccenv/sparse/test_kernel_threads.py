"""Laws of kernels that share a layer: whoever computes a part, the layer and its gradients stay."""

from concurrent.futures import Future

import pytest
import sparse_layers as layers
import torch
from hypothesis import given
from hypothesis import strategies as st
from sparse_layers import draw_layer, run, shared_by, through

from ccenv.sparse.cpu import addresses as cpu

# Sizes whose shares begin in the middle of a block, or hold several blocks, or leave odd ones.
SIZES = [
    ((1, 100), (5, 13)),
    ((7, 11), (3, 8)),
    ((4, 64), (4, 64)),
    ((3, 40), (1, 10)),
    ((65, 2), (2, 33)),
]


@given(
    total=st.integers(0, 5000),
    smallest=st.integers(0, 600),
    unit=st.sampled_from([1, 16]),
    threads=st.integers(1, 8),
)
def test_parts_cover_everything_once_and_are_neither_too_many_nor_too_small(
    total, smallest, unit, threads
):
    smallest, found = max(smallest, unit), []
    with shared_by(threads):
        cpu.share_parts(lambda first, last: found.append((first, last)), total, smallest, unit)
    found.sort()
    assert [first for first, _ in found] == [0, *(last for _, last in found[:-1])]
    assert found[-1][1] == total
    assert len(found) == max(1, min(threads, total // smallest))
    assert all(first % unit == 0 for first, _ in found)
    assert len(found) == 1 or min(last - first for first, last in found) > smallest - unit


def test_a_part_that_no_thread_has_begun_is_taken_by_the_caller(monkeypatch):
    class Busy:
        """Threads that never begin."""

        def submit(self, work, *part):
            return Future()

    monkeypatch.setattr(cpu, "thread_pool", Busy)
    found = []
    with shared_by(3):
        cpu.share_parts(lambda first, last: found.append((first, last)), 30, 1)
    assert found == [(0, 10), (10, 20), (20, 30)]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("threads", [2, 3])
def test_blocks_and_gradients_shared_between_threads_are_those_of_one_bit_for_bit(sizes, threads):
    for densities in ((0.4, 0.4), (None, 0.2), (0.2, None)):
        layer = draw_layer(50, *sizes, densities)
        alone = run(layer, through("cpu"))
        with shared_by(threads):
            for _ in range(2):
                layers.assert_equal(run(layer, through("cpu")), alone)


def test_rows_shared_between_threads_are_those_of_one_thread_to_rounding():
    layer = draw_layer(1601, (4, 64), (4, 64), (0.5, 0.5))
    alone = run(layer, through("cpu"))
    with shared_by(3):
        shared = run(layer, through("cpu"))
    layers.assert_close(shared, alone, torch.float32)
    # Which units are exactly zero does not depend on who computed them.
    assert torch.equal(shared[0] == 0, alone[0] == 0)


def test_a_layer_that_keeps_little_is_not_worth_a_second_thread():
    everything, nothing = torch.ones(40, 8).bool(), torch.zeros(40, 8).bool()
    assert cpu.is_worth_sharing(cpu.MIN_SHARED_MACS, None, everything)
    assert not cpu.is_worth_sharing(cpu.MIN_SHARED_MACS, everything, nothing)
    assert not cpu.is_worth_sharing(cpu.MIN_SHARED_MACS - 1, None, everything)
