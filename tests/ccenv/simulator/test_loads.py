"""Costs with memory: what a fast memory and a shared batch load, and who pays for it."""

import functools
from collections import OrderedDict

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from ccenv.agents.searched import FixedMask
from ccenv.annexes.simulator.loads import use
from ccenv.annexes.tasks.loading import NUM_EXPERTS, TOKENS
from ccenv.simulator.simulator import Simulator
from tests.ccenv.episodes import DOCUMENTS, seeded

BLOCKS = 6
PRICES = {"cost_weight": 0.0, "load_weight": 0.6 * NUM_EXPERTS}
MEMORY = DOCUMENTS | {"reward_kwargs": PRICES}
TWO_GATES = {
    "dataset": "python_bundled@3",
    "network": "lm",
    "network_kwargs": {
        "depth": 1,
        "width": 4,
        "num_heads": 2,
        "ffn_width": 3,
        "num_experts": 3,
        "gates": "heads,experts",
    },
    "episode": "sequence",
    "weights": "cotrain",
}
"""Two heads and three experts, whose blocks have different sizes."""
MASKS = st.lists(st.booleans(), min_size=NUM_EXPERTS, max_size=NUM_EXPERTS)


@functools.cache
def with_memory(size):
    return seeded(2, **MEMORY, fast_memory=size)


def missed(cache, kept, size):
    """Blocks that a plain cache loads; those that are in it are used first."""
    misses = [block for block in kept if block not in cache]
    for block in [block for block in kept if block in cache] + misses:
        if block not in cache and len(cache) == size:
            cache.popitem(last=False)
        cache[block] = True
        cache.move_to_end(block)
    return len(misses)


@given(
    episode=st.lists(st.tuples(MASKS, MASKS), max_size=TOKENS),
    size=st.sampled_from([1, 3, NUM_EXPERTS]),
)
def test_each_row_has_a_plain_cache_from_which_the_least_recently_used_block_goes(episode, size):
    simulator, caches = with_memory(size), (OrderedDict(), OrderedDict())
    observation = simulator.begin()
    for masks in map(torch.tensor, episode):
        for seen, cache in zip(observation, caches, strict=True):
            assert seen[:NUM_EXPERTS].nonzero().flatten().tolist() == sorted(cache)
        step = simulator.step(masks)
        kept = [mask.nonzero().flatten().tolist() for mask in masks]
        misses = [missed(cache, row, size) for cache, row in zip(caches, kept, strict=True)]
        assert step.told["misses"].tolist() == pytest.approx(misses)
        observation = step.observation


@example(history=[3, 5], kept={1, 4, 5}, order=range(BLOCKS), size=2)
@given(
    history=st.lists(st.integers(0, BLOCKS - 1)),
    kept=st.sets(st.integers(0, BLOCKS - 1)),
    order=st.permutations(range(BLOCKS)),
    size=st.integers(1, BLOCKS),
)
def test_kept_blocks_in_memory_are_no_misses_in_whatever_order_blocks_are_numbered(
    history, kept, order, size
):
    one_hot = torch.eye(BLOCKS, dtype=torch.bool)
    mask, used = one_hot[[*kept]].any(dim=0)[None], torch.full((1, BLOCKS), -1)
    for block in history:
        used, _ = use(used, one_hot[block, None], size)
    after, loaded = use(used, mask, size)
    assert torch.equal(loaded, mask & (used < 0))
    renumbered, loaded_of_others = use(used[:, order], mask[:, order], size)
    assert torch.equal(loaded_of_others, loaded[:, order])
    # Of more than fit, which ones stay is up to their numbers.
    if len(kept) <= size:
        assert torch.equal(renumbered >= 0, after[:, order] >= 0)


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


def test_each_gate_has_a_memory_of_its_own_and_loads_the_bytes_of_its_own_blocks():
    simulator = seeded(2, **TWO_GATES, fast_memory=3)
    simulator.begin()
    masks = [torch.ones(2, blocks, dtype=torch.bool) for blocks in simulator.num_blocks]
    first, second = ([simulator.step(mask) for mask in masks] for _ in range(2))
    for gate, step in enumerate(first):
        weights = simulator.network.gate_parameters(gate)
        expected = sum(one.numel() * one.element_size() for one in weights)
        assert step.told["bytes_loaded"].tolist() == pytest.approx([expected] * 2)
        assert step.told["misses"].tolist() == pytest.approx([simulator.num_blocks[gate]] * 2)
    assert sum(step.outcome.loads for step in first).tolist() == pytest.approx([1, 1])
    assert not any(step.outcome.loads.any() for step in second)


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
