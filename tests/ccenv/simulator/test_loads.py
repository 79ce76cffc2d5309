"""Costs with memory: what a fast memory and a shared batch load, and who pays for it."""

from collections import OrderedDict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccenv.agents.searched import FixedMask
from ccenv.simulator.extensions.loads import use
from ccenv.simulator.simulator import Simulator
from ccenv.tasks.loading import NUM_EXPERTS
from tests.ccenv.episodes import DOCUMENTS, seeded

BLOCKS = 5
PRICES = {"cost_weight": 0.0, "load_weight": 0.6 * NUM_EXPERTS}
MEMORY = DOCUMENTS | {"reward_kwargs": PRICES}


@given(
    masks=st.lists(st.lists(st.booleans(), min_size=BLOCKS, max_size=BLOCKS), max_size=12),
    size=st.integers(1, BLOCKS),
)
def test_it_is_a_plain_cache_from_which_the_least_recently_used_block_goes(masks, size):
    used, cache = torch.full((2, BLOCKS), -1), OrderedDict()
    for number, mask in enumerate(masks):
        rows = torch.tensor([mask, [False] * BLOCKS])
        used, loaded = use(used, rows, size, number * BLOCKS)
        misses = []
        for block in (block for block, kept in enumerate(mask) if kept):
            if block not in cache:
                misses.append(block)
                if len(cache) == size:
                    cache.popitem(last=False)
            cache[block] = True
            cache.move_to_end(block)
        assert loaded[0].nonzero().flatten().tolist() == misses
        assert (used[0] >= 0).nonzero().flatten().tolist() == sorted(cache)
        assert not loaded[1].any()


def test_a_block_that_was_loaded_costs_nothing_until_it_has_gone():
    simulator = seeded(1, **MEMORY, fast_memory=2)
    observation, paid = simulator.begin(torch.tensor([0])), []
    for expert, there in ((3, []), (3, [3]), (1, [3]), (3, [1, 3]), (0, [1, 3]), (1, [0, 3])):
        assert observation[0, :NUM_EXPERTS].nonzero().flatten().tolist() == there
        step = simulator.step(torch.eye(NUM_EXPERTS, dtype=torch.bool)[expert, None])
        misses = step.told["misses"].item()
        assert step.terms["loads"].item() == pytest.approx(-0.6 * misses)
        assert step.told["bytes_loaded"].item() == pytest.approx(misses * 288)
        paid.append(misses)
        observation = step.observation
    assert paid == pytest.approx([1, 0, 1, 0, 1, 1])


def test_rows_that_agree_share_what_a_batch_loads():
    simulator = seeded(4, **MEMORY, shared="batch")
    simulator.begin()
    experts = torch.tensor([2, 2, 2, 5])
    step = simulator.step(torch.eye(NUM_EXPERTS, dtype=torch.bool)[experts])
    assert step.told["misses"].tolist() == pytest.approx([1 / 3] * 3 + [1])


def test_a_search_over_masks_says_that_it_counts_no_loads():
    simulator = Simulator(2, **MEMORY, fast_memory=2)
    with pytest.raises(ValueError, match="without a search over masks"):
        FixedMask(simulator).learn(2)
