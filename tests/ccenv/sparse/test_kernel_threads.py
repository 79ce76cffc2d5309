"""Laws of kernels that share a layer: whoever computes a part, the layer and its gradients stay."""

from concurrent.futures import Future
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.networks.core.mlp import GatedMLP
from ccenv.sparse.cpu import addresses as cpu
from ccenv.sparse.linear import block_sparse_linear

# Sizes (in_blocks, in_size, out_blocks, out_size) whose shares begin in the middle of a block, or
# hold several blocks, or leave odd ones behind.
SIZES = [(1, 100, 5, 13), (7, 11, 3, 8), (4, 64, 4, 64), (3, 40, 1, 10), (65, 2, 2, 33)]


@contextmanager
def shared_by(threads, *, rows=512):
    """Everything that can be shared is shared between so many threads, rows by at least `rows`."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cpu, "MIN_SHARED_ROWS", rows)
            patch.setattr(cpu, "MIN_SHARED_MACS", 0)
            patch.setattr(cpu, "MIN_SHARED_KEPT_MACS", 0)
            patch.setattr(cpu, "MIN_SHARED_UNITS", cpu.LINE)
            patch.setattr(cpu, "MIN_SHARED_GRADIENT_MACS", 0)
            yield
    finally:
        torch.set_num_threads(before)


def draw(size, batch, densities=(0.4, 0.4), seed=0):
    """Operands that need gradients, and masks (None for a density of None)."""
    in_blocks, in_size, out_blocks, out_size = size
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, in_blocks * in_size), (out_blocks * out_size, in_blocks * in_size)]
    operands = [torch.randn(s, generator=generator) for s in (*shapes, shapes[1][:1])]
    operands[1] /= shapes[1][1] ** 0.5
    masks = [
        None if density is None else torch.rand(batch, blocks, generator=generator) < density
        for density, blocks in zip(densities, (in_blocks, out_blocks), strict=True)
    ]
    return [operand.requires_grad_() for operand in operands], masks


def outputs_and_gradients(operands, masks, activation="tanh", backend="cpu"):
    """Output and gradients of all operands, for a fixed gradient coming in."""
    y = block_sparse_linear(*operands, *masks, activation=activation, backend=backend)
    incoming = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    return [y.detach(), *torch.autograd.grad(y, operands, incoming)]


def equal_bits(found, expected):
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@given(
    total=st.integers(0, 5000),
    smallest=st.integers(0, 600),
    unit=st.sampled_from([1, 16]),
    threads=st.integers(1, 8),
)
@settings(deadline=None)
def test_parts_cover_everything_once_and_are_neither_too_many_nor_too_small(
    total, smallest, unit, threads
):
    smallest, found = max(smallest, unit), []
    with shared_by(threads):
        cpu.share(lambda first, last: found.append((first, last)), total, smallest, unit)
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
        cpu.share(lambda first, last: found.append((first, last)), 30, 1)
    assert found == [(0, 10), (10, 20), (20, 30)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("densities", [(0.4, 0.4), (None, 0.2), (0.2, None)])
def test_blocks_and_gradients_shared_between_threads_are_those_of_one_bit_for_bit(
    size, threads, densities
):
    operands, masks = draw(size, 50, densities)
    alone = outputs_and_gradients(operands, masks)
    with shared_by(threads):
        first, second = (outputs_and_gradients(operands, masks) for _ in range(2))
    assert equal_bits(first, alone)
    assert equal_bits(second, first)


@settings(max_examples=30, deadline=None)
@given(
    batch=st.sampled_from([0, 1, 7, 64]),
    in_blocks=st.integers(1, 9),
    in_size=st.integers(1, 40),
    out_blocks=st.integers(1, 9),
    out_size=st.sampled_from([1, 4, 13, 32, 70]),
    densities=st.tuples(*[st.one_of(st.none(), st.floats(0, 1))] * 2),
    activation=st.sampled_from([None, "tanh", "relu"]),
    threads=st.integers(2, 4),
    seed=st.integers(0, 1000),
)
def test_with_several_threads_the_kernels_are_the_reference(
    batch, in_blocks, in_size, out_blocks, out_size, densities, activation, threads, seed
):
    size = (in_blocks, in_size, out_blocks, out_size)
    operands, masks = draw(size, batch, densities, seed)
    expected = outputs_and_gradients(operands, masks, activation, "reference")
    with shared_by(threads, rows=1):
        found = outputs_and_gradients(operands, masks, activation)
    for a, b in zip(found, expected, strict=True):
        scale = max(1.0, b.abs().max().item()) if b.numel() else 1.0
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5 * scale)


def test_weights_of_blocks_that_nobody_keeps_are_not_read_by_any_thread():
    (x, weight, bias), (in_mask, out_mask) = draw((6, 20, 5, 16), 40)
    in_mask[:, [2, 4]], out_mask[:, 3] = False, False
    with shared_by(2, rows=1):
        healthy = outputs_and_gradients([x, weight, bias], (in_mask, out_mask))
        with torch.no_grad():
            weight[:, 40:60], weight[:, 80:100], weight[48:64] = torch.nan, torch.nan, torch.nan
            x[~in_mask.repeat_interleave(20, dim=1)] = torch.nan
        poisoned = outputs_and_gradients([x, weight, bias], (in_mask, out_mask))
    assert equal_bits(poisoned, healthy)
    assert not poisoned[2][:, 40:60].any()
    assert not poisoned[2][48:64].any()


@pytest.mark.parametrize("rows", [1, 512])
def test_blocks_on_in_one_call_and_off_in_the_next_are_exactly_zero(rows):
    # So large that the memory of one call's results is used again by the next.
    operands, _ = draw((8, 64, 8, 64), 600, (None, None))
    everything, nothing = torch.ones(600, 8).bool(), torch.zeros(600, 8).bool()
    with shared_by(2, rows=rows):
        for _ in range(3):
            assert all(t.any() for t in outputs_and_gradients(operands, (everything, everything)))
            assert not any(t.any() for t in outputs_and_gradients(operands, (nothing, nothing)))
            found = outputs_and_gradients(operands, (everything, nothing))
            assert not any(t.any() for t in found)


def test_rows_shared_between_threads_are_those_of_one_thread_to_rounding():
    operands, masks = draw((4, 64, 4, 64), 1601, (0.5, 0.5))
    alone = outputs_and_gradients(operands, masks)
    with shared_by(3):
        shared = outputs_and_gradients(operands, masks)
    for found, expected in zip(shared, alone, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    # Which units are exactly zero does not depend on who computed them.
    assert torch.equal(shared[0] == 0, alone[0] == 0)


def test_a_network_learns_the_same_with_one_thread_and_with_several():
    def weights_after_updates(threads):
        torch.manual_seed(0)
        network = GatedMLP(100, num_blocks=(6, 5), block_size=16, num_classes=3)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        generator = torch.Generator().manual_seed(1)
        with shared_by(threads):
            for _ in range(5):
                images = torch.rand(40, 100, generator=generator)
                masks = [torch.rand(40, n, generator=generator) < 0.4 for n in (6, 5)]
                optimizer.zero_grad()
                network(images, masks, backend="cpu").square().sum().backward()
                optimizer.step()
        return [parameter.detach().clone() for parameter in network.parameters()]

    assert equal_bits(weights_after_updates(2), weights_after_updates(1))


def test_a_layer_that_keeps_little_is_not_worth_a_second_thread():
    everything, nothing = torch.ones(40, 8).bool(), torch.zeros(40, 8).bool()
    assert cpu.is_worth_sharing(cpu.MIN_SHARED_MACS, None, everything)
    assert not cpu.is_worth_sharing(cpu.MIN_SHARED_MACS, everything, nothing)
    assert not cpu.is_worth_sharing(cpu.MIN_SHARED_MACS - 1, None, everything)
