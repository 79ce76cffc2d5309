"""Back-propagation through masks: (network, inputs, soft masks) -> logits with a gradient.

A soft mask is float: 1 where a block is kept and 0 where it is skipped, so that logits are those of
the environment. The agent decides what its gradient is. Over a sequence it passes through the state
of later positions too, as in Skip RNN (Campos et al. 2018, arXiv 1708.06834).
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.agents.base import descend
from ccenv.agents.scores import ScoredAgent
from ccenv.mdp.dynamics import EpisodeState, all_or_none, initial, outcomes, transition
from ccenv.networks.core.precision import dtype_of
from ccenv.networks.core.protocol import GatedNetwork, started, walk
from ccenv.networks.core.unrolled import along, played
from ccenv.simulator.rollout import Rollout
from ccenv.simulator.simulator import Simulator

TINY = torch.finfo(torch.float32).tiny
"""Smallest gate value of a kept block: at 0 it would not be computed."""


def soft_masked_logits(
    network: GatedNetwork,
    inputs: Tensor,
    soft_masks: Sequence[Tensor],
    masks: Sequence[Tensor] | None = None,
    start: Any = None,
) -> Tensor:
    """Logits of a network whose blocks are multiplied with soft masks: [batch, num_classes].

    Soft masks are float [batch, num_blocks[l]] for each gated layer, masks bool likewise; without
    masks skipped blocks are computed too, so that a soft mask has a gradient where it is 0. `start`
    is the hidden state before the first gate, where it is there already.
    """

    def choose(gate: int, _: Any) -> Tensor | None:
        return None if masks is None else masks[gate]

    backend = "reference" if masks is None else "auto"
    return walk(network, inputs, choose, backend, soft_masks, start)


def loss_under(
    simulator: Simulator, soft_masks: Sequence[Tensor], masks: Sequence[Tensor] | None = None
) -> Tensor:
    """Cross-entropy in nats of the batch under way; arguments as those of `soft_masked_logits`."""
    state = simulator.state
    assert state is not None
    network, inputs, start = simulator.network, state.images_by_row, simulator.learning.start
    if start is None:
        start = started(network, inputs, played(network, inputs, simulator.rule))
    logits = soft_masked_logits(network, inputs, soft_masks, masks, start)
    return torch.nn.functional.cross_entropy(logits, state.labels)


def loss_of_gates(
    simulator: Simulator, masks: Sequence[Tensor], probabilities: Sequence[Tensor]
) -> Tensor:
    """The same under hard gates that have their probabilities' gradient, skipped ones too.

    Forward the mask, backward the probability; the other way round nothing is learned.
    """
    pairs = zip(masks, probabilities, strict=True)
    return loss_under(simulator, [straight_through(*pair) for pair in pairs])


SoftChoice = Callable[[int, EpisodeState], tuple[Tensor, Tensor]]
"""(Step of a sequence, state before its gate) -> its mask, and its soft mask."""


def relaxed_rewards(
    simulator: Simulator, indices: Tensor, choose: SoftChoice, length: int | None = None
) -> tuple[Tensor, Tensor]:
    """Walks sequences under soft masks, which have a gradient through all later positions.

    Skipped blocks are computed too.

    Args:
        simulator: of episodes over sequences, with a reward that has a term `cost`.
        indices: int64 [batch], a sequence for each row.
        choose: see `SoftChoice`.
        length: positions that are walked; None for all.

    Returns:
        Of each position the log-likelihood of its label, and the reward's term `cost`:
        [length, batch] each. Their sum is what `nll_minus_cost` pays, bit for bit.
    """
    network: Any = simulator.network
    likely: list[Tensor] = []
    charged: list[Tensor] = []
    steps = itertools.count()

    def run(before: Any, inputs: Tensor, labels: Tensor) -> Any:
        state, spent = initial(network, inputs, labels, state=before), torch.zeros(())
        terms: list[Tensor] = []
        while state.layer < simulator.num_layers:
            mask, soft_mask = choose(next(steps), state)
            cost = soft_cost(network, state, mask, soft_mask)
            every = torch.ones_like(mask)
            state, outcome = transition(network, state, every, "reference", soft_mask)
            spent = spent + cost
            outcome = replace(outcome, mask=mask, layer_cost=cost, compute_cost=spent)
            terms.append(simulator.reward.terms(outcome)["cost"])
        likely.append(outcome.log_likelihood)
        charged.append(sum(terms[1:], terms[0]))
        return state.hidden

    numbers = range(length or simulator.positions)
    batches = (simulator.data.batch(indices * simulator.positions + place) for place in numbers)
    for _ in along(network, batches, run):
        pass
    return torch.stack(likely), torch.stack(charged)


def soft_cost(
    network: GatedNetwork, state: EpisodeState, mask: Tensor, soft_mask: Tensor
) -> Tensor:
    """A gate's share of the dense network's MACs: masks [batch, num_blocks] -> [batch].

    Its slope in a block's soft mask is what the block costs, the others being as in the mask.
    """
    macs = functools.partial(network.macs, state.layer, state.hidden)
    blocks = torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
    block_macs = torch.stack([macs(mask | block) - macs(mask & ~block) for block in blocks], dim=1)
    rise = ((soft_mask - mask.float()) * block_macs).sum(dim=1) / network.dense_macs
    return macs(mask) / network.dense_macs + rise


def check_relaxes(simulator: Simulator, agent: str) -> None:
    """Refuses episodes over sequences through which no gradient reaches the masks (ValueError).

    The first positions of a sequence are walked under masks and under soft masks.
    """
    instead = "take reinforce or rloo, which need none"
    if any(one.loads for one in simulator.extensions):
        raise ValueError(
            f"expected no costs with memory for {agent} over sequences: loads have no gradient; "
            f"{instead}"
        )
    length = min(3, simulator.positions)
    masks = [
        (torch.arange(blocks, device=simulator.device) + place)[None] % 2 == 0
        for place in range(length)
        for blocks in simulator.num_blocks
    ]
    judged, first = simulator.on_split(simulator.split, 1), torch.zeros(1, dtype=torch.int64)
    judged.begin(first)
    steps = [judged.step(mask) for mask in masks]
    if "cost" not in steps[0].terms:
        raise ValueError(
            f"expected a reward with a term 'cost' for {agent} over sequences, got "
            f"{simulator.reward.name!r}; take nll_minus_cost"
        )

    def likely(values: Sequence[Tensor]) -> Tensor:
        pairs = [*zip(masks, values, strict=True)]
        return relaxed_rewards(judged, judged.indices, lambda step, _: pairs[step], length)[0]

    soft_masks = [mask.float().requires_grad_() for mask in masks]
    rewards = likely(soft_masks)
    with torch.no_grad():
        others = likely([1 - soft_masks[0], *soft_masks[1:]])
    expected = torch.stack([one.outcome.log_likelihood for one in steps if one.outcome.is_last])
    # Products in bfloat16 differ more where blocks are computed in another way.
    error = 1e-4 if dtype_of(simulator.network) == "float32" else 0.05
    alike = functools.partial(torch.allclose, rtol=error, atol=error)
    # Where the first gate changes its own position or later ones, a gradient must say so.
    parts = [part for part in (slice(1), slice(1, None)) if not alike(rewards[part], others[part])]
    relaxes = alike(rewards, expected) and all(
        has_slope(rewards[part], soft_masks) for part in parts
    )
    # An exit costs what lies behind it.
    if not relaxes or any(gate.skipped == "stop" for gate in simulator.network.gates):
        raise ValueError(
            "expected a network without exits whose gate values 0 and 1 are its masks, with a "
            f"gradient from each position to later ones, for {agent} over sequences, got "
            f"{type(simulator.network).__name__}; {instead}"
        )


def has_slope(values: Tensor, inputs: Sequence[Tensor]) -> bool:
    """Whether values change with the first of the inputs, by their gradient."""
    slopes = gradients(values.sum(), inputs[:1]) if values.requires_grad else (None,)
    return slopes[0] is not None and bool(slopes[0].any())


class ThroughMasks(ScoredAgent):
    """Learns from the network's loss under its masks, whatever the environment's reward.

    Over sequences the loss has the reward's term `cost` in it, in place of what is held. A subclass
    defines `terms`, with `sequences` also `relaxed_mask`, and steps by its attribute `optimizer`.
    """

    env_defaults: ClassVar[dict[str, Any]] = {"observation": "summary"}
    held_name: ClassVar[str] = "held"
    """of the curve of what is held, such as a density."""
    held_weight: float = 1.0
    """of its term in the loss."""
    every_block: ClassVar[bool] = True
    """whether an update computes skipped blocks too, so that they learn from it."""
    optimizer: torch.optim.Optimizer

    def __init__(self, env: Any, **settings: Any) -> None:
        """Prepares the scores; see `ScoredAgent`."""
        super().__init__(env, **settings)
        if self.simulator.is_sequence:
            check_relaxes(self.simulator, type(self).__name__)

    def terms(self, rollout: Rollout, layer: int) -> tuple[Tensor, Tensor]:
        """A gate's soft masks [batch, num_blocks], and what is held there: a number."""
        raise TypeError(f"{type(self).__name__} must define terms(...)")

    def relaxed_mask(self, observation: Tensor, mask: Tensor, step: int) -> Tensor:
        """The soft masks of what a rollout's step kept, bool [batch, num_blocks] -> the same."""
        raise TypeError(f"{type(self).__name__} must define relaxed_mask(...)")

    def update(self, rollout: Rollout) -> dict[str, float]:
        """One step down the loss under the rollout's masks, with the term of what is held."""
        if self.simulator.is_sequence:
            return self.update_over_sequences(rollout)
        terms = [self.terms(rollout, layer) for layer in range(len(self.num_blocks))]
        soft_masks, numbers = zip(*terms, strict=True)
        masks = None if self.every_block else [soft_mask > 0 for soft_mask in soft_masks]
        loss, held = loss_under(self.simulator, soft_masks, masks), sum(numbers, torch.zeros(()))
        descend(self.optimizer, loss + self.held_weight * held)
        return self.read(**{"loss": loss, self.held_name: held})

    def update_over_sequences(self, rollout: Rollout) -> dict[str, float]:
        """One step down the nats of sequences and what the reward charges as their cost.

        What is seen at later positions has a gradient in earlier masks, too.
        """

        def choose(step: int, state: EpisodeState) -> tuple[Tensor, Tensor]:
            mask = rollout.masks[step][:, : self.num_blocks[state.layer]]
            return mask, self.relaxed_mask(simulator.observe(state), mask, step)

        simulator = self.simulator
        likely, charged = relaxed_rewards(simulator, simulator.indices, choose)
        loss = -(likely + charged).sum(dim=0).mean()
        descend(self.optimizer, loss)
        return self.read(loss=loss)


@dataclass(frozen=True)
class LiveWalk:
    """An episode whose observations have a gradient in the network's weights.

    Gate values are made of copies of the policy's scores. So a loss has one gradient in the copies,
    which goes back into the policy and, through what it saw, into the network (`descend`), and
    another one in the weights that answer, which belongs to the network's own update.
    """

    scores: list[Tensor]
    """of each gate: [batch, n], with a gradient in the policy and in the network."""
    copies: list[Tensor]
    """the same numbers, in which the loss has its gradient."""
    loss: Tensor
    """cross-entropy of the answers in nats."""

    @classmethod
    def of(
        cls,
        simulator: Simulator,
        scores_of: Callable[[Tensor, int], Tensor],
        gates_of: Callable[[list[Tensor]], Tensor],
    ) -> "LiveWalk":
        """Walks the batch under way once more.

        `scores_of` gives from an observation and a gate what gate values are made of, [batch, n];
        `gates_of` makes of copies of the scores so far the last gate's values, [batch, blocks].
        """
        begun = simulator.state
        assert begun is not None
        labels = begun.labels[:: begun.group_size]
        network, group = simulator.network, begun.group_size
        before = played(network, begun.images, simulator.rule)
        state = initial(network, begun.images, labels, group, before)
        scores: list[Tensor] = []
        copies: list[Tensor] = []

        def choose(state: EpisodeState) -> tuple[Tensor, Tensor]:
            scores.append(scores_of(simulator.observe(state), state.layer))
            copies.append(scores[-1].detach().requires_grad_())
            values = gates_of(copies)
            return values > 0, values

        *_, outcome = outcomes(network, state, choose)
        assert outcome.logits is not None
        loss = torch.nn.functional.cross_entropy(outcome.logits.float(), state.labels)
        return cls(scores, copies, loss)

    def descend(self, optimizer: torch.optim.Optimizer, loss: Tensor, simulator: Simulator) -> None:
        """One step of the policy down a loss of `copies`; the network takes its part later."""
        policy_parameters = [one for group in optimizer.param_groups for one in group["params"]]
        parameters = [*policy_parameters, *simulator.network.parameters()]
        sums: list[Tensor | None] = [None] * len(parameters)
        slopes = list(gradients(loss, self.copies))
        # Later gates see what earlier ones have let through.
        for gate in reversed(range(len(self.scores))):
            slope, score = slopes[gate], self.scores[gate]
            if slope is None or not score.requires_grad:
                continue
            slopes_here = gradients(score, [*parameters, *self.copies[:gate]], slope)
            slopes[:gate] = map(gradient_sum, slopes[:gate], slopes_here[len(parameters) :])
            sums = list(map(gradient_sum, sums, slopes_here))
        for parameter, gradient in zip(policy_parameters, sums, strict=False):
            parameter.grad = gradient
        optimizer.step()
        simulator.trainer.take(sums[len(policy_parameters) :])


def gradients(
    values: Tensor, inputs: Sequence[Tensor], slope: Tensor | None = None
) -> tuple[Tensor | None, ...]:
    """Gradients of values, weighed by a slope, in each input; None where they do not depend."""
    return torch.autograd.grad(values, inputs, slope, retain_graph=True, allow_unused=True)


def gradient_sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """The sum of two gradients, either of which may be none."""
    if one is None or other is None:
        return other if one is None else one
    return one + other


def shows_gradient(simulator: Simulator) -> bool:
    """Whether what is seen at some gate has a gradient in the network's weights."""
    first = torch.zeros(1, dtype=torch.int64, device=simulator.device)
    # Without the values of a context, which are drawn with each batch.
    observe = getattr(simulator.observe, "base", simulator.observe)
    state = initial(simulator.network, *simulator.data.batch(first))
    walked = outcomes(simulator.network, state, all_or_none(simulator.network))
    return any(observe(outcome.before).requires_grad for outcome in walked)


def straight_through(mask: Tensor, probability: Tensor) -> Tensor:
    """Soft masks: bool and float [batch, n] -> float [batch, n], the mask's own values.

    Their gradient is the probability's.

    >>> p = torch.tensor([[0.3, 0.9]], requires_grad=True)
    >>> soft_mask = straight_through(torch.tensor([[True, False]]), p)
    >>> soft_mask.tolist(), torch.autograd.grad(soft_mask.sum(), p)[0].tolist()
    ([[1.0, 0.0]], [[1.0, 1.0]])
    """
    return mask.float() + (probability - probability.detach())


def density_loss(soft_mask: Tensor, target: float) -> Tensor:
    """Squared distance of the share of blocks kept from a wanted one: [batch, n] -> a number.

    >>> density_loss(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), 0.25).item()
    0.25
    """
    return (soft_mask.mean() - target).square()


def rate_loss(soft_mask: Tensor, target: float) -> Tensor:
    """The same of each block by itself, a mean over blocks (Veit and Belongie 2018).

    >>> rate_loss(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), 0.5).item()
    0.125
    """
    return (soft_mask.mean(dim=0) - target).square().mean()


def load_balance(scores: Tensor, mask: Tensor) -> Tensor:
    """N times the sum over blocks of (share of inputs) x (mean weight): Fedus et al., equation 4.

    >>> load_balance(torch.zeros(2, 2), torch.tensor([[True, False], [False, True]])).item()
    1.0
    """
    share = mask.float().mean(dim=0)
    share = share / share.sum()
    return mask.shape[1] * (share * scores.softmax(dim=1).mean(dim=0)).sum()


@torch.no_grad()
def move_bias(bias: Tensor, mask: Tensor, rate: float) -> Tensor:
    """Moves a selection bias in place, up of blocks kept less than the mean, down of the others.

    Returns:
        Largest load over the mean load, a number: 1 where blocks are used alike.
    """
    load = mask.float().mean(dim=0)
    bias += rate * (load.mean() - load).sign()
    return load.max() / load.mean()
