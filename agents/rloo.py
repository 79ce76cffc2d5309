"""REINFORCE leave-one-out: several masks of the same input are compared with each other.

Baseline: Kool, van Hoof, Welling 2019, "Buy 4 REINFORCE samples, get a baseline for free!".

`sampling="perturbed"` compares greedy masks with masks of which a share of the decisions is
changed, as Kim and Kang 2025, "Exploration-driven reinforcement learning for expert routing"
(Findings of EMNLP), after its abstract. The gap of the returns is the advantage of the changed
decisions, and greedy masks train the network. Ours: a changed decision swaps one kept block for
another one, all of them alike, and counts by the policy's own probability of it, so that the
expected gap is what rises. By its log-probability alone, decisions that lose are pushed down
without bound, and the policy does not learn the probe.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.agents.advantages import above_first, leave_one_out, normalised, to_go
from ccenv.agents.base import descend, greedy_rewards
from ccenv.agents.distributions import (
    AlwaysOn,
    IndependentBlocks,
    OrderedBlocks,
    check_kept,
    keep_probability,
)
from ccenv.agents.losses import policy_gradient_loss, use_entropy
from ccenv.agents.passes import Passes
from ccenv.agents.scores import CoinSettings, ScoredAgent, SymbolRows, random_table, start_at
from ccenv.base.registry import check_names
from ccenv.base.seeding import integers, stream, uniform
from ccenv.base.values import check_within
from ccenv.mdp.choosers import Chooser
from ccenv.simulator.rollout import Rollout

SAMPLINGS = ("ordered", "independent", "perturbed")
STARTS = ("random", "hash")
ADVANTAGES = ("leave_one_out", "normalised", "self_critical")


@dataclass(frozen=True, kw_only=True)
class RlooSettings(CoinSettings):
    """Settings of `Rloo`."""

    num_kept: int | Sequence[int] = 2
    """k, one number or one for each gated layer."""
    learning_rate: float = 0.005
    """Adam's."""
    diversity_weight: float = 0.1
    """of the bonus on the entropy of mean block use, in nats."""
    sampling: str = "ordered"
    """"ordered" keeps k of n blocks, and is "independent" where all gates have one block, as
    residual units do; "independent" tosses a coin for each, of which k keep at first, and then what
    the reward's cost weight makes worth it; "perturbed": an input's first mask is greedy, others
    differ from theirs in some decisions. In use masks are then greedy."""
    advantage: str = "leave_one_out"
    """a return against the mean of the input's others ("leave_one_out"), also over their standard
    deviation ("normalised": Shao et al. 2024, arXiv 2402.03300), or against the most probable
    mask's ("self_critical": Rennie et al. 2017, arXiv 1612.00563)."""
    shared_blocks: int = 0
    """blocks of each layer that every input keeps; they count among the k."""
    dense_share: float = 0.0
    """of the training, at the start, in which every block is kept: a dense network is trained
    first."""
    anneal_share: float = 0.0
    """of the training, after that, in which k falls from all to `num_kept`."""
    start: str = "random"
    """"hash" starts at the blocks that agent `hash` has for the last symbol, with
    `embedding_size="one_hot"`, or for all the symbols that are shown, with "joint"."""
    start_probability: float = 0.9
    """at which the first draw takes one of them."""
    perturbed_share: float = 0.1
    """of the decisions of sampling="perturbed" that are changed."""
    perturbed_teach: bool = False
    """whether a co-trained network learns from changed masks too."""


class Rloo(ScoredAgent):
    """Draws k of n blocks; a mask is good if it beats the other masks of the same input.

    A bonus on the entropy of the batch's mean block use keeps blocks from dying early on; it
    fades out linearly. Looks at the cheap summary, so that choosing costs little.
    """

    sequences = True
    env_defaults: ClassVar[dict[str, Any]] = {"observation": "summary", "group_size": 8}

    settings_class = RlooSettings
    settings: RlooSettings

    def __init__(self, env: Any, *, seed: int = 0, **settings: Any) -> None:
        """Prepares policy and optimiser (Adam); see `RlooSettings`.

        Args:
            env: see `Agent`; its `group_size` is the number of masks of an input, at least 2.
        """
        super().__init__(env, seed=seed, **settings)
        record = self.settings
        check_names([record.sampling], SAMPLINGS, "sampling")
        sampling = record.sampling
        if sampling == "ordered" and max(self.num_blocks) == 1:
            sampling = "independent"
        check_names([record.start], STARTS, "start")
        check_names([record.advantage], ADVANTAGES, "advantage")
        self.group_size = self.simulator.group_size
        if self.group_size < 2:
            raise ValueError(
                f"expected group_size >= 2, got {self.group_size}: rloo compares masks of the same "
                "input; give the environment group_size=8"
            )
        if record.advantage == "self_critical" and self.simulator.context is not None:
            raise ValueError(
                "expected no context with advantage='self_critical', whose baseline would see "
                "another cost weight; use leave_one_out"
            )
        check_within("(0, 1]", perturbed_share=record.perturbed_share)
        if sampling == "perturbed" and (
            record.advantage != "leave_one_out" or record.shared_blocks
        ):
            raise ValueError(
                "expected neither advantage nor shared_blocks with sampling='perturbed', which "
                "compares with the greedy mask; leave them out"
            )
        self.min_probability = record.min_probability
        self.passes = Passes(record.num_epochs, record.num_minibatches).of(
            self.simulator.num_images
        )
        if sampling == "perturbed" and not self.passes.is_one_step:
            raise ValueError(
                "expected one step a rollout with sampling='perturbed', got num_epochs="
                f"{record.num_epochs} and num_minibatches={record.num_minibatches}; leave them out"
            )
        if sampling == "perturbed" and not record.perturbed_teach:
            self.taught_every = self.group_size
        num_kept = record.num_kept
        if sampling == "independent" and isinstance(num_kept, int):
            # Only a start then: a gate of one block starts with it kept.
            num_kept = [min(num_kept, n) for n in self.num_blocks]
        self.num_kept = check_kept(num_kept, self.num_blocks, record.shared_blocks)
        if (
            min(record.dense_share, record.anneal_share) < 0
            or record.dense_share + record.anneal_share > 1
        ):
            raise ValueError(
                "expected dense_share and anneal_share of at least 0 and together at most 1, "
                f"got {record.dense_share} and {record.anneal_share}"
            )
        if (record.dense_share or record.anneal_share) and sampling != "ordered":
            raise ValueError(
                f"expected sampling='ordered' with dense_share or anneal_share, got {sampling!r}"
            )
        self.sampling = sampling
        if sampling == "independent":
            pairs = zip(self.num_kept, self.num_blocks, strict=True)
            shares = [(k - record.shared_blocks) / (n - record.shared_blocks) for k, n in pairs]
            start_at(self.scores, shares, record.min_probability)
        if record.start == "hash":
            self._start_at_hash(record.start_probability)
        self.optimizer = torch.optim.Adam(self.scores.parameters(), lr=record.learning_rate)

    def _start_at_hash(self, probability: float) -> None:
        """Gives each layer's scores what hash routing of the same seed keeps."""
        last = map(self.scores.last, range(len(self.num_blocks)))
        tables = [rows for rows in last if isinstance(rows, SymbolRows)]
        is_plain = self.sampling != "independent" and not self.settings.shared_blocks
        if len(tables) < len(self.num_blocks) or not is_plain:
            raise ValueError(
                "expected embedding_size='one_hot' or 'joint', no sampling='independent' and "
                "neither hidden_units nor shared_blocks with start='hash'; change them, or take "
                "start='random'"
            )
        check_within("(0, 1)", start_probability=probability)
        draws = stream(self.seed, "hash table")
        for rows, n, k in zip(tables, self.num_blocks, self.num_kept, strict=True):
            table = random_table(rows.num_entries, n, k, draws)
            if k < n:
                odds = probability / (1 - probability) * (n - k) / k
                rows.start_at(table.to(self.simulator.device), math.log(odds))

    def distribution(
        self, observation: Tensor, layer: int, num_kept: int | None = None
    ) -> AlwaysOn:
        """Masks of a layer's images: [batch, obs_size] -> k of n blocks, or a coin for each."""
        scores = self.scores(observation, layer)[:, self.settings.shared_blocks :]
        if self.sampling == "independent":
            probability = keep_probability(scores, self.min_probability)
            return AlwaysOn(IndependentBlocks(probability), self.settings.shared_blocks)
        kept = (num_kept or self.num_kept[layer]) - self.settings.shared_blocks
        return AlwaysOn(OrderedBlocks(scores, kept), self.settings.shared_blocks)

    @property
    def draws_masks(self) -> bool:
        """See `Agent.draws_masks`."""
        return self.sampling != "perturbed"

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Agent.act`; only training, which draws from the agent's own stream, is annealed."""
        in_training = generator is self.generator
        blocks = self.distribution(
            observation, layer, self.kept_now(layer) if in_training else None
        )
        if self.sampling == "perturbed":
            return self.perturbed(blocks.mode(), layer) if in_training else blocks.mode()
        return blocks.mode() if generator is None else blocks.sample(generator)

    def perturbed(self, order: Tensor, layer: int) -> Tensor:
        """Swaps one kept block for another one in some rows: int64 [batch, k] -> the same.

        Never in an input's first row.
        """
        rows, num_kept = order.shape
        if num_kept == self.num_blocks[layer]:
            return order
        changes = uniform((rows, 1), self.generator, order.device) < self.settings.perturbed_share
        changes[:: self.group_size] = False
        draw = integers(num_kept, (rows, 1), self.generator, order.device)
        others = uniform((rows, self.num_blocks[layer]), self.generator, order.device)
        other = others.scatter(1, order, -1.0).argmax(dim=1, keepdim=True)
        return torch.where(changes, order.scatter(1, draw, other), order)

    def kept_now(self, layer: int) -> int:
        """Blocks kept at this moment of the training: all at first, k in the end."""
        num_blocks, kept = self.num_blocks[layer], self.num_kept[layer]
        dense, anneal = self.settings.dense_share, self.settings.anneal_share
        if self.progress < dense:
            return num_blocks
        left = max(0.0, 1 - (self.progress - dense) / anneal) if anneal else 0.0
        return kept + round(left * (num_blocks - kept))

    def choosers(self, *, deterministic: bool) -> list[Chooser] | None:
        """See `Agent.choosers`."""
        if self.settings.shared_blocks:
            return None
        kept = None if self.sampling == "independent" else self.num_kept
        deterministic = deterministic or self.sampling == "perturbed"
        return self.scores.choosers(deterministic, kept, self.min_probability)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Steps up the policy gradient with the bonus, one by default."""
        weight = self.settings.diversity_weight * (1 - self.progress)
        advantages = torch.stack(self.advantages(rollout))
        for part in self.passes.over(self, rollout, advantages):
            loss, diversity = self.surrogate(*part)
            descend(self.optimizer, loss - weight * diversity)
        return self.read(loss=loss, diversity=diversity)

    def surrogate(
        self, rollout: Rollout, advantages: Tensor, before: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The policy gradient's loss, and the entropy of mean block use: sums over gates."""
        loss, diversity = torch.zeros(()), torch.zeros(())
        values = [advantages] if before is None else [advantages, before]
        for layer, seen, action, worth, *drawn in rollout.by_gate(*values):
            blocks = self.distribution(seen, layer)
            # Where all are kept, nothing was decided.
            if self.sampling == "independent" or action.shape[1] < self.num_blocks[layer]:
                rises = blocks.log_prob(action)
                if self.sampling == "perturbed":
                    num_kept = action.shape[1]
                    num_swaps = num_kept * (self.num_blocks[layer] - num_kept)
                    changed = (action != blocks.mode()).any(dim=1)
                    rises = rises.exp() * num_swaps * changed
                loss = loss + policy_gradient_loss(rises, worth, *drawn)
            if isinstance(blocks.rest, OrderedBlocks):
                use = blocks.rest.first_draw().mean(dim=0)
            else:
                use = blocks.rest.probability.mean(dim=0)
                use = use / use.sum()
            diversity = diversity + use_entropy(use)
        return loss, diversity

    def advantages(self, rollout: Rollout) -> list[Tensor]:
        """What each mask was worth, for each layer: [batch]."""
        if self.settings.advantage == "self_critical":
            return list(rollout.returns - to_go(greedy_rewards(self)))
        compare = leave_one_out if self.settings.advantage == "leave_one_out" else normalised
        compare = above_first if self.sampling == "perturbed" else compare
        return [compare(returns, self.group_size) for returns in rollout.returns]
