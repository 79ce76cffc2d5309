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

The hash says which of a window's coordinates is largest, so that only the order of values counts.
Two rows agree with probability sum_i C(r_i, k - 1) / C(n, k), where k coordinates are compared and
r_i is the number of those that are below coordinate i in both rows; for k = 2 it is
(1 + Kendall's tau)/2 (Yagnik, Strelow, Ross, Lin 2011).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.agents.base import Agent, OnRollout, ignore
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


@dataclass(frozen=True, kw_only=True)
class RetrievalSettings:
    """Settings of `WtaRetrieval`."""

    tables: int = 8
    """of a gate, with a code for each key."""
    hashes: int = 2
    """windows of a table."""
    window: int = 8
    """coordinates that a hash compares."""
    probes: int = 4
    """buckets of a table that are looked into; 1 is plain winner-take-all."""
    keys: str = "mean"
    """"mean" of a block's units, or all of its "units"."""
    min_kept: int = 1
    """at least so many blocks; chance fills up."""
    max_kept: int | None = None
    """at most so many, those that most tables found; None for no limit."""
    rehash_every: int = 16
    """updates of the network until the tables are rebuilt; twice as many from one time to the next,
    as weights settle."""


class WtaRetrieval(Agent):
    """Keeps the blocks whose weights are ordered like the input; learns nothing."""

    learns: ClassVar[bool] = False
    resumes: ClassVar[bool] = True

    settings_class = RetrievalSettings
    settings: RetrievalSettings

    def __init__(self, env: Any, *, seed: int = 0, **settings: Any) -> None:
        """Draws the windows and hashes the blocks as they are now; see `RetrievalSettings`.

        Args:
            env: see `Agent`; its network's gates of several blocks are fully connected.

        Raises:
            ValueError: if a number is impossible, or blocks do not have their own input weights.
        """
        super().__init__(env, seed=seed)
        record = self.settings = self.settings_class(**settings)
        check_names([record.keys], KEYS, "keys")
        sizes = record.tables, record.hashes, record.window
        positive_ints([*sizes, record.probes, record.min_kept, record.rehash_every], "numbers")
        check_probes(record.hashes, record.window, record.probes)
        most = record.max_kept if record.max_kept is not None else max(self.num_blocks)
        if not record.min_kept <= most:
            raise ValueError(
                f"expected min_kept of at most max_kept, got {record.min_kept} and "
                f"{record.max_kept}"
            )
        self.limits = record.min_kept, most
        self.wait, self.updates = float(record.rehash_every), 0
        self.next_rehash = float(record.rehash_every)
        self.chosen = [gate for gate, blocks in enumerate(self.num_blocks) if blocks > 1]
        draws, self.windows = stream(seed, "winner-take-all windows"), {}
        for gate in self.chosen:
            features = block_weights(self.simulator.network, gate).shape[1]
            self.windows[gate] = draw_windows(features, sizes, draws)
        if not self.chosen:
            raise ValueError(
                f"expected a gate of several blocks to retrieve from, got {self.num_blocks}; "
                "choose another agent"
            )
        billed = math.prod(sizes)
        self.policy_macs = [billed * (blocks > 1) for blocks in self.num_blocks]
        self.codes: dict[int, Tensor] = {}
        self.buckets: dict[int, list[tuple[Tensor, Tensor]]] = {}
        self.rehash()

    def rehash(self) -> None:
        """Rebuilds all tables from the network's present weights."""
        for gate in self.chosen:
            keys = block_keys(self.simulator.network, gate, self.settings.keys)
            self.codes[gate] = probe_codes(keys, self.windows[gate], 1)[0].squeeze(2)
            self.buckets[gate] = fill_buckets(self.codes[gate], self.num_blocks[gate])

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
        codes, _ = probe_codes(layer_input(state).cpu(), self.windows[layer], self.settings.probes)
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
            self.wait *= 2
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
        return {f"{n}_{g}": t.clone() for n, tensors in pairs.items() for g, t in tensors.items()}

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
    weight = None if owner is None else next(iter(owner.gate_parameters(gate)), None)
    blocks = network.gates[gate].num_blocks
    if weight is None or weight.ndim != 2 or len(weight) % blocks:
        got = "none" if weight is None else list(weight.shape)
        raise ValueError(
            f"expected weights [units, features] of the {blocks} blocks of gate "
            f"{network.gates[gate].name!r} for wta_retrieval, got {got}; choose a network of fully "
            "connected blocks (mlp, experts) or another agent"
        )
    return weight.detach()


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


def draw_windows(features: int, sizes: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """The first coordinates of random orders: int64 [tables, hashes, window].

    ValueError if a window is wider than there are features.
    """
    tables, hashes, window = sizes
    if window > features:
        raise ValueError(
            f"expected window of at most the {features} features of a layer's input, got {window}"
        )
    return torch.rand(tables, hashes, features, generator=generator).topk(window).indices


def check_probes(hashes: int, window: int, probes: int) -> None:
    """Refuses addresses that no int64 holds, and more probes than buckets."""
    if hashes * math.log2(window) >= 62 or probes > window**hashes:
        raise ValueError(
            "expected window ** hashes below 2 ** 62 and at most so many probes, got "
            f"{window} ** {hashes} and {probes}"
        )


def probe_codes(x: Tensor, windows: Tensor, probes: int) -> tuple[Tensor, Tensor]:
    """Buckets that rows [n, features] are looked up in by windows, the nearest first.

    Another bucket takes lower-ranked coordinates in place of some windows' winners; how far it is,
    is the sum of their gaps to the winners. The first so many probes are those of fewer probes.
    Addresses are int64 [n, tables, probes], digits to the base of the window; distances likewise.

    >>> x, windows = torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([[[0, 1, 2]]])
    >>> probe_codes(x, windows, 2)
    (tensor([[[0, 2]]]), tensor([[[0., 1.]]]))
    """
    tables, hashes, window = windows.shape
    # Stable, so that of equal values the first one wins, in keys and inputs alike.
    values, places = x[:, windows].sort(dim=3, descending=True, stable=True)
    gaps = values[..., :1] - values
    codes = torch.zeros(len(x), tables, 1, dtype=torch.int64)
    distances = torch.zeros(len(x), tables, 1, dtype=x.dtype)
    for number in range(hashes):
        sums = (distances[..., None] + gaps[:, :, number, None, :]).flatten(2)
        both = (codes[..., None] * window + places[:, :, number, None, :]).flatten(2)
        # The nearest of all need only the nearest of what came before.
        distances, order = sums.sort(dim=2, stable=True)
        distances, order = distances[..., :probes], order[..., :probes]
        codes = both.gather(2, order)
    return codes, distances


def fill_buckets(codes: Tensor, num_blocks: int) -> list[tuple[Tensor, Tensor]]:
    """For each table its codes in use and the blocks behind them.

    Of codes int64 [keys, tables], as many neighbouring keys for each block: sorted codes int64 [m],
    and how many keys of each block have them, float32 [m + 1, num_blocks]; the last bucket is
    empty.
    """
    owner = torch.arange(num_blocks).repeat_interleave(len(codes) // num_blocks)
    filled = []
    for column in codes.t():
        used_codes, place = column.unique(return_inverse=True)
        members = torch.zeros(len(used_codes) + 1, num_blocks)
        members.index_put_((place, owner), torch.ones(len(owner)), accumulate=True)
        filled.append((used_codes, members))
    return filled


def count_hits(buckets: Sequence[tuple[Tensor, Tensor]], codes: Tensor) -> Tensor:
    """How many keys of each block lie in probed buckets, over all tables: float32 [n, num_blocks].

    Buckets are those of `fill_buckets`, codes int64 [n, tables, probes] those of `probe_codes`.
    """
    total = torch.zeros(len(codes), buckets[0][1].shape[1])
    for (used_codes, members), asked in zip(buckets, codes.unbind(1), strict=True):
        place = torch.searchsorted(used_codes, asked.contiguous()).clamp(max=len(used_codes) - 1)
        row = torch.where(used_codes[place] == asked, place, len(used_codes))
        total += members[row].sum(dim=1)
    return total
