"""A policy's own embeddings: (observation that ends with symbols) -> numbers that it has learned.

Symbols are shown by observation="symbols", see `ccenv.mdp.symbols`. All places share a symbol's
numbers; the affine map behind them tells places apart. A look-up costs no product.
"""

import torch
from torch import Tensor, nn

from ccenv.mdp.symbols import num_seen, num_symbols_of
from ccenv.networks.mlp import positive_ints
from ccenv.simulator.simulator import Simulator


class SymbolEmbeddings(nn.Module):
    """Looks the last columns of an observation up; those before them go on as they are."""

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
