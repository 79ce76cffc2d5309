"""Noisy top-k gating: (scores, spread of their noise) -> k gate values that sum to one.

Shazeer et al. 2017, "Outrageously large neural networks: the sparsely-gated mixture-of-experts
layer" (arXiv 1701.06538), sections 2.1 and 4, appendix A. A gate is the softmax over the k highest
of h_i = (x W_g)_i + noise * softplus((x W_noise)_i); experts whose gate is 0 are not computed, the
others' outputs are multiplied with theirs. There is no reward and no draw whose probability would
be differentiated: the gates that are kept have a gradient (from k = 2 on; a softmax over a single
one is always 1), and noise lets others be kept now and then. Left alone, a kept block learns and
is kept more: two losses hold against it, of what experts weigh (importance) and of how often they
are kept (load), because few heavy examples weigh as much as many light ones.

Faithful: both losses, the smooth estimate of the load, and weights that start at zero. Ours: scores
have a bias and read what the environment shows, through which no gradient goes back; an expert is a
block, so that of a fully connected layer it is a part of the units; the spread has a floor, as in
the authors' code; in use nothing is noisy. `bias_rate` is a later cure in place of the losses (Wang
et al. 2024, arXiv 2408.15664): a bias that only chooses, moved against the load. Left out: a first
gate that chooses groups of experts (appendix B), experts on several machines, the strictly balanced
gates of appendix F.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ccenv.agents.base import Agent, descend
from ccenv.agents.distributions import check_kept
from ccenv.agents.scores import LayerScores
from ccenv.annexes.agents.straight_through_ops import TINY, loss_under, move_bias
from ccenv.base.checks import AT_ONCE, Checks
from ccenv.base.masks import mask_of_indices
from ccenv.base.seeding import normal
from ccenv.base.values import check_at_least_zero
from ccenv.simulator.rollout import Rollout
from ccenv.simulator.simulator import Simulator

FLOOR = 0.01
"""Smallest spread of the noise: the smooth load divides by it."""


class Router(nn.Module):
    """Scores, spread of their noise, and biases that only choose, for each gated layer."""

    def __init__(self, simulator: Simulator, seed: int) -> None:
        """Zeros: at first every block is as likely as every other; nothing is drawn."""
        super().__init__()
        self.scores, self.spreads = LayerScores(simulator, seed), LayerScores(simulator, seed)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        for layer, number in enumerate(simulator.num_blocks):
            self.register_buffer(f"bias_{layer}", torch.zeros(number, device=simulator.device))

    def bias(self, layer: int) -> Tensor:
        """Of a layer: [num_blocks[layer]]."""
        return self.get_buffer(f"bias_{layer}")

    def noisy(self, observation: Tensor, layer: int, draw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of a layer, the same with noise, and its spread: [batch, num_blocks] each.

        The noise is a standard normal draw [batch, num_blocks] times the spread.
        """
        clean = self.scores(observation, layer)
        spread = softplus(self.spreads(observation, layer)) + FLOOR
        return clean, clean + draw * spread, spread


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
    ) -> None:
        """Prepares router and optimiser (Adam).

        Args:
            num_kept: k, one number or one for each gated layer.
            importance_weight: of the squared coefficient of variation of the sums of gates.
            load_weight: of that of the smooth load.
            bias_rate: a step of the biases against the load of a batch; 0 for none.
            learning_rate: Adam's.
        """
        super().__init__(env, seed=seed)
        check_at_least_zero(
            importance_weight=importance_weight, load_weight=load_weight, bias_rate=bias_rate
        )
        self.num_kept = check_kept(num_kept, self.num_blocks)
        self.importance_weight, self.load_weight = importance_weight, load_weight
        self.bias_rate = bias_rate
        self.router = Router(self.simulator, seed)
        self.policy_macs = self.router.scores.macs
        self.optimizer = torch.optim.Adam(self.router.parameters(), lr=learning_rate)
        self.draws: list[Tensor] = []

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Gates [batch, num_blocks[layer]]; only training, on the agent's own stream, is noisy."""
        if generator is not self.generator:
            return self.gates(self.router.scores(observation, layer), layer)
        draw = normal((len(observation), self.num_blocks[layer]), generator, observation.device)
        # Kept for the update, where the same scores have a gradient.
        self.draws = [*self.draws[:layer], draw]
        return self.gates(self.router.noisy(observation, layer, draw)[1], layer)

    def gates(self, scores: Tensor, layer: int) -> Tensor:
        """Of the blocks: [batch, num_blocks[layer]] -> the same."""
        bias, checks = self.router.bias(layer), self.simulator.checks
        return top_gates(scores, self.num_kept[layer], bias, checks)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """One step down the loss of the rollout's gates, with both balance losses."""
        gates, variations = [], []
        for layer, seen in enumerate(rollout.observations):
            clean, noisy, spread = self.router.noisy(seen, layer, self.draws[layer])
            gates.append(self.gates(noisy, layer))
            bias = self.router.bias(layer)
            load = smooth_load(clean + bias, noisy + bias, spread, self.num_kept[layer])
            sums = gates[-1].sum(dim=0), load.sum(dim=0)
            variations.append(torch.stack([squared_variation(of_blocks) for of_blocks in sums]))
        masks = [gate > 0 for gate in gates]
        loss = loss_under(self.simulator, gates, masks)
        importance, load = torch.stack(variations).sum(dim=0)
        balance = self.importance_weight * importance + self.load_weight * load
        descend(self.optimizer, loss + balance)
        busiest = [move_bias(self.router.bias(i), m, self.bias_rate) for i, m in enumerate(masks)]
        self.draws = []
        return self.read(
            loss=loss, importance=importance, load=load, busiest=torch.stack(busiest).max()
        )


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

    >>> scores = torch.tensor([[0.0, 1.0]])
    >>> smooth_load(scores, scores, torch.ones(1, 2), 1)  # normal distribution's at -1 and at 1
    tensor([[0.1587, 0.8413]])
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
