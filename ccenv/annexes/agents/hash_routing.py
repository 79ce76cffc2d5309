"""Hash routing: an input's last symbols -> k of the n blocks, by a table that is drawn once.

Roller, Sukhbaatar, Szlam, Weston 2021, "Hash layers for large sparse models", arXiv 2106.04426: the
baseline that a learned policy must beat. There each token has one expert, drawn at random once or
so that experts are used alike; here k blocks.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.agents.base import Agent
from ccenv.agents.distributions import check_kept
from ccenv.agents.scores import check_entries, random_table
from ccenv.base.seeding import stream
from ccenv.mdp.choosers import ListChooser, key_of
from ccenv.mdp.observations import LAST_SYMBOLS, num_seen, num_symbols_of
from ccenv.simulator.simulator import Simulator

NUM_COUNTED = 200_000
"""Training inputs by which blocks are used alike."""


class Hash(Agent):
    """Its masks cost no products: a table is looked up at each gate, drawn from the seed."""

    env_defaults: ClassVar[dict[str, Any]] = {"observation": LAST_SYMBOLS}
    learns: ClassVar[bool] = False

    def __init__(
        self,
        env: Any,
        *,
        seed: int = 0,
        num_kept: int | Sequence[int] = 2,
        num_hashed: int = 1,
        balanced: bool = False,
    ) -> None:
        """Draws a table for each gate.

        Args:
            env: see `Agent`; its observation ends with symbols, see `ccenv.mdp.observations`.
            num_kept: k, one number or one for each gated layer.
            num_hashed: how many of the last symbols are looked up together.
            balanced: gives the symbols, the most frequent one first, the k blocks that are used
                least so far, instead of k blocks at random.

        Raises:
            ValueError: if the observation shows no symbols or fewer than `num_hashed`, the table is
                too large, or k is not in 1..num_blocks.
        """
        super().__init__(env, seed=seed)
        self.policy_macs = [0] * len(self.num_blocks)
        self.num_kept = check_kept(num_kept, self.num_blocks)
        self.num_symbols = num_symbols_of(self.simulator.network)
        shown = num_seen(self.simulator.observe)
        entries = check_entries(num_hashed, shown, self.num_symbols)
        self.num_hashed, self.lengths = num_hashed, self.simulator.observe.lengths
        draws = stream(seed, "hash table")
        pairs = list(zip(self.num_blocks, self.num_kept, strict=True))
        if balanced and isinstance(self.simulator, Simulator):
            uses = self.counts(entries)
            self.tables = [balanced_table(uses, n, k, draws) for n, k in pairs]
        else:
            self.tables = [random_table(entries, n, k, draws) for n, k in pairs]

    def counts(self, entries: int) -> Tensor:
        """How often each entry is looked up by training inputs: int64 [entries]."""
        training = self.simulator.on_split("train", 1)
        some = min(NUM_COUNTED, len(training.data))
        rows = torch.linspace(0, len(training.data) - 1, some, dtype=torch.float64).long()
        counts = torch.zeros(entries, dtype=torch.int64)
        for part in rows.split(1000):
            # The network need not run for what it shows of an input.
            symbols = training.data.batch(part)[0][:, -self.num_hashed :]
            counts += key_of(symbols.long(), self.num_symbols).cpu().bincount(minlength=entries)
        return counts

    def keys(self, observation: Tensor, layer: int) -> Tensor:
        """Entry of each input's last symbols: [batch, obs_size] -> int64 [batch]."""
        end = self.lengths[layer]
        return key_of(observation[:, end - self.num_hashed : end].long(), self.num_symbols)

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Looks the blocks up: int64 [batch, k]; nothing is drawn."""
        return self.tables[layer].to(observation.device, non_blocking=True)[
            self.keys(observation, layer)
        ]

    def choosers(self, *, deterministic: bool) -> list[ListChooser]:
        """See `Agent.choosers`."""
        return [ListChooser(table, self.num_hashed, self.num_symbols) for table in self.tables]

    def parameters(self) -> dict[str, Tensor]:
        """The tables."""
        return {f"table_{layer}": table.clone() for layer, table in enumerate(self.tables)}

    def load_parameters(self, tensors: Mapping[str, Tensor]) -> None:
        """The tables that `parameters` gave."""
        self.tables = [tensors[f"table_{layer}"].clone() for layer in range(len(self.tables))]


def balanced_table(uses: Tensor, num_blocks: int, kept: int, draws: torch.Generator) -> Tensor:
    """Chooses k blocks for each entry such that blocks are used alike: int64 [entries, k].

    The most used entry (`uses` counts look-ups, int64 [entries]) takes the blocks that are used
    least so far, and so on; of equally used blocks, and of what is never used, chance decides.

    >>> table = balanced_table(torch.tensor([4, 2, 2]), 2, 1, torch.Generator())
    >>> bool(table[1] == table[2]), bool(table[0] == table[1])
    (True, False)
    """
    table = random_table(len(uses), num_blocks, kept, draws)
    load = torch.zeros(num_blocks, dtype=torch.float64)
    for entry in uses.argsort(descending=True, stable=True)[: int((uses > 0).sum())].tolist():
        least = (load + torch.rand(num_blocks, generator=draws) / 2).topk(kept, largest=False)
        table[entry] = least.indices
        load[least.indices] += float(uses[entry])
    return table
