"""What retrieval finds: (a network's weights, its inputs) -> recall over the tables' memory.

The best blocks of an input are those whose key (the mean of their units' incoming weights) has the
largest product with it; recall is the share of them that winner-take-all tables find.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ccenv.agents.systems.wta_retrieval import (
    block_keys,
    check_probes,
    count_hits,
    draw_windows,
    fill_buckets,
    layer_input,
    probe_codes,
    recall,
)
from ccenv.base.seeding import stream
from ccenv.mdp.dynamics import all_or_none, initial, outcomes


@dataclass(frozen=True)
class Recall:
    """One size of tables at one gate."""

    gate: str
    """its name."""
    tables: int
    """how many."""
    probes: int
    """buckets of each that are looked into."""
    entries: int
    """numbers of blocks that the tables hold: their memory."""
    recall: float
    """share of the best blocks that are found."""
    retrieved: float
    """share of all blocks that are found."""


@torch.no_grad()
def recalls(
    simulator: Any,
    sizes: Sequence[tuple[int, int]],
    *,
    hashes: int = 2,
    window: int = 8,
    best_share: float = 0.25,
    images: int = 1000,
    seed: int = 0,
) -> list[Recall]:
    """Measures every size at every gate, with all blocks kept before it.

    Args:
        simulator: its network's gates are fully connected.
        sizes: pairs of tables and probes.
        hashes: windows of a table.
        window: coordinates that a hash compares.
        best_share: of the blocks of a gate, that are wanted.
        images: inputs, the first of the simulator's split.
        seed: of the windows.
    """
    network = simulator.network
    indices = torch.arange(min(images, len(simulator.data)))
    state = initial(network, *simulator.data.batch(indices))
    walked = outcomes(network, state, all_or_none(network))
    found = []
    for (gate, told), outcome in zip(enumerate(network.gates), walked, strict=True):
        keys, x = block_keys(network, gate, "mean"), layer_input(outcome.before)
        best = max(1, round(best_share * told.num_blocks))
        for tables, probes in sizes:
            check_probes(hashes, window, probes)
            draws = stream(seed, "winner-take-all windows")
            windows = draw_windows(keys.shape[1], (tables, hashes, window), draws)
            codes, _ = probe_codes(keys, windows, 1)
            buckets = fill_buckets(codes.squeeze(2), len(keys))
            mask = count_hits(buckets, probe_codes(x, windows, probes)[0]) > 0
            share, kept = recall(mask, x @ keys.t(), best), mask.double().mean().item()
            found.append(Recall(told.name, tables, probes, codes.numel(), share, kept))
    return found
