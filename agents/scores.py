"""Scores of blocks: (observation) -> a number for each block, by small networks that are learned.

A policy may look symbols up (observation="symbols", see `ccenv.mdp.observations`): in embeddings of
its own, or in rows of a table. A look-up costs no product.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ccenv.agents.base import Agent
from ccenv.agents.distributions import (
    MIN_PROBABILITY,
    IndependentBlocks,
    keep_probability,
    score_at,
)
from ccenv.agents.losses import policy_gradient_loss
from ccenv.base.registry import check_names
from ccenv.base.seeding import stream_seed
from ccenv.base.values import check_within, positive_int
from ccenv.mdp.choosers import Chooser, key_of
from ccenv.mdp.observations import num_seen, num_symbols_of
from ccenv.simulator.rollout import Rollout
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
        """Draws `size` normal numbers for a symbol; ValueError if observations show no symbols.

        `length` are the informative columns of an observation.
        """
        super().__init__()
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
        """As of `SymbolEmbeddings`; ValueError of a large table too."""
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
        outputs = rows.sum(dim=1) + self.bias
        if not self.num_plain:
            return outputs
        plain, weight = observation[:, : self.num_plain], self.weight[:, : self.num_plain]
        return outputs + nn.functional.linear(plain, weight)


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


class LayerScores(nn.Module):
    """One small network for each gated layer: observation -> a score for each block.

    Without hidden units this is the paper's policy: one affine map a layer. It reads only the
    columns of the observation that are informative at its layer, and its MACs are billed so.
    """

    def __init__(
        self,
        simulator: Simulator,
        seed: int,
        hidden_units: int = 0,
        embedding_size: EmbeddingSize = 0,
        outputs: Sequence[int] | None = None,
        lengths: Sequence[int] | None = None,
    ) -> None:
        """Draws Glorot uniform weights and zero biases.

        Args:
            simulator: gives the sizes.
            seed: of the initial weights.
            hidden_units: of one tanh layer in between; 0 for none.
            embedding_size: numbers that stand for a symbol of the observation, learned here, see
                `SymbolEmbeddings`; 0 reads the observation as it is; "one_hot" or "joint": see
                `SymbolRows`.
            outputs: scores of each layer; None for one a block.
            lengths: columns that each layer reads; None for those that are informative there.

        Raises:
            ValueError: if a size is no whole number of at least 0, or symbols are to be looked up
                of an observation that shows none.
        """
        super().__init__()
        positive_int(hidden_units, "hidden_units", least=0)
        if isinstance(embedding_size, str):
            check_names([embedding_size], LOOK_UP_SIZES, "embedding_size")
        else:
            positive_int(embedding_size, "embedding_size", least=0)
        self.lengths = tuple(lengths or simulator.observe.lengths[: simulator.num_layers])
        generator = torch.Generator().manual_seed(stream_seed(seed, "policy weights"))
        self.layers = nn.ModuleList()
        for length, blocks in zip(self.lengths, outputs or simulator.num_blocks, strict=True):
            looked_up, width = [], length
            if embedding_size and not isinstance(embedding_size, str):
                table = SymbolEmbeddings(simulator, embedding_size, length, generator)
                looked_up, width = [table], table.out_features
            sizes = [width, hidden_units, blocks] if hidden_units else [width, blocks]
            maps = [nn.Linear(a, b) for a, b in pairwise(sizes)]
            if embedding_size in LOOK_UP_SIZES:
                is_joint = embedding_size == JOINT
                maps[0] = SymbolRows(simulator, length, sizes[1], joint=is_joint)
            for linear in maps:
                nn.init.xavier_uniform_(linear.weight, generator=generator)
                nn.init.zeros_(linear.bias)
            stack = [maps[0]] if len(maps) == 1 else [maps[0], nn.Tanh(), maps[1]]
            self.layers.append(nn.Sequential(*looked_up, *stack))
        self.to(simulator.device)

    @property
    def macs(self) -> list[int]:
        """MACs of one input, for each layer."""
        maps = [[m for m in one.modules() if isinstance(m, nn.Linear)] for one in self.layers]
        return [
            sum(m.macs if isinstance(m, SymbolRows) else m.weight.numel() for m in of_layer)
            for of_layer in maps
        ]

    @property
    def num_plain(self) -> list[int]:
        """Columns of each layer that are numbers; those behind them are looked up as symbols."""
        firsts = [next(iter(stack.children())) for stack in self.layers]
        return [
            length - (first.num_seen if isinstance(first, SymbolEmbeddings | SymbolRows) else 0)
            for length, first in zip(self.lengths, firsts, strict=True)
        ]

    def maps(self, layer: int) -> list[tuple[Tensor, Tensor | None]]:
        """Weights [out, in] and biases of a layer's affine maps, with tanh in between."""
        linears = [m for m in self.layers[layer].modules() if isinstance(m, nn.Linear)]
        return [(linear.weight, linear.bias) for linear in linears]

    def last(self, layer: int) -> nn.Linear:
        """The map that gives a layer's scores."""
        stack = self.layers[layer]
        assert isinstance(stack, nn.Sequential)
        linear = stack[-1]
        assert isinstance(linear, nn.Linear)
        return linear

    def choosers(
        self, deterministic: bool, num_kept: Sequence[int] | None = None, low: float = 0.0
    ) -> list[Chooser] | None:
        """One chooser a layer, of k blocks each or of coins; see `Chooser` and `Agent.choosers`."""
        if any(isinstance(one, SymbolRows) and one.joint for one in self.modules()):
            return None
        rules = ("sampled", "greedy") if num_kept is None else ("sampled_k", "top_k")
        rule, kept = rules[deterministic], enumerate(num_kept or [1] * len(self.layers))
        return [
            Chooser(self.maps(layer), rule, k, low, embeddings=self.embeddings(layer))
            for layer, k in kept
        ]

    def embeddings(self, layer: int) -> Tensor | None:
        """A layer's own table of symbols: [num_symbols, embedding_size], None for none."""
        stack = self.layers[layer]
        assert isinstance(stack, nn.Sequential)
        first = stack[0]
        if isinstance(first, SymbolRows):
            return torch.eye(first.num_symbols)
        return first.table if isinstance(first, SymbolEmbeddings) else None

    def forward(self, observation: Tensor, layer: int) -> Tensor:
        """Scores [batch, num_blocks[layer]], or `outputs`, from observations [batch, obs_size]."""
        scores: Tensor = self.layers[layer](observation[:, : self.lengths[layer]])
        return scores


def start_at(scores: LayerScores, shares: Sequence[float], least: float = MIN_PROBABILITY) -> None:
    """Sets the last biases so that coins keep such shares, one a layer, of its blocks at first.

    `least` is a coin's lowest keep probability, see `keep_probability`.
    """
    for layer, share in enumerate(shares):
        nn.init.constant_(scores.last(layer).bias, score_at(share, least))


@dataclass(frozen=True, kw_only=True)
class ScoreSettings:
    """Settings of an agent that has scores of blocks; agents extend it by their own."""

    hidden_units: int = 0
    """of the policy's hidden layer; 0 for an affine policy."""
    embedding_size: EmbeddingSize = 0
    """of what symbols of the observation are looked up in, see `EmbeddingSize`."""


class ScoredAgent(Agent):
    """An agent whose masks follow from `scores` of blocks; how they are learned, subclasses say.

    A subclass that has further settings names their record as `settings_class`: its fields are
    keywords of the constructor, and what was given is `self.settings`.
    """

    settings_class: ClassVar[type[ScoreSettings]] = ScoreSettings
    settings: ScoreSettings
    min_probability: float = MIN_PROBABILITY
    """lowest keep probability of a coin; the highest is one minus it."""

    def __init__(self, env: Any, *, seed: int = 0, **settings: Any) -> None:
        """Prepares the scores.

        Args:
            env: see `Agent`.
            seed: see `Agent`.
            settings: fields of `settings_class`.
        """
        super().__init__(env, seed=seed)
        self.settings = self.settings_class(**settings)
        self.scores = self.make_scores(seed)
        self.policy_macs = self.scores.macs

    def make_scores(self, seed: int) -> LayerScores:
        """Draws the scores' weights by a seed."""
        sizes = self.settings.hidden_units, self.settings.embedding_size
        return LayerScores(self.simulator, seed, *sizes)

    def surrogate(
        self, rollout: Rollout, advantages: Tensor, before: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The policy gradient's loss, and the masks' entropy in nats: sums over gates of means.

        Advantages are [num_steps, batch]: what each mask was worth; see `policy_gradient_loss` for
        `before`, of the same shape.
        """
        loss, entropy = torch.zeros(()), torch.zeros(())
        values = [advantages] if before is None else [advantages, before]
        for layer, seen, action, *of_gate in rollout.by_gate(*values):
            blocks = self.distribution(seen, layer)
            log_prob = blocks.log_prob(action)
            loss = loss + policy_gradient_loss(log_prob, *of_gate)
            entropy = entropy + blocks.entropy().mean()
        return loss, entropy


class IndependentPolicy(ScoredAgent):
    """Keeps or skips every block by itself; how the scores are learned, subclasses say."""

    def distribution(self, observation: Tensor, layer: int) -> IndependentBlocks:
        """Masks of a layer's images: [batch, obs_size] -> independent blocks."""
        scores = self.scores(observation, layer)
        return IndependentBlocks(keep_probability(scores, self.min_probability))

    def choosers(self, *, deterministic: bool) -> list[Chooser] | None:
        """See `Agent.choosers`."""
        return self.scores.choosers(deterministic, low=self.min_probability)


@dataclass(frozen=True, kw_only=True)
class CoinSettings(ScoreSettings):
    """Settings of an agent that tosses coins, and goes through a rollout in one step or several."""

    min_probability: float = MIN_PROBABILITY
    """lowest keep probability of a coin, in (0, 0.5); the highest is one minus it. What is wasted
    by it grows with the number of blocks."""
    num_epochs: int = 1
    """how often an update goes through the rollout; see `ccenv.agents.passes`."""
    num_minibatches: int = 1
    """parts of it, with a gradient step each."""

    def __post_init__(self) -> None:
        """Refuses impossible probabilities."""
        check_within("(0, 0.5)", min_probability=self.min_probability)
