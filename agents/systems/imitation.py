"""Search, then classify: the best mask of each training input is found, and a policy learns it.

Dr.LLM (Heakl et al. 2025, arXiv 2510.12773) searches for the best path of each input through a
language model and trains small classifiers on the paths, and so does PoLar (arXiv 2606.06574). Here
the search tries a menu of masks: all masks where there are few blocks, else some of them, drawn
once. What is best the environment's reward says, with its cost weight; or a limit on the mean
compute cost, for which a cost weight is found.

Only for frozen networks: a network that learns along makes other masks the best ones, and what was
found before would have to be searched again after each of its updates. Until the classifier is
asked, masks are those found with the label in hand: curves of the training are the search's.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.agents.advantages import under
from ccenv.agents.base import descend
from ccenv.agents.distributions import (
    IndependentBlocks,
    OrderedBlocks,
    check_kept,
    keep_probability,
)
from ccenv.agents.scores import EmbeddingSize, ScoredAgent
from ccenv.base.masks import mask_of_indices, random_mask
from ccenv.base.seeding import integers, stream
from ccenv.mdp.choosers import Chooser
from ccenv.mdp.dynamics import initial
from ccenv.rewards import check_cost_limit
from ccenv.simulator.rollout import Rollout
from ccenv.simulator.simulator import Simulator
from ccenv.tasks.allocation import allocate

MAX_ROWS = 8192
"""Inputs times masks that are walked through at once."""
ROUNDING = 1e-9
"""Share by which a mean of costs may be above a limit: one of equal costs is, by rounding."""


class Imitation(ScoredAgent):
    """Classifies which blocks the best mask keeps, gate by gate, on the way of the best masks."""

    env_defaults: ClassVar[dict[str, Any]] = {"observation": "summary"}

    def __init__(
        self,
        env: Any,
        *,
        seed: int = 0,
        num_kept: int | Sequence[int] | None = None,
        cost_limit: float | None = None,
        menu_size: int = 256,
        memory: int = 8192,
        num_steps: int = 8,
        step_size: int = 256,
        learning_rate: float = 0.01,
        hidden_units: int = 0,
        embedding_size: EmbeddingSize = 0,
    ) -> None:
        """Prepares menu, policy and optimiser (Adam).

        Args:
            env: see `Agent`; its network is frozen.
            seed: see `Agent`; also of the menu.
            num_kept: k of masks with k of n blocks, one number or one for each gated layer; None
                for masks of any size.
            cost_limit: mean compute cost of the masks found, in (0, 1], at a cost weight next to
                the reward's own; None for the reward's own alone.
            menu_size: masks that are tried: all there are, or as many drawn ones.
            memory: inputs that are remembered with their best masks, the newest ones.
            num_steps: of the classifier after each batch of inputs.
            step_size: remembered inputs of a step.
            learning_rate: Adam's.

        Raises:
            ValueError: if the network learns along, inputs have cost weights of their own, or k or
                the limit is impossible.
        """
        super().__init__(env, seed=seed, hidden_units=hidden_units, embedding_size=embedding_size)
        if self.simulator.weights == "cotrain" or self.simulator.context is not None:
            raise ValueError(
                "expected a frozen network and no context, got "
                f"weights={self.simulator.weights!r}: masks found now would not be the best ones "
                "of a network that learns along, or at another cost weight"
            )
        if cost_limit is not None:
            check_cost_limit(cost_limit)
        self.num_kept = None if num_kept is None else check_kept(num_kept, self.num_blocks)
        self.menu = make_menu(self.num_blocks, self.num_kept, menu_size, stream(seed, "menu"))
        self.cost_limit, self.price, self.num_searched = cost_limit, 0.0, 0
        self.memory, self.num_steps, self.step_size = memory, num_steps, step_size
        self.found: list[Tensor] = []
        self.seen: list[Tensor] = []
        self.optimizer = torch.optim.Adam(self.scores.parameters(), lr=learning_rate)

    def distribution(self, observation: Tensor, layer: int) -> IndependentBlocks | OrderedBlocks:
        """Masks of a layer's images: [batch, obs_size] -> a coin for each block, or k of n."""
        scores = self.scores(observation, layer)
        if self.num_kept is None:
            return IndependentBlocks(keep_probability(scores))
        return OrderedBlocks(scores, self.num_kept[layer])

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Agent.act`; in training, which draws from the agent's own stream, the best found."""
        if generator is self.generator:
            if layer == 0:
                self.found = self.search()
            return self.found[layer]
        return super().act(observation, layer, generator)

    def choosers(self, *, deterministic: bool) -> list[Chooser] | None:
        """See `Agent.choosers`."""
        return self.scores.choosers(deterministic, self.num_kept, self.min_probability)

    def search(self) -> list[Tensor]:
        """The best masks of the inputs that start now: bool [batch, num_blocks] for each gate."""
        returns, costs = menu_returns(self.simulator, self.menu)
        if self.cost_limit is not None:
            # A mean over batches: one batch's own price would swing with its inputs.
            self.num_searched += 1
            found = price_for(returns, costs, self.cost_limit)
            self.price += (found - self.price) / self.num_searched
        best = best_entries(returns, costs, self.price)
        best = best.repeat_interleave(self.simulator.group_size)
        return [part[best] for part in self.menu]

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Remembers what was found, and takes some steps on what is remembered."""
        self.remember(rollout)
        losses = {}
        for number in range(self.num_steps):
            place = self.seen[0].device
            draws = integers(len(self.seen[0]), (self.step_size,), self.generator, place)
            loss = self.loss([part[draws] for part in self.seen])
            descend(self.optimizer, loss)
            losses[str(number)] = loss
        total = sum(value / self.num_steps for value in self.read(**losses).values())
        price = {"price": self.price} if self.cost_limit is not None else {}
        return {"loss": total, **price}

    def remember(self, rollout: Rollout) -> None:
        """Adds observations, best masks and who is under way, three tensors a gate."""
        parts, under_way = [], torch.ones_like(rollout.labels, dtype=torch.bool)
        for layer, mask in enumerate(rollout.actions):
            parts += [rollout.observations[layer], mask, under_way]
            if self.simulator.network.gates[layer].skipped == "stop":
                under_way = under_way & mask[:, 0]
        pairs = zip(self.seen or [part[:0] for part in parts], parts, strict=True)
        self.seen = [torch.cat(pair)[-self.memory :] for pair in pairs]

    def loss(self, parts: list[Tensor]) -> Tensor:
        """Mean surprise at the best masks, in nats, of inputs that have not stopped: a number."""
        total = torch.zeros(())
        for layer in range(len(self.num_blocks)):
            observation, mask, under_way = parts[3 * layer : 3 * layer + 3]
            scores = self.scores(observation, layer)
            surprise = self.surprise(scores, mask)
            total = total + (surprise * under_way).sum() / under_way.sum().clamp(min=1)
        return total

    def surprise(self, scores: Tensor, mask: Tensor) -> Tensor:
        """Of one gate: [batch, num_blocks] twice -> [batch]."""
        if self.num_kept is not None:
            return -(scores.log_softmax(dim=1) * mask).sum(dim=1)
        signs = torch.where(mask, 1.0, -1.0)
        return -torch.nn.functional.logsigmoid(signs * scores).sum(dim=1)


def make_menu(
    num_blocks: Sequence[int],
    num_kept: Sequence[int] | None,
    menu_size: int,
    generator: torch.Generator,
) -> list[Tensor]:
    """All masks of all gates if they are at most so many, else some, without repetition or not.

    Masks keep k blocks of each gate, or any number, of which one drawn entry keeps everything. One
    bool [entries, num_blocks] for each gate, entries that keep less first; ValueError of no entry.

    >>> [part.int().tolist() for part in make_menu([2], [1], 9, torch.Generator())]
    [[[1, 0], [0, 1]]]
    """
    if menu_size < 1:
        raise ValueError(f"expected menu_size of at least 1, got {menu_size}")
    kept = [None] * len(num_blocks) if num_kept is None else list(num_kept)
    pairs = list(zip(num_blocks, kept, strict=True))
    if math.prod(2**n if k is None else math.comb(n, k) for n, k in pairs) <= menu_size:
        gates = [masks_of_gate(n, k) for n, k in pairs]
        rows = list(itertools.product(*(range(len(gate)) for gate in gates)))
        chosen = torch.tensor(rows).unbind(dim=1)
        menu = [gate[rows] for gate, rows in zip(gates, chosen, strict=True)]
    else:
        menu = menu_of_some_masks(num_blocks, num_kept, menu_size, generator)
    # Of masks of equal worth the first one counts: it is the smallest.
    order = torch.cat(menu, dim=1).sum(dim=1).argsort(stable=True)
    return [part[order] for part in menu]


def masks_of_gate(num_blocks: int, num_kept: int | None) -> Tensor:
    """Every mask of one gate, or every one with k blocks: bool [masks, num_blocks]."""
    if num_kept is not None:
        sets = list(itertools.combinations(range(num_blocks), num_kept))
        return mask_of_indices(torch.tensor(sets), num_blocks)
    return torch.tensor(list(itertools.product((False, True), repeat=num_blocks)))


def menu_of_some_masks(
    num_blocks: Sequence[int],
    num_kept: Sequence[int] | None,
    menu_size: int,
    generator: torch.Generator,
) -> list[Tensor]:
    """Random masks: k of n, or of densities from 0 to 1, the last one whole."""
    if num_kept is not None:
        return [
            mask_of_indices(torch.rand(menu_size, n, generator=generator).topk(k).indices, n)
            for n, k in zip(num_blocks, num_kept, strict=True)
        ]
    density = torch.linspace(0, 1, menu_size)[:, None]
    return [random_mask(menu_size, n, density, generator) for n in num_blocks]


@torch.no_grad()
def menu_returns(simulator: Simulator, menu: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Undiscounted return and compute cost of each input that starts now under each entry.

    Two float32 [inputs, entries]; an input of a group counts once. The simulator, at the start of
    an episode, is not changed.
    """
    state = simulator.state
    assert state is not None
    entries, labels = len(menu[0]), state.labels[:: state.group_size]
    share = max(1, MAX_ROWS // entries)
    returns, costs = [], []
    for images, of_images in zip(state.images.split(share), labels.split(share), strict=True):
        walked = initial(simulator.network, images, of_images, entries, earlier=simulator.earlier)
        masks = [part.to(labels.device).repeat(len(images), 1) for part in menu]
        total, cost = under(simulator, walked, masks)
        returns.append(total.view(-1, entries))
        costs.append(cost.view(-1, entries))
    return torch.cat(returns), torch.cat(costs)


def best_entries(returns: Tensor, costs: Tensor, price: float) -> Tensor:
    """Each input's best entry at a cost weight, the first of equal ones: int64 [inputs].

    >>> best_entries(torch.tensor([[0.1, 0.5, 0.5]]), torch.tensor([[0.0, 0.2, 0.4]]), 0.0).item()
    1
    """
    return (returns - price * costs).argmax(dim=1)


def price_for(returns: Tensor, costs: Tensor, cost_limit: float) -> float:
    """The lowest cost weight whose best entries cost so much or less on average, 0 without need.

    >>> returns, costs = torch.tensor([[0.0, 1.0], [0.0, 3.0]]), torch.tensor([[0.0, 0.5]] * 2)
    >>> round(price_for(returns, costs, cost_limit=0.25), 3)
    2.0
    """
    table = returns.cpu().numpy(), costs.cpu().numpy()
    return allocate(*table, cost_limit * (1 + ROUNDING)).price
