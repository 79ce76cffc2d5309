"""Winner-take-all retrieval: (what a layer reads, its weights) -> the blocks in probed buckets.

After Qu, Kemerlis, Ateniese, Kornaropoulos 2026, "TENNOR: trustworthy execution for neural networks
through obliviousness and retrievals" (arXiv 2605.07160), of which only the abstract could be read,
and the hash of Yagnik et al. 2011, "The power of comparative reasoning". A hash looks at a window
of coordinates, drawn once, and says which of them is largest; several hashes side by side are the
address of a bucket in a table. A block's key (its incoming weights) lies in one bucket of each
table; an input is looked up in its own bucket and in the nearest others, so that fewer tables do:
recall is bought with probes instead of memory.

Faithful: codes depend on the order of values alone, several probes, tables rebuilt as the weights
move. Ours: the order of the probes (smallest total gap between a window's winner and what stands in
its place, after Lv et al. 2007), which the abstract does not tell; blocks found by most tables come
first where there are too many; too few are filled up by chance. Traps of public code are laws here:
every address can be reached (codes are digits to the base of the window), and what is compared is
what is kept as the largest. Left out: enclaves and oblivious memory (the setting `oblivious` has
the constant trace), and keys for sparse inputs: of a window of equal values the first wins.
Comparisons are billed as if they were products.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.agents.base import Agent, OnRollout, ignore
from ccenv.agents.systems.winner_take_all import (
    check_probes,
    count_hits,
    draw_windows,
    fill_buckets,
    probe_codes,
)
from ccenv.base.masks import full_mask
from ccenv.base.registry import check_names
from ccenv.base.seeding import stream, uniform
from ccenv.base.values import positive_ints
from ccenv.mdp.dynamics import EpisodeState
from ccenv.networks.core.abilities import Owns, ability
from ccenv.networks.core.exit_state import Flow
from ccenv.simulator.rollout import Rollout
from ccenv.simulator.simulator import Simulator

KEYS = ("mean", "units")


class WtaRetrieval(Agent):
    """Keeps the blocks whose weights are ordered like the input; learns nothing."""

    learns: ClassVar[bool] = False
    resumes: ClassVar[bool] = True

    def __init__(
        self,
        env: Any,
        *,
        seed: int = 0,
        tables: int = 8,
        hashes: int = 2,
        window: int = 8,
        probes: int = 4,
        keys: str = "mean",
        min_kept: int = 1,
        max_kept: int | None = None,
        rehash_every: int = 16,
        rehash_growth: float = 2.0,
    ) -> None:
        """Draws the windows and hashes the blocks as they are now.

        Args:
            env: see `Agent`; its network's gates of several blocks are fully connected.
            tables: of a gate, with a code for each key.
            hashes: windows of a table.
            window: coordinates that a hash compares.
            probes: buckets of a table that are looked into; 1 is plain winner-take-all.
            keys: "mean" of a block's units, or all of its "units".
            min_kept: at least so many blocks; chance fills up.
            max_kept: at most so many, those that most tables found; None for no limit.
            rehash_every: updates of the network until the tables are rebuilt.
            rehash_growth: times as many from one time to the next, as weights settle.

        Raises:
            ValueError: if a number is impossible, or blocks do not have their own input weights.
        """
        super().__init__(env, seed=seed)
        check_names([keys], KEYS, "keys")
        numbers = positive_ints([tables, hashes, window, probes, min_kept, rehash_every], "numbers")
        check_probes(hashes, window, probes)
        most = max_kept if max_kept is not None else max(self.num_blocks)
        if not min_kept <= most or rehash_growth < 1:
            raise ValueError(
                "expected min_kept of at most max_kept and rehash_growth of at least 1, got "
                f"{min_kept}, {max_kept} and {rehash_growth}"
            )
        self.tables, self.probes, self.keys = numbers[0], probes, keys
        self.limits = min_kept, most
        self.rehash_growth, self.wait, self.updates = rehash_growth, float(rehash_every), 0
        self.next_rehash = float(rehash_every)
        self.chosen = [gate for gate, blocks in enumerate(self.num_blocks) if blocks > 1]
        draws, self.windows = stream(seed, "winner-take-all windows"), {}
        for gate in self.chosen:
            features = block_weights(self.simulator.network, gate).shape[1]
            self.windows[gate] = draw_windows(features, (tables, hashes, window), draws)
        if not self.chosen:
            raise ValueError(
                f"expected a gate of several blocks to retrieve from, got {self.num_blocks}; "
                "choose another agent"
            )
        billed = tables * hashes * window
        self.policy_macs = [billed * (blocks > 1) for blocks in self.num_blocks]
        self.codes: dict[int, Tensor] = {}
        self.buckets: dict[int, list[tuple[Tensor, Tensor]]] = {}
        self.rehash()

    def rehash(self) -> None:
        """Rebuilds all tables from the network's present weights."""
        for gate in self.chosen:
            keys = block_keys(self.simulator.network, gate, self.keys)
            self.codes[gate] = probe_codes(keys, self.windows[gate], 1)[0].squeeze(2)
            self.buckets[gate] = fill_buckets(self.codes[gate], self.num_blocks[gate])

    @property
    def num_entries(self) -> int:
        """Numbers of blocks that all tables hold together: their memory."""
        return sum(codes.numel() for codes in self.codes.values())

    def begin_episode(self, simulator: Simulator) -> None:
        """Remembers where the inputs are looked up."""
        self.watched = simulator

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Looks into the buckets of what the layer reads: bool [batch, num_blocks[layer]].

        Without a stream the blocks of lowest number fill up, and win among equals.
        """
        blocks, state = self.num_blocks[layer], self.watched.state
        if layer not in self.windows or state is None:
            return full_mask(len(observation), blocks, observation.device)
        codes, _ = probe_codes(layer_input(state).cpu(), self.windows[layer], self.probes)
        hits = count_hits(self.buckets[layer], codes)
        order = torch.arange(blocks, 0, -1) / (blocks + 1)
        chance = order if generator is None else uniform(hits.shape, generator, hits.device)
        return limited(hits, chance, *self.limits).to(observation.device)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Counts, and rebuilds the tables when it is time."""
        self.updates += 1
        is_due = self.updates >= self.next_rehash
        if is_due:
            self.rehash()
            self.wait *= self.rehash_growth
            self.next_rehash = self.updates + self.wait
        return {"rehashed": float(is_due)}

    def learn(self, num_images: int, on_rollout: OnRollout = ignore) -> int:
        """See `Agent.learn`; at the end the tables are those of the network as it has become."""
        seen = super().learn(num_images, on_rollout)
        self.rehash()
        return seen

    def parameters(self) -> dict[str, Tensor]:
        """Windows and codes of each gate that is chosen at."""
        pairs = {"windows": self.windows, "codes": self.codes}
        return {f"{n}_{g}": t.clone() for n, found in pairs.items() for g, t in found.items()}

    def load_parameters(self, tensors: Mapping[str, Tensor]) -> None:
        """The tables that `parameters` gave."""
        for gate in self.chosen:
            self.windows[gate] = tensors[f"windows_{gate}"].clone()
            self.codes[gate] = tensors[f"codes_{gate}"].clone()
            self.buckets[gate] = fill_buckets(self.codes[gate], self.num_blocks[gate])


def limited(hits: Tensor, chance: Tensor, least: int, most: int) -> Tensor:
    """Blocks that were hit, at most so many of them, filled up to the least: bool [n, blocks].

    Hits are whole numbers [n, blocks]; of equal ones the higher chance, in [0, 1), wins.

    >>> limited(torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([0.5, 0.2, 0.1]), 3, 3).tolist()
    [[True, True, True]]
    """
    rank = (hits + chance).argsort(dim=1, descending=True).argsort(dim=1)
    return ((hits > 0) & (rank < most)) | (rank < least)


def block_weights(network: Any, gate: int) -> Tensor:
    """Weights that a gate's blocks read their layer's input by: [units, features].

    ValueError if the blocks are not neighbouring units of a fully connected layer.
    """
    owner = ability(network, Owns)
    found = None if owner is None else next(iter(owner.gate_parameters(gate)), None)
    blocks = network.gates[gate].num_blocks
    if found is None or found.ndim != 2 or len(found) % blocks:
        got = "none" if found is None else list(found.shape)
        raise ValueError(
            f"expected weights [units, features] of the {blocks} blocks of gate "
            f"{network.gates[gate].name!r} for wta_retrieval, got {got}; choose a network of fully "
            "connected blocks (mlp, experts) or another agent"
        )
    return found.detach()


def block_keys(network: Any, gate: int, kind: str) -> Tensor:
    """What a gate's blocks are found by: [blocks, features], or [units, features]."""
    weights = block_weights(network, gate).cpu().float()
    if kind == "units":
        return weights
    return weights.unflatten(0, (network.gates[gate].num_blocks, -1)).mean(dim=1)


def layer_input(state: EpisodeState) -> Tensor:
    """What the layer behind the next gate reads: [batch, features]; 0 of rows that have stopped."""
    x = state.hidden.x.flatten(1)
    x = state.hidden.of_all(x) if isinstance(state.hidden, Flow) else x
    return x if len(x) == len(state.labels) else state.by_row(x)
