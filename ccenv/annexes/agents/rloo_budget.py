"""How many blocks and which, under a budget of mean compute: easy inputs get fewer blocks.

A cost weight alone lets such policies collapse: it is too high or too low long before they
have learned what a block is worth, and nothing brings them back. Here two things are apart:

- A shift of all numbers, the same for every input, holds the mean cost at the budget. It is a part
  of the policy and acts at once.
- The multiplier in the advantages decides which inputs get more than others. It starts at what
  compute is worth at the margin, the slope of returns on costs among masks of the same input, while
  numbers do not depend on the input yet; then its logarithm rises while a batch costs more than the
  budget, and falls while it costs less: the multiplier of the constrained problem (Altman 1999).

How many blocks is drawn from logits of each number, which of them from scores: an order without
replacement (Plackett-Luce) and a number m, of which the first m blocks of the order are kept.

A network that is co-trained should see how many blocks it will be given: taught with exactly k it
is worse with every other number, more blocks included.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ccenv.agents.advantages import leave_one_out, leave_twins_out, less_costs, slope_sums
from ccenv.agents.base import descend
from ccenv.agents.distributions import (
    check_kept,
    gumbel_like,
    highest,
    keep_probability,
    one_each,
    score_at,
)
from ccenv.agents.losses import use_entropy
from ccenv.agents.scores import LayerScores, ScoredAgent, ScoreSettings
from ccenv.rewards import check_cost_limit
from ccenv.rewards.lagrangian import relative_excess
from ccenv.simulator.rollout import Rollout

LEAST_PRICE = 1e-3
"""Where the multiplier starts if compute seems to be worth nothing."""
SLOPE_MEMORY = 0.99
"""Weight of the past in the two sums whose quotient is the multiplier."""
MEMORY = 0.98
"""Weight of the past in the running mean and square of observations."""
LAST_SPREAD = 0.3
"""Standard deviation of the number in the end, in blocks."""
NO_BLOCK = -1
"""Stands in an action where fewer blocks are kept than at most."""


@dataclass(frozen=True, kw_only=True)
class BudgetSettings(ScoreSettings):
    """Settings of `RlooBudget`."""

    cost_limit: float = 0.25
    """mean compute cost to hold, in (0, 1]."""
    num_kept: int | Sequence[int] | None = None
    """k to start at, one number or one for each gate; None for the limit's share of a gate's
    blocks."""
    min_kept: int | Sequence[int] = 1
    """fewest blocks of an input, of gates of several blocks, or one for each gate."""
    max_kept: int | Sequence[int] | None = None
    """most blocks of an input, or one for each gate; None for four times k."""
    paired_masks: int = 2
    """masks that share which blocks; a divisor of the group's size."""
    warmup_share: float = 0.3
    """of the training, at the start, in which numbers do not depend on the input: exactly k, at
    gates of one block a coin that is the same for all."""
    learning_rate: float = 0.005
    """Adam's, of which blocks."""
    number_learning_rate: float = 0.005
    """Adam's, of how many."""
    offset_lr: float = 0.05
    """what the numbers' shift falls by where a batch costs one limit too much."""
    multiplier_lr: float = 0.03
    """what the multiplier's logarithm rises by where a batch costs one limit too much."""
    diversity_weight: float = 0.1
    """of the bonus on the entropy of mean block use, in nats; fades to 0."""
    spread: float = 0.7
    """standard deviation of the number at the start, in blocks; it falls linearly to `LAST_SPREAD`
    once numbers are learned."""


class RlooBudget(ScoredAgent):
    """Draws a number of blocks and the blocks; compares masks of the same input, as `rloo` does.

    Where gates have several blocks, `paired_masks` masks share the draw of which blocks, and differ
    in how many of them they keep: what a block more was worth is then not lost in which ones it
    was. Gates of one block, such as residual units and exits, are kept or not.
    """

    env_defaults: ClassVar[dict[str, Any]] = {
        "observation": "summary",
        "group_size": 8,
        "reward": "nll_minus_cost",
        "reward_kwargs": {"cost_weight": 0.0},
    }
    gone: ClassVar[dict[str, Any]] = {"number_units": 0, "last_spread": 0.3, "spread_share": 1.0}

    settings_class = BudgetSettings
    settings: BudgetSettings

    def __init__(self, env: Any, *, seed: int = 0, **settings: Any) -> None:
        """Prepares policy and optimiser (Adam); see `BudgetSettings`.

        Args:
            env: see `Agent`; its `group_size` is the number of masks of an input, at least 2.

        Raises:
            ValueError: if a number is out of range, or the group is no multiple of `paired_masks`.
        """
        super().__init__(env, seed=seed, **settings)
        record = self.settings
        check_cost_limit(record.cost_limit)
        self.group_size = self.simulator.group_size
        self.only_units = max(self.num_blocks) == 1
        # Where nothing is chosen but whether, all masks of an input are twins.
        self.twins = self.group_size if self.only_units else record.paired_masks
        if self.group_size < 2 or self.twins < 1 or self.group_size % self.twins:
            raise ValueError(
                f"expected group_size of at least 2 and paired_masks that divide it, got "
                f"{self.group_size} and {record.paired_masks}; rloo_budget compares masks of one "
                "input"
            )
        if record.spread <= 0:
            raise ValueError(
                f"expected spread above 0, got {record.spread}: where all masks keep as many "
                "blocks there is nothing to compare"
            )
        self.alike = self.twins if self.twins > 1 else self.group_size
        started = [max(1, round(record.cost_limit * n)) for n in self.num_blocks]
        num_kept = started if record.num_kept is None else record.num_kept
        self.num_kept = check_kept(num_kept, self.num_blocks)
        ones = [1] * len(self.num_blocks)
        self.numbers = Numbers(
            LayerScores(self.simulator, seed, 0, record.embedding_size, ones),
            self._ranges(record.min_kept, record.max_kept),
            [
                float(kept) if blocks > 1 else record.cost_limit
                for kept, blocks in zip(self.num_kept, self.num_blocks, strict=True)
            ],
            record.spread,
        )
        pairs = zip(self.scores.macs, self.numbers.scores.macs, self.num_blocks, strict=True)
        self.policy_macs = [how_many + (which if n > 1 else 0) for which, how_many, n in pairs]
        self.optimizer = torch.optim.Adam(
            [
                {"params": self.scores.parameters(), "lr": record.learning_rate},
                {"params": self.numbers.parameters(), "lr": record.number_learning_rate},
            ]
        )
        self.slope, self.level = [0.0, 0.0], 0.0

    def _ranges(self, least: int | Sequence[int], most: int | Sequence[int] | None) -> list[range]:
        """Numbers that each gate may keep."""
        gates = len(self.num_blocks)
        lows, tops = one_each(least, gates, "min_kept"), one_each(most, gates, "max_kept")
        ranges = []
        for kept, n, low, top in zip(self.num_kept, self.num_blocks, lows, tops, strict=True):
            low, top = 0 if n == 1 else low, min(n, 4 * kept if top is None else top)
            if not 0 <= low <= kept <= top:
                raise ValueError(
                    f"expected min_kept <= num_kept <= max_kept at every gate, got {low}, "
                    f"{kept} and {top} of {n} blocks"
                )
            ranges.append(range(low, top + 1))
        return ranges

    @property
    def price(self) -> float:
        """Of a whole dense network, in units of the reward."""
        slope = self.slope[0] / self.slope[1] if self.slope[1] > 0 else 0.0
        return max(slope, LEAST_PRICE) * math.exp(self.level)

    @property
    def is_fixed(self) -> bool:
        """Whether numbers do not depend on the input yet, at this moment of the training."""
        return self.progress < self.settings.warmup_share

    def distribution(self, observation: Tensor, layer: int) -> "CountedBlocks":
        """Masks of a layer's images: [batch, obs_size] -> how many blocks and which."""
        scores, logits = self.scores(observation, layer), self.numbers(observation, layer)
        return CountedBlocks(scores, logits, self.numbers.ranges[layer].start)

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Agent.act`; only training, which draws from the agent's own stream, has twins."""
        in_training = generator is self.generator
        blocks = self.distribution(observation, layer)
        if generator is None:
            return blocks.mode()
        return blocks.sample(generator, self.twins if in_training else 1)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """One step up the policy gradient, one of the shift, and a better multiplier."""
        worth = less_costs(rollout.returns, rollout.costs, self.price)
        loss, diversity = torch.zeros(()), torch.zeros(())
        for layer, action in enumerate(rollout.actions):
            blocks = self.distribution(rollout.observations[layer], layer)
            # Until numbers are learned, only the order is.
            of_number = None if self.is_fixed else blocks.number_log_prob(action)
            of_order = blocks.order_log_prob(action)
            loss = loss + counted_loss(
                of_order, of_number, worth[layer], self.group_size, self.twins
            )
            diversity = diversity + use_entropy(blocks.first_draw().mean(dim=0))
        weight = self.settings.diversity_weight * (1 - self.progress)
        descend(self.optimizer, loss - weight * diversity)
        return self.read(loss=loss, diversity=diversity) | self.hold(rollout)

    def hold(self, rollout: Rollout) -> dict[str, float]:
        """Moves shift and multiplier towards the limit; before numbers, finds a multiplier."""
        numbers = {"price": self.price, "shift": self.numbers.shift.item()}
        since = max(0.0, self.progress - self.settings.warmup_share)
        done = min(1.0, since / max(1e-9, 1 - self.settings.warmup_share))
        spread = self.settings.spread
        self.numbers.spread.fill_(spread + done * (LAST_SPREAD - spread))
        for layer, observation in enumerate(rollout.observations):
            self.numbers.see(observation, layer)
        excess = relative_excess(rollout.means["compute_cost"], self.settings.cost_limit)
        self.numbers.shift -= self.settings.offset_lr * excess
        if self.is_fixed:
            seen = slope_sums(rollout.returns[0], rollout.compute_cost, self.alike)
            pairs = zip(self.slope, seen, strict=True)
            self.slope = [SLOPE_MEMORY * old + (1 - SLOPE_MEMORY) * new for old, new in pairs]
        else:
            self.level += self.settings.multiplier_lr * excess
        return numbers


def counted_loss(
    order_log_prob: Tensor,
    number_log_prob: Tensor | None,
    worth: Tensor,
    group_size: int,
    twins: int,
) -> Tensor:
    """Policy gradient's loss of which blocks and how many: [batch] each -> a number.

    An order is compared with the group's rows that do not share its noise. Given the order, the
    numbers of twins are independent: each is the other's leave-one-out baseline (Kool et al. 2019).

    Args:
        order_log_prob: of which blocks, in which order.
        number_log_prob: of how many; None while numbers are not learned.
        worth: returns less what they cost, from this gate to the end.
        group_size: rows of one input.
        twins: neighbouring rows of which the order's noise is the same.

    >>> one, worth = torch.ones(4), torch.tensor([1.0, 3.0, 5.0, 9.0])
    >>> counted_loss(one * worth, None, worth, group_size=4, twins=2)
    tensor(-15.)
    >>> counted_loss(one * 0, worth, worth, group_size=4, twins=2)
    tensor(-5.)
    """
    others = leave_twins_out(worth, group_size, twins)
    rises = order_log_prob * others
    if number_log_prob is not None:
        alike = twins if twins > 1 else group_size
        rises = number_log_prob * leave_one_out(worth, alike) + rises
    return -rises.mean()


class Numbers(nn.Module):
    """Logits of how many blocks a gate keeps: a bell about a centre that depends on the input.

    The bell's width is given, not learned: a number that is learned freely is soon the same for
    every input, and with nothing left to compare nothing tells inputs apart any more. At gates of
    one block it is a coin.
    """

    shift: Tensor
    """added to what moves every centre or coin."""
    spread: Tensor
    """the bell's standard deviation, in blocks."""
    mean: Tensor
    """[gates, columns], of what was seen; a look is brought to mean 0 and deviation 1 with it.
    Columns of symbols that are looked up stay as they are."""
    square: Tensor
    """[gates, columns], mean of squares."""

    def __init__(
        self, scores: LayerScores, ranges: Sequence[range], starts: Sequence[float], spread: float
    ) -> None:
        """Takes scores, which move an input's centre and are made 0 here, and each gate's numbers.

        A gate starts at a centre, or a coin's probability.
        """
        super().__init__()
        self.scores, self.ranges, self.starts = scores, ranges, starts
        for gate in range(len(ranges)):
            nn.init.zeros_(scores.last(gate).weight)
        self.register_buffer("shift", torch.zeros(()))
        self.register_buffer("spread", torch.tensor(spread))
        size = max(scores.lengths)
        self.register_buffer("mean", torch.zeros(len(ranges), size))
        self.register_buffer("square", torch.ones(len(ranges), size))
        self.to(scores.last(0).weight.device)

    def see(self, observation: Tensor, layer: int) -> None:
        """Takes observations [batch, obs_size] into the running mean and square of a gate's."""
        plain = self.scores.num_plain[layer]
        seen = observation[:, :plain]
        self.mean[layer, :plain].lerp_(seen.mean(dim=0), 1 - MEMORY)
        self.square[layer, :plain].lerp_(seen.square().mean(dim=0), 1 - MEMORY)

    def forward(self, observation: Tensor, layer: int) -> Tensor:
        """Logits [batch, numbers]."""
        size, numbers = self.mean.shape[1], self.ranges[layer]
        deviation = (self.square[layer] - self.mean[layer].square()).clamp(min=1e-4).sqrt()
        standard = (observation[:, :size] - self.mean[layer]) / deviation
        moved = self.scores(standard, layer) + self.shift
        if numbers == range(2):
            keep = keep_probability(moved + score_at(self.starts[layer]))
            return torch.cat([1 - keep, keep], dim=1).log()
        low, width = numbers.start - 0.5, len(numbers)
        # Within half a block of what there is, by a curve that is never quite flat: a centre far
        # outside would draw one number only, and never learn better.
        start = torch.tensor((self.starts[layer] - low) / width).logit()
        slope = width * start.sigmoid() * (1 - start.sigmoid())
        centre = low + width * (start + moved / slope).sigmoid()
        away = torch.arange(numbers.start, numbers.stop, device=observation.device) - centre
        return -0.5 * (away / self.spread).square()


@dataclass(frozen=True)
class CountedBlocks:
    """The first m of an order of blocks, with a number m of its own distribution."""

    scores: Tensor
    """[batch, num_blocks] float32; logits of the first draw."""
    number_logits: Tensor
    """[batch, numbers] float32 of `least`, `least` + 1 and so on, at most num_blocks."""
    least: int = 0
    """smallest number."""

    @property
    def most(self) -> int:
        """Largest number."""
        return self.least + self.number_logits.shape[1] - 1

    def sample(self, generator: torch.Generator, twins: int = 1) -> Tensor:
        """Draws orders and numbers: int64 [batch, most], `NO_BLOCK` behind a row's number.

        Twins, so many neighbouring rows, share the order's noise: where their scores are equal,
        they differ in their number alone.
        """
        numbers = (self.number_logits + gumbel_like(self.number_logits, generator)).argmax(dim=1)
        noise = gumbel_like(self.scores[::twins], generator).repeat_interleave(twins, dim=0)
        return self._first(self.scores + noise, self.least + numbers)

    def mode(self) -> Tensor:
        """The blocks of highest score, as many as the median of the number: as `sample`.

        The median's mean over inputs is closer to the mean number than the most probable one's.
        """
        below = self.number_logits.softmax(dim=1).cumsum(dim=1)[:, :-1] < 0.5
        return self._first(self.scores, self.least + below.sum(dim=1))

    def _first(self, keys: Tensor, numbers: Tensor) -> Tensor:
        order = highest(keys, self.most)
        place = torch.arange(self.most, device=order.device)
        return order.masked_fill(place >= numbers[:, None], NO_BLOCK)

    def log_prob(self, order: Tensor) -> Tensor:
        """Log-probability of keeping these blocks, drawn in this order: int64 -> [batch]."""
        return self.number_log_prob(order) + self.order_log_prob(order)

    def number_log_prob(self, order: Tensor) -> Tensor:
        """Log-probability of a row's number of blocks: int64 [batch, most] -> [batch]."""
        number = (order != NO_BLOCK).sum(dim=1, keepdim=True) - self.least
        return self.number_logits.log_softmax(dim=1).gather(1, number).squeeze(1)

    def order_log_prob(self, order: Tensor) -> Tensor:
        """Log-probability of the order, given how many are drawn: int64 [batch, any] -> [batch]."""
        scores = self.scores
        total = scores.new_zeros(len(scores))
        for draw in range(order.shape[1]):
            is_drawn, block = order[:, draw] != NO_BLOCK, order[:, draw : draw + 1].clamp(min=0)
            log_prob = scores.gather(1, block).squeeze(1) - scores.logsumexp(dim=1)
            total = total + torch.where(is_drawn, log_prob, 0.0)
            left = scores.scatter(1, block, -torch.inf)
            scores = torch.where(is_drawn[:, None], left, scores)
        return total

    def first_draw(self) -> Tensor:
        """Probability of each block to be first in the order: [batch, num_blocks]."""
        return self.scores.softmax(dim=1)
