"""Top-k routing: the k blocks of highest score, learned through their softmax weights.

The router of mixtures of experts: Shazeer et al. 2017, arXiv 1701.06538 (noisy top k, softmax over
the kept ones); Fedus, Zoph, Shazeer 2022, "Switch transformers", arXiv 2101.03961 (softmax over
all, load balance, capacity). With `scaled=True` a kept block is scaled by its weight, as there, so
that one kept block has a gradient too. With `scaled=False` masks are binary and the weight is
divided by its own value: a kept block counts in full, and only the gradient is the weight's.

`capacity` limits the rows that a block takes of a training batch. In use there is no limit: a row
does not depend on its neighbours. Ours: Gaussian noise on the scores that falls to zero, where
Switch multiplies its input with noise; the router reads what the environment shows, and no gradient
goes back through it into the network.

`assignment="sinkhorn"` is S-BASE of Clark et al. 2022, "Unified scaling laws for routed language
models", arXiv 2202.01169, after the balanced assignment of BASE layers (Lewis et al. 2021, arXiv
2103.16716): a training batch is spread over the blocks by an optimal transport with entropy, and
each row takes the highest of its plan. In use the highest scores decide. The gradient is that of
the softmax weights (BASE: of a sigmoid), never of the plan. Take noise=0, balance_weight=0. Rows
that are alike have one block, so loads are equal only about. In use nothing balances: a few blocks
may take most rows, and other ones than in training.

Blocks are used alike by a loss, or without one: Wang, Gao, Zhao, Sun, Dai 2024, "Auxiliary-loss-
free load balancing strategy for mixture-of-experts", arXiv 2408.15664, add a bias to the scores for
the selection alone, which rises by a fixed rate where a block is kept less than the mean and falls
where it is kept more. There scores are in (0, 1); here they are logits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ccenv.agents.distributions import check_kept, highest
from ccenv.agents.scores import ScoreSettings
from ccenv.annexes.agents.straight_through_ops import TINY, ThroughMasks, load_balance, move_bias
from ccenv.base.masks import as_mask
from ccenv.base.registry import check_names
from ccenv.base.seeding import normal
from ccenv.base.values import check_at_least_zero
from ccenv.mdp.choosers import Chooser
from ccenv.simulator.rollout import Rollout

ASSIGNMENTS = ("highest", "sinkhorn")
NOISE_SHARE = 0.6
"""Of the training."""
NUM_ITERATIONS = 10
"""Of Sinkhorn's algorithm."""


@dataclass(frozen=True, kw_only=True)
class TopKSettings(ScoreSettings):
    """Settings of `TopK`."""

    num_kept: int | Sequence[int] = 2
    """k, one number or one for each gated layer."""
    noise: float = 1.0
    """on the scores in training, standard deviation at the start; it falls to zero over
    `NOISE_SHARE` of the training."""
    balance_weight: float = 0.01
    """of the load balance loss, 1 where blocks are used alike."""
    learning_rate: float = 0.005
    """Adam's."""
    bias_rate: float = 0.0
    """what an update moves a block's selection bias by; 0 for no such bias."""
    scaled: bool = False
    """whether outputs of kept blocks are multiplied with their softmax weights."""
    capacity: float | None = None
    """of a training batch, a block takes its first capacity * rows * k / num_blocks rows and skips
    the others; None for no limit."""
    assignment: str = "highest"
    """of a training batch; each row takes its "highest" scores, or those of a balanced plan
    ("sinkhorn")."""


class TopK(ThroughMasks):
    """Learns from the network's loss, whatever the environment's reward."""

    held_name: ClassVar[str] = "balance"
    every_block: ClassVar[bool] = False

    settings_class = TopKSettings
    settings: TopKSettings

    def __init__(self, env: Any, *, seed: int = 0, **settings: Any) -> None:
        """Prepares policy and optimiser (Adam); see `TopKSettings`."""
        super().__init__(env, seed=seed, **settings)
        record = self.settings
        check_names([record.assignment], ASSIGNMENTS, "assignment")
        if record.capacity is not None and not 0 < record.capacity < math.inf:
            raise ValueError(f"expected capacity above 0, or none, got {record.capacity}")
        check_at_least_zero(bias_rate=record.bias_rate)
        self.num_kept = check_kept(record.num_kept, self.num_blocks)
        for kept, blocks in zip(self.num_kept, self.num_blocks, strict=True):
            if record.capacity is not None:
                rows_of_a_block(record.capacity, self.simulator.num_images, kept, blocks)
        self.held_weight, self.gives_values = record.balance_weight, record.scaled
        self.chosen: list[Tensor] = []
        # In a module, so that checkpoints and files hold it with the weights.
        zeros = [torch.zeros(n, device=self.simulator.device) for n in self.num_blocks]
        still = [nn.Parameter(zero, requires_grad=False) for zero in zeros if record.bias_rate]
        self.bias = nn.ParameterList(still)
        self.optimizer = torch.optim.Adam(self.scores.parameters(), lr=record.learning_rate)

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Agent.act`; only training, which draws from the agent's own stream, is noisy."""
        scores = self.scores(observation, layer)
        keys = scores + self.bias[layer] if self.settings.bias_rate else scores
        in_training, num_blocks = generator is self.generator, self.num_blocks[layer]
        if in_training:
            keys = self.training_keys(keys)
        kept = highest(keys, self.num_kept[layer])
        if not (in_training or self.gives_values):
            return kept
        mask = chosen = as_mask(kept, num_blocks, self.simulator.checks)
        if in_training:
            # Kept for the update, which sees what is left within the capacity.
            self.chosen = [*self.chosen[:layer], chosen]
            if self.settings.capacity is not None:
                mask = within_capacity(chosen, self.settings.capacity)
        return self.soft_mask(scores, chosen, mask) if self.gives_values else mask

    def training_keys(self, scores: Tensor) -> Tensor:
        """What a training batch is assigned by: [batch, num_blocks] -> the same."""
        noise = self.settings.noise * max(0.0, 1 - self.progress / NOISE_SHARE)
        if noise:
            scores = scores + noise * normal(scores.shape, self.generator, scores.device)
        return balanced_plan(scores) if self.settings.assignment == "sinkhorn" else scores

    def soft_mask(self, scores: Tensor, chosen: Tensor, mask: Tensor) -> Tensor:
        """Weights among the chosen blocks, of those that the mask keeps."""
        return weighted_masks(scores, chosen, self.gives_values) * mask

    def choosers(self, *, deterministic: bool) -> list[Chooser] | None:
        """See `Agent.choosers`; noise is only drawn in training."""
        if self.gives_values:
            return None
        choosers = self.scores.choosers(True, self.num_kept)
        if choosers is None or not self.settings.bias_rate:
            return choosers
        return [biased(chooser, bias) for chooser, bias in zip(choosers, self.bias, strict=True)]

    def terms(self, rollout: Rollout, layer: int) -> tuple[Tensor, Tensor]:
        """See `ThroughMasks.terms`."""
        chosen, mask = self.chosen[layer], rollout.masks[layer, :, : self.num_blocks[layer]]
        scores = self.scores(rollout.observations[layer], layer)
        if self.settings.bias_rate:
            move_bias(self.bias[layer], chosen, self.settings.bias_rate)
        return self.soft_mask(scores, chosen, mask), load_balance(scores, chosen)


def biased(chooser: Chooser, bias: Tensor) -> Chooser:
    """A chooser whose scores a bias [num_blocks] is added to."""
    assert not isinstance(chooser.maps, Tensor)
    *before, (weight, last) = chooser.maps
    return replace(chooser, maps=[*before, (weight, bias if last is None else last + bias)])


def weighted_masks(scores: Tensor, mask: Tensor, scaled: bool = False) -> Tensor:
    """Soft masks: softmax weights of kept blocks, over their own values unless scaled; else 0.

    Scores are [batch, num_blocks] float32; the softmax is over all blocks. Unless scaled, values
    are 1 and only the gradient is that of the weights.

    >>> weighted_masks(torch.zeros(1, 2), torch.tensor([[True, False]]), scaled=True)
    tensor([[0.5000, 0.0000]])
    """
    log_weight = torch.where(mask, scores.log_softmax(dim=1), 0.0)
    if scaled:
        # A gate of 0 would not be computed.
        return torch.where(mask, log_weight.exp().clamp(min=TINY), 0.0)
    return torch.where(mask, (log_weight - log_weight.detach()).exp(), 0.0)


def within_capacity(mask: Tensor, capacity: float) -> Tensor:
    """Keeps of each block the first rows, capacity times as many as with even use.

    A bool mask [batch, num_blocks], as many blocks in each row; ValueError if that is no row.

    >>> within_capacity(torch.tensor([[True, False]] * 3), capacity=1.4).int().tolist()
    [[1, 0], [1, 0], [0, 0]]
    """
    rows, num_blocks = mask.shape
    most = rows_of_a_block(capacity, rows, int(mask[0].sum()), num_blocks)
    return mask & (mask.cumsum(dim=0) <= most)


def rows_of_a_block(capacity: float, rows: int, num_kept: int, num_blocks: int) -> int:
    """Rows of a batch that a block takes at most; none is refused (ValueError)."""
    most = int(capacity * rows * num_kept / num_blocks)
    if not most:
        raise ValueError(
            f"expected a capacity of at least one row for each block, got {capacity} x {rows} rows "
            f"x {num_kept} of {num_blocks} blocks; raise capacity or batch_size"
        )
    return most


@torch.no_grad()
def balanced_plan(scores: Tensor) -> Tensor:
    """Logarithms of a plan in which each row weighs the same, and nearly so each block.

    Sinkhorn's algorithm on exp(scores): the highest entries of the rows use blocks about alike.

    >>> balanced_plan(torch.tensor([[5.0, 0.0], [3.0, 0.0]])).argmax(dim=1).tolist()
    [0, 1]
    """
    for _ in range(NUM_ITERATIONS):
        scores = scores.log_softmax(dim=0).log_softmax(dim=1)
    return scores
