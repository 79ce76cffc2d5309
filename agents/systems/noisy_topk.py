"""Noisy top-k gating: (scores, spread of their noise) -> k gate values that sum to one.

Shazeer et al. 2017, "Outrageously large neural networks: the sparsely-gated mixture-of-experts
layer" (arXiv 1701.06538), sections 2.1 and 4, appendix A. A gate is the softmax over the k highest
of h_i = (x W_g)_i + noise * softplus((x W_noise)_i); experts whose gate is 0 are not computed, the
others' outputs are multiplied with theirs. There is no reward and no draw whose probability would
be differentiated: the gates that are kept have a gradient (from k = 2 on; a softmax over a single
one is always 1), and noise lets others be kept now and then. Left alone, a kept block learns and
is kept more: two losses hold against it, of what experts weigh (importance) and of how often they
are kept (load), because few heavy examples weigh as much as many light ones.

Hundreds of experts are chosen in two steps (`num_groups`, appendix B): a first gate keeps some
groups, each of which has a noisy top-k gate of its own, and the products of both gates weigh the
experts. Scores of groups that are not kept are not computed. The load of an expert is then the
smooth load of its group times the mean of its own over the inputs that its group keeps.

Faithful: both losses, the smooth estimate of the load, both levels, and weights that start at zero.
Ours: scores have a bias and read what the environment shows, through which the gradient goes back
into the network only where `network_gradient` says so; an expert is a block, so that of a fully
connected layer it is a part of the units; the spread has a floor, as in the authors' code; in use
nothing is noisy. `bias_rate` is a later cure in place of the losses (Wang et al. 2024, arXiv
2408.15664): a bias that only chooses, moved against the load. Left out: experts on several
machines, the strictly balanced gates of appendix F.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ccenv.agents.base import Agent, descend
from ccenv.agents.distributions import check_kept
from ccenv.agents.scores import LayerScores
from ccenv.agents.systems.straight_through_ops import (
    TINY,
    LiveWalk,
    check_live,
    loss_under,
    move_bias,
)
from ccenv.base.checks import AT_ONCE, Checks
from ccenv.base.masks import mask_of_indices
from ccenv.base.seeding import normal
from ccenv.base.values import check_at_least_zero, positive_ints
from ccenv.simulator.rollout import Rollout
from ccenv.sparse.linear import block_sparse_linear

FLOOR = 0.01
"""Smallest spread of the noise: the smooth load divides by it."""


class Router(nn.Module):
    """Scores, spread of their noise, and biases that only choose, for each gated layer."""

    def __init__(self, simulator: Any, seed: int, outputs: Sequence[int] | None = None) -> None:
        """Zeros: at first every block is as likely as every other; nothing is drawn."""
        super().__init__()
        self.scores = LayerScores(simulator, seed, outputs=outputs)
        self.spreads = LayerScores(simulator, seed, outputs=outputs)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        for layer, number in enumerate(outputs or simulator.num_blocks):
            self.register_buffer(f"bias_{layer}", torch.zeros(number, device=simulator.device))

    def bias(self, layer: int) -> Tensor:
        """Of a layer: [outputs[layer]]."""
        return self.get_buffer(f"bias_{layer}")

    def level(
        self, observation: Tensor, layer: int, draw: Tensor | None, kept: Tensor | None = None
    ) -> "Level":
        """Scores of a layer, with noise: a standard normal draw [batch, outputs] times its spread.

        None draws no noise. Scores of groups that are not kept, bool [batch, groups], are 0 and not
        computed.
        """
        clean = in_groups(self.scores, observation, layer, kept)
        if draw is None:
            return Level(clean, clean, torch.zeros_like(clean))
        spread = softplus(in_groups(self.spreads, observation, layer, kept)) + FLOOR
        return Level(clean, clean + draw * spread, spread)


def in_groups(scores: LayerScores, observation: Tensor, layer: int, kept: Tensor | None) -> Tensor:
    """Scores of the kept groups of blocks, 0 elsewhere; see `Router.level`."""
    if kept is None:
        return scores(observation, layer)
    ((weight, bias),) = scores.maps(layer)
    read = observation[:, : scores.lengths[layer]]
    return block_sparse_linear(read, weight, bias, None, kept)


class Level(NamedTuple):
    """Scores of one level of gates, [batch, n] each."""

    clean: Tensor
    """without noise."""
    noisy: Tensor
    """with it."""
    spread: Tensor
    """standard deviation of the noise; 0 where there is none."""

    def load(self, num_kept: int, bias: Tensor | float = 0.0) -> Tensor:
        """See `smooth_load`; a bias only chooses."""
        return smooth_load(self.clean + bias, self.noisy + bias, self.spread, num_kept)

    def by_group(self, groups: int) -> "Level":
        """Each group of scores as a row: [batch, n] -> [batch * groups, n / groups]."""
        return Level(*(part.unflatten(1, (groups, -1)).flatten(0, 1) for part in self))


class NoisyTopK(Agent):
    """Learns from the network's loss, whatever the environment's reward; its actions are gates."""

    env_defaults: ClassVar[dict[str, Any]] = {"observation": "summary"}
    gives_values = True

    def __init__(
        self,
        env: Any,
        *,
        seed: int = 0,
        num_kept: int | Sequence[int] = 2,
        importance_weight: float = 0.1,
        load_weight: float = 0.1,
        bias_rate: float = 0.0,
        learning_rate: float = 0.005,
        num_groups: int = 1,
        groups_kept: int = 2,
        network_gradient: bool = False,
    ) -> None:
        """Prepares router and optimiser (Adam).

        Args:
            num_kept: k, one number or one for each gated layer; with groups of each that is kept.
            importance_weight: of the squared coefficient of variation of the sums of gates.
            load_weight: of that of the smooth load.
            bias_rate: a step of the biases against the load of a batch; 0 for none.
            learning_rate: Adam's.
            num_groups: neighbouring blocks of a layer are so many groups, among which a gate of
                their own chooses first; 1 for one level of gates.
            groups_kept: groups that it keeps, where there are several.
            network_gradient: whether the gradient of the scores goes back into the network.
        """
        super().__init__(env, seed=seed)
        check_at_least_zero(
            importance_weight=importance_weight, load_weight=load_weight, bias_rate=bias_rate
        )
        in_group = check_groups(num_groups, groups_kept, bias_rate, self.num_blocks)
        if network_gradient:
            check_live(self.simulator, "network_gradient")
        self.num_kept = check_kept(num_kept, in_group)
        self.num_groups, self.groups_kept = num_groups, groups_kept
        self.importance_weight, self.load_weight = importance_weight, load_weight
        self.bias_rate, self.network_gradient = bias_rate, network_gradient
        self.router = Router(self.simulator, seed)
        self.policy_macs: Sequence[int] = self.router.scores.macs
        parameters = list(self.router.parameters())
        self.groups: Router | None = None
        if num_groups > 1:
            self.groups = Router(self.simulator, seed, [num_groups] * len(self.num_blocks))
            parameters += self.groups.parameters()
            pairs = zip(self.groups.scores.macs, self.router.scores.macs, strict=True)
            self.policy_macs = [first + own // num_groups * groups_kept for first, own in pairs]
        self.optimizer = torch.optim.Adam(parameters, lr=learning_rate)
        self.draws: list[Tensor] = []

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Gates [batch, num_blocks[layer]]; only training, on the agent's own stream, is noisy."""
        draw = None
        if generator is self.generator:
            count = self.num_blocks[layer] + (self.num_groups if self.groups else 0)
            draw = normal((len(observation), count), generator, observation.device)
            # Kept for the update, where the same scores have a gradient.
            self.draws = [*self.draws[:layer], draw]
        return self.gates(self.levels(observation, layer, draw), layer)

    def levels(self, observation: Tensor, layer: int, draw: Tensor | None) -> list[Level]:
        """Scores of a layer by levels of gates, that of groups first; see `Router.level`."""
        if self.groups is None:
            return [self.router.level(observation, layer, draw)]
        draws = (None, None) if draw is None else self.parted(draw)
        first = self.groups.level(observation, layer, draws[0])
        kept = self.group_gates(first) > 0
        return [first, self.router.level(observation, layer, draws[1], kept)]

    def parted(self, numbers: Tensor) -> Sequence[Tensor]:
        """Numbers of groups and blocks side by side -> those of each level of gates."""
        count = self.num_groups if self.groups else 0
        return [part for part in (numbers[:, :count], numbers[:, count:]) if part.shape[1]]

    def live_walk(self) -> tuple[LiveWalk, list[list[Level]]]:
        """The batch once more, with gradients through what is seen, and its levels."""

        def numbers_of(observation: Tensor, layer: int) -> Tensor:
            seen = self.levels(observation, layer, self.draws[layer])
            return torch.cat([part for of in zip(*seen, strict=True) for part in of], dim=1)

        def levels_of(copy: Tensor) -> list[Level]:
            clean, noisy, spread = map(self.parted, copy.chunk(3, dim=1))
            return [Level(*parts) for parts in zip(clean, noisy, spread, strict=True)]

        walked = LiveWalk.of(
            self.simulator,
            numbers_of,
            lambda copies: self.gates(levels_of(copies[-1]), len(copies) - 1),
        )
        return walked, [levels_of(copy) for copy in walked.copies]

    def group_gates(self, level: Level) -> Tensor:
        """Gates of the groups: [batch, num_groups]."""
        return top_gates(level.noisy, self.groups_kept, checks=self.simulator.checks)

    def gates(self, levels: Sequence[Level], layer: int) -> Tensor:
        """Gates of the blocks, products of both levels: [batch, num_blocks[layer]]."""
        k, bias, checks = self.num_kept[layer], self.router.bias(layer), self.simulator.checks
        if self.groups is None:
            return top_gates(levels[0].noisy, k, bias, checks)
        outer = self.group_gates(levels[0])[:, :, None]
        inner = top_gates(levels[1].by_group(self.num_groups).noisy, k, checks=checks)
        inner = inner.view(len(outer), self.num_groups, -1)
        is_kept = (outer > 0) & (inner > 0)
        return torch.where(is_kept, (outer * inner).clamp(min=TINY), 0.0).flatten(1)

    def load(self, levels: Sequence[Level], layer: int) -> Tensor:
        """Smooth load of the blocks over a batch: [num_blocks[layer]]."""
        k = self.num_kept[layer]
        if self.groups is None:
            return levels[0].load(k, self.router.bias(layer)).sum(dim=0)
        is_kept = (self.group_gates(levels[0]) > 0)[:, :, None]
        own = levels[1].by_group(self.num_groups).load(k)
        own = (own.view(len(is_kept), self.num_groups, -1) * is_kept).sum(dim=0)
        mean = own / is_kept.sum(dim=0).clamp(min=1)
        return (levels[0].load(self.groups_kept).sum(dim=0)[:, None] * mean).flatten()

    def update(self, rollout: Rollout) -> dict[str, float]:
        """One step down the loss of the rollout's gates, with both balance losses."""
        walked = None
        if self.network_gradient:
            walked, levels = self.live_walk()
        else:
            seen = zip(rollout.observations, self.draws, strict=True)
            levels = [self.levels(one, layer, draw) for layer, (one, draw) in enumerate(seen)]
        gates = [self.gates(level, layer) for layer, level in enumerate(levels)]
        loads = [self.load(level, layer) for layer, level in enumerate(levels)]
        masks = [gate > 0 for gate in gates]
        loss = loss_under(self.simulator, gates, masks) if walked is None else walked.loss
        importance = torch.stack([squared_variation(gate.sum(dim=0)) for gate in gates]).sum()
        load = torch.stack([squared_variation(load) for load in loads]).sum()
        balance = self.importance_weight * importance + self.load_weight * load
        if walked is None:
            descend(self.optimizer, loss + balance)
        else:
            walked.descend(self.optimizer, loss + balance, self.simulator)
        busiest = [move_bias(self.router.bias(i), m, self.bias_rate) for i, m in enumerate(masks)]
        self.draws = []
        return self.read(
            loss=loss, importance=importance, load=load, busiest=torch.stack(busiest).max()
        )


def check_groups(
    num_groups: int, groups_kept: int, bias_rate: float, num_blocks: Sequence[int]
) -> list[int]:
    """Blocks of a group in each layer; ValueError of groups that do not fit."""
    positive_ints((num_groups, groups_kept), "num_groups and groups_kept")
    if any(blocks % num_groups for blocks in num_blocks):
        raise ValueError(
            f"expected num_groups that divides num_blocks={list(num_blocks)}, got {num_groups}"
        )
    if num_groups > 1 and groups_kept > num_groups:
        raise ValueError(f"expected groups_kept in 1..{num_groups}, got {groups_kept}")
    if num_groups > 1 and bias_rate:
        raise ValueError(
            f"expected no bias_rate with num_groups={num_groups}, got {bias_rate}; the losses "
            "balance both levels"
        )
    return [blocks // num_groups for blocks in num_blocks]


def top_gates(
    scores: Tensor, num_kept: int, bias: Tensor | None = None, checks: Checks = AT_ONCE
) -> Tensor:
    """Softmax over the k highest scores, 0 elsewhere: [batch, num_blocks] -> the same.

    A bias [num_blocks] is added to choose and not to weigh.

    >>> top_gates(torch.tensor([[1.0, 3.0, 1.0, 0.0]]), 1).tolist()
    [[0.0, 1.0, 0.0, 0.0]]
    """
    keys = scores.detach() if bias is None else scores.detach() + bias
    mask = mask_of_indices(keys.topk(num_kept, dim=1).indices, scores.shape[1], checks)
    gates = scores.masked_fill(~mask, -torch.inf).softmax(dim=1)
    return torch.where(mask, gates.clamp(min=TINY), 0.0)


def smooth_load(scores: Tensor, noisy: Tensor, spread: Tensor, num_kept: int) -> Tensor:
    """Probability of each block to be kept if its noise alone were drawn again.

    All are [batch, num_blocks], and scores before any softmax: against thresholds after it the load
    is biased. The sum over the blocks is k on average over the noise.
    """
    if num_kept == scores.shape[1]:
        return torch.ones_like(scores)
    highest = noisy.topk(num_kept + 1, dim=1).values
    last_in, first_out = highest[:, num_kept - 1 : num_kept], highest[:, num_kept:]
    # The k-th highest of the others: of a block that is in, the first one out.
    threshold = torch.where(noisy >= last_in, first_out, last_in)
    return torch.special.ndtr((scores - threshold) / spread)


def squared_variation(use: Tensor) -> Tensor:
    """Variance (of all n) over squared mean: [n] -> a number; 0 where nothing is in use.

    >>> round(squared_variation(torch.tensor([1.0, 0.0, 0.0])).item(), 4)
    2.0
    """
    mean = use.mean()
    return torch.where(mean > 0, use.var(correction=0) / mean.square().clamp(min=1e-12), 0.0)
