"""A policy's own embeddings: (observation that ends with symbols) -> numbers that it has learned.

Symbols are shown by observation="symbols", see `ccenv.mdp.observations`. A look-up costs no
product.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from ccenv.base.values import positive_ints
from ccenv.mdp.choosers import key_of
from ccenv.mdp.observations import num_seen, num_symbols_of
from ccenv.simulator.simulator import Simulator

ONE_HOT, JOINT = LOOK_UP_SIZES = ("one_hot", "joint")
EmbeddingSize = int | Literal["one_hot", "joint"]
"""The setting `embedding_size`: numbers that stand for a symbol, 0 to read the observation as it
is; `ONE_HOT`: none, each place has a row of its own for each symbol; `JOINT`: each combination of
the symbols that are shown has a row, see `SymbolRows`."""
MOST_ENTRIES = 2**22
"""Of a table: symbols to the power of how many are looked up together."""


class SymbolEmbeddings(nn.Module):
    """Looks the last columns of an observation up; those before them go on as they are.

    All places share a symbol's numbers; the affine map behind them tells places apart.
    """

    def __init__(
        self, simulator: Simulator, size: int, length: int, generator: torch.Generator
    ) -> None:
        """Draws normal numbers, as embeddings of torch start.

        Args:
            simulator: whose observations end with symbols.
            size: numbers that stand for a symbol.
            length: informative columns of an observation.
            generator: of the initial numbers.

        Raises:
            ValueError: if observations show no symbols, or the size is no positive integer.
        """
        super().__init__()
        positive_ints([size], "embedding_size")
        self.num_seen, self.length = num_seen(simulator.observe), length
        self.num_symbols = num_symbols_of(simulator.network)
        table = torch.empty(self.num_symbols, size)
        self.table = nn.Parameter(nn.init.normal_(table, generator=generator))

    @property
    def out_features(self) -> int:
        """Columns that an affine map reads."""
        return self.length + self.num_seen * (self.table.shape[1] - 1)

    def forward(self, observation: Tensor) -> Tensor:
        """Float32 [batch, length] -> [batch, out_features]."""
        plain = observation[:, : self.length - self.num_seen]
        symbols = observation[:, self.length - self.num_seen : self.length].long()
        return torch.cat([plain, nn.functional.embedding(symbols, self.table).flatten(1)], dim=1)


class SymbolRows(nn.Linear):
    """An affine map of the last columns one-hot: a row for each place and symbol, added up.

    Joint, it has one row for all of them together: a table of pairs where two symbols are shown.
    Columns before them are multiplied as in any affine map; nothing else costs a product.
    """

    def __init__(
        self, simulator: Simulator, length: int, out_features: int, *, joint: bool = False
    ) -> None:
        """Arguments as those of `SymbolEmbeddings`; raises what it raises, and of large tables.

        Args:
            simulator: whose observations end with symbols.
            length: informative columns of an observation.
            out_features: of the map.
            joint: looks all symbols up together.
        """
        self.num_seen, self.length, self.joint = num_seen(simulator.observe), length, joint
        self.num_symbols = num_symbols_of(simulator.network)
        self.num_plain = length - self.num_seen
        together = self.num_seen if joint else 1
        self.num_entries = check_entries(together, self.num_seen, self.num_symbols)
        num_tables = self.num_seen // together
        super().__init__(self.num_plain + num_tables * self.num_entries, out_features)
        starts = self.num_plain + self.num_entries * torch.arange(num_tables)
        self.register_buffer("starts", starts, persistent=False)

    @property
    def macs(self) -> int:
        """Products of one observation."""
        return self.num_plain * self.out_features

    @torch.no_grad()
    def start_at(self, table: Tensor, score: float) -> None:
        """Scores are 0 but for what the last table names: int64 [num_entries, k] -> `score`."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)
        columns = self.in_features - self.num_entries + torch.arange(len(table))
        self.weight[table, columns.to(table.device)[:, None]] = score

    def forward(self, observation: Tensor) -> Tensor:
        """Float32 [batch, length] -> [batch, out_features]."""
        symbols = observation[:, self.num_plain : self.length].long()
        if self.joint:
            symbols = key_of(symbols, self.num_symbols)[:, None]
        # Whole rows side by side in memory: columns of the weight are read in half of that speed.
        table = self.weight.t().contiguous()
        rows = nn.functional.embedding(symbols + self.get_buffer("starts"), table)
        found = rows.sum(dim=1) + self.bias
        if not self.num_plain:
            return found
        plain, weight = observation[:, : self.num_plain], self.weight[:, : self.num_plain]
        return found + nn.functional.linear(plain, weight)


def random_table(entries: int, num_blocks: int, kept: int, draws: torch.Generator) -> Tensor:
    """Draws k different blocks for each entry, all sets of them alike: int64 [entries, k]."""
    return torch.rand(entries, num_blocks, generator=draws).topk(kept, dim=1).indices


def check_entries(together: int, shown: int, num_symbols: int) -> int:
    """Entries of a table of some of the symbols that are shown; ValueError of a size too large."""
    if not 1 <= together <= shown or num_symbols**together > MOST_ENTRIES:
        raise ValueError(
            f"expected num_hashed of 1 to {shown} (embedding_size='joint': {shown}, the network's "
            f"look_tokens) and a table of at most {MOST_ENTRIES:,} entries, got {together} of "
            f"{num_symbols} different ones"
        )
    return num_symbols**together
