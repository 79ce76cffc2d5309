"""Laws of winner-take-all retrieval: collisions, addresses, probes, memory, and tables that age."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from probes import EXPERTS

from ccenv.annexes.agents.wta_retrieval import (
    WtaRetrieval,
    count_hits,
    draw_windows,
    fill_buckets,
    limited,
    probe_codes,
)
from ccenv.base.seeding import stream
from ccenv.simulator.rollout import walk
from tests.ccenv.episodes import seeded

MLP = {"dataset": "digits", "num_blocks": (16, 12), "block_size": 4, "weights": "cotrain"}


def drawn(seed, *shape):
    return torch.randn(*shape, generator=stream(seed, "test"))


def simulator_of(images=64, **more):
    return seeded(images, **MLP | more)


def share_of_equal_codes(one, other, window, count=40_000):
    windows = draw_windows(len(one), (count, 1, window), stream(1, "windows"))
    codes, _ = probe_codes(torch.stack([one, other]), windows, 1)
    return (codes[0] == codes[1]).double().mean().item()


def collision(one, other, window):
    """sum_i C(r_i, window - 1) / C(n, window)."""
    below = (one[:, None] > one) & (other[:, None] > other)
    ways = sum(math.comb(int(r), window - 1) for r in below.sum(dim=1))
    return ways / math.comb(len(one), window)


def test_two_rows_collide_as_often_as_the_formula_says():
    one = drawn(0, 24)
    other = one + 0.5 * drawn(1, 24)
    for window in (2, 4, 8):
        found = share_of_equal_codes(one, other, window)
        # Four standard deviations of a share of 40,000.
        assert found == pytest.approx(collision(one, other, window), abs=0.01)
    upper = torch.triu(torch.ones(24, 24), 1).bool()
    signs = ((one[:, None] - one) * (other[:, None] - other)).sign()[upper]
    assert collision(one, other, 2) == pytest.approx((1 + signs.mean().item()) / 2, abs=1e-6)
    assert share_of_equal_codes(one, one, 4, 100) == 1
    assert share_of_equal_codes(one, -one, 4, 100) == 0


@given(seed=st.integers(0, 100), hashes=st.integers(1, 3), window=st.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_only_the_order_of_values_counts_and_every_winner_is_the_largest(seed, hashes, window):
    x, windows = drawn(seed, 6, 10), draw_windows(10, (4, hashes, window), stream(seed, "w"))
    codes, _ = probe_codes(x, windows, 1)
    for moved in (3 * x - 1, x.exp(), x**3):
        assert torch.equal(probe_codes(moved, windows, 1)[0], codes)
    digits = codes[..., 0, None] // window ** torch.arange(hashes - 1, -1, -1) % window
    assert torch.equal(digits, x[:, windows].argmax(dim=3))


@given(seed=st.integers(0, 100), probes=st.integers(1, 16))
@settings(max_examples=30, deadline=None)
def test_probes_are_the_nearest_buckets_in_order_and_fewer_are_the_first_of_more(seed, probes):
    # Small whole numbers, so that there are ties.
    x = drawn(seed, 3, 8).mul(2).round()
    windows = draw_windows(8, (2, 2, 4), stream(seed, "windows"))
    codes, gaps = probe_codes(x, windows, probes)
    assert (gaps.diff(dim=2) >= 0).all()
    assert (gaps[..., 0] == 0).all()
    assert torch.equal(codes, probe_codes(x, windows, 16)[0][..., :probes])
    assert all(len(row.unique()) == probes for row in codes.flatten(0, 1))
    values = x[:, windows]
    away = values.amax(dim=3, keepdim=True) - values
    every = (away[:, :, 0, :, None] + away[:, :, 1, None, :]).flatten(2).sort(dim=2).values
    torch.testing.assert_close(gaps, every[..., :probes])


def test_blocks_are_found_in_the_buckets_that_their_keys_lie_in():
    codes = torch.tensor([[5, 1], [5, 2], [7, 1], [9, 9]])
    buckets = fill_buckets(codes, 2)
    asked = torch.tensor([[[5, 7], [1, 3]], [[0, 100], [4, 9]]])
    assert count_hits(buckets, asked).tolist() == [[3.0, 2.0], [0.0, 1.0]]


def test_too_few_are_filled_up_and_of_too_many_those_stay_that_most_tables_found():
    hits = torch.tensor([[0.0, 3.0, 1.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
    order = torch.tensor([0.8, 0.6, 0.4, 0.2])
    assert limited(hits, order, 1, 2).tolist() == [[False, True, False, True], [True] + [False] * 3]
    assert limited(hits, order, 1, 4).sum(dim=1).tolist() == [3, 1]
    assert limited(hits, order, 4, 4).all()


@pytest.mark.parametrize(("keys", "a_block"), [("mean", 1), ("units", 4)])
def test_tables_hold_one_number_a_table_and_key(keys, a_block):
    agent = WtaRetrieval(simulator_of(), tables=3, keys=keys)
    assert sum(codes.numel() for codes in agent.codes.values()) == 3 * a_block * (16 + 12)


def test_it_rehashes_at_updates_ever_further_apart_and_in_the_end():
    agent = WtaRetrieval(simulator_of(8), rehash_every=2)
    heard = []
    agent.learn(8 * 15, lambda _, scalars: heard.append(scalars["agent/rehashed"]))
    assert [number + 1 for number, due in enumerate(heard) if due] == [2, 6, 14]
    codes = {gate: found.clone() for gate, found in agent.codes.items()}
    agent.rehash()
    assert all(torch.equal(agent.codes[gate], found) for gate, found in codes.items())


def test_experts_are_looked_up_by_all_that_they_read():
    simulator = seeded(16, **EXPERTS)
    agent = WtaRetrieval(simulator, max_kept=2)
    _, actions, _ = walk(simulator, agent, None)
    assert (actions[0].sum(dim=1) <= 2).all()
