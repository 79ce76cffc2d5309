"""One episode as pure functions: (network, state, mask) -> next state and what the mask did."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ccenv.base.masks import check_mask, full_mask
from ccenv.networks.core.protocol import GatedNetwork, started
from ccenv.sparse import cpu
from ccenv.sparse.operands import is_readable


@dataclass(frozen=True)
class EpisodeState:
    """A batch of inputs on their way through the gates, all at the same gate."""

    images: Tensor
    """[batch / group_size, ...]; each input once: images, token windows or features."""
    labels: Tensor
    """[batch] int64."""
    layer: int
    """number of the gate that is decided next; the number of gates when the episode is over."""
    hidden: Any
    """the network's own state; before the first gate one row an input, then [batch, ...]."""
    mask: Tensor | None
    """bool [batch, num_blocks[layer - 1]]; the mask before, None at the start."""
    macs: Tensor
    """[batch] int64; executed so far."""
    group_size: int = 1
    """neighbouring rows that hold the same input."""

    @functools.cached_property
    def images_by_row(self) -> Tensor:
        """[batch, ...]; copied for each row of a group when asked."""
        return self.by_row(self.images)

    def by_row(self, values: Tensor) -> Tensor:
        """Values of each input, [batch / group_size, ...], for each row of its group."""
        return values if self.group_size == 1 else values.repeat_interleave(self.group_size, 0)


class Compared(NamedTuple):
    """What a network's logits say of labels."""

    prediction: Tensor
    """[batch] int64; the first of the likeliest classes."""
    is_right: Tensor
    """[batch] float32; 1 where that is the label."""
    logit: Tensor
    """[batch] float32; of the label."""
    are_finite: bool | None
    """whether all logits are numbers; None where that was not looked at."""


@dataclass(frozen=True)
class StepOutcome:
    """Outcome of one step of a batch: what a reward reads.

    >>> from ccenv.simulator.simulator import Simulator
    >>> simulator = Simulator(2, dataset="synthetic", weights="cotrain", num_blocks=[4])
    >>> simulator.seed(0)
    >>> _ = simulator.begin()
    >>> outcome = simulator.step(torch.tensor([[True] * 4, [False] * 4])).outcome
    >>> outcome.layer_cost.tolist(), outcome.density.tolist(), outcome.is_last
    ([1.0, 0.0], [1.0, 0.0], True)
    """

    layer: int
    """number of the gate that was decided."""
    mask: Tensor
    """[batch, num_blocks] bool; the action as executed, nothing of rows that have stopped."""
    layer_cost: Tensor
    """[batch] float32 in [0, 1]; this gate's share of the dense network's MACs."""
    compute_cost: Tensor
    """[batch] float32 in [0, 1]; share of the dense network's MACs executed so far."""
    macs: Tensor
    """[batch] int64; MACs executed so far."""
    num_layers: int
    """gates of the network."""
    labels: Tensor
    """[batch] int64; true classes."""
    logits: Tensor | None
    """[batch, num_classes] float32 after the last gated layer, None before it."""
    before: EpisodeState
    """where the inputs were; its `mask` is that of the gate before."""
    after: EpisodeState
    """where they are now."""
    answers: Tensor | None = None
    """[batch, n, num_classes] float32 after the last gate of a network that answers n times on the
    way, of which `logits` are the last; None of others."""
    targets: Tensor | None = None
    """[batch, n] int64; what was right each time, None where there are no answers."""
    loads: Tensor | None = field(default=None, kw_only=True)
    """[batch] float32 in [0, 1]; bytes of blocks that were loaded over those of all blocks, None
    where loading costs nothing."""

    @property
    def is_last(self) -> bool:
        """Whether the episode has ended."""
        return self.layer + 1 == self.num_layers

    @property
    def density(self) -> Tensor:
        """Share of this gate's blocks that were kept: [batch] float32 in [0, 1]."""
        return self.mask.float().mean(1)

    @functools.cached_property
    def compared(self) -> Compared | None:
        """What came of the episode, None before the last gate."""
        return None if self.logits is None else compared(self.logits, self.labels)

    @property
    def prediction(self) -> Tensor | None:
        """[batch] int64; the class that the network answers, None before the last gate."""
        return None if self.compared is None else self.compared.prediction

    @functools.cached_property
    def correct(self) -> Tensor:
        """1 for a right answer, 0 for a wrong one or none yet: [batch] float32.

        Of a network that answers several times on the way, the mean over its answers.
        """
        if self.compared is None:
            return torch.zeros_like(self.layer_cost)
        if self.answers is not None and self.targets is not None:
            return (self.answers.argmax(dim=2) == self.targets).float().mean(dim=1)
        return self.compared.is_right

    @functools.cached_property
    def log_likelihood(self) -> Tensor:
        """Log-probability of the true class in nats, 0 before the end: [batch] float32.

        Of a network that answers several times on the way, the mean over its answers.
        """
        if self.logits is None or self.compared is None:
            return torch.zeros_like(self.layer_cost)
        if self.answers is not None and self.targets is not None:
            chosen = self.answers.gather(-1, self.targets.unsqueeze(-1)).squeeze(-1)
            return (chosen - self.answers.logsumexp(dim=-1)).mean(dim=1)
        return self.compared.logit - self.logits.logsumexp(dim=-1)


def compared(logits: Tensor, labels: Tensor) -> Compared:
    """Compares logits [batch, num_classes] with labels int64 [batch] (else IndexError)."""
    is_usual = logits.dtype == torch.float32 and not logits.requires_grad
    if not (is_usual and is_readable(logits) and is_readable(labels)):
        prediction = logits.argmax(dim=1)
        chosen = logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        return Compared(prediction, (prediction == labels).float(), chosen, are_finite=None)
    return Compared(*cpu.answers(logits, labels))


def initial(
    network: GatedNetwork,
    inputs: Tensor,
    labels: Tensor,
    group_size: int = 1,
    state: Any = None,
) -> EpisodeState:
    """Starts an episode for each row, of which `group_size` neighbours hold the same input.

    Inputs [batch / group_size, ...] are each there once, and so are labels, int64. What the network
    computes before its first gate is computed here, behind the `state` that the positions before
    have left (see `Continues` and `PlaysWindows`).
    """
    if group_size > 1:
        labels = labels.repeat_interleave(group_size)
    hidden = started(network, inputs, state)
    return EpisodeState(inputs, labels, 0, hidden, None, torch.zeros_like(labels), group_size)


Choose = Callable[[EpisodeState], Tensor | tuple[Tensor, Tensor | None]]
"""(State before a gate) -> its mask, or the mask and what the outputs of its blocks are multiplied
with; see `transition`."""


def outcomes(
    network: GatedNetwork, state: EpisodeState, choose: Choose, backend: str = "auto"
) -> Iterator[StepOutcome]:
    """Walks from a state to the end of its episode: the one loop over the gates of an episode.

    Each outcome holds the states before and after its gate.
    """
    while state.layer < len(network.gates):
        chosen = choose(state)
        mask, weights = chosen if isinstance(chosen, tuple) else (chosen, None)
        state, outcome = transition(network, state, mask, backend, weights)
        yield outcome


def all_or_none(network: GatedNetwork, kept: bool = True) -> Choose:
    """Keeps every block of every gate, or no block."""

    def choose(state: EpisodeState) -> Tensor:
        blocks = network.gates[state.layer].num_blocks
        mask = full_mask(len(state.labels), blocks, state.labels.device)
        return mask if kept else ~mask

    return choose


def look(network: GatedNetwork, state: EpisodeState) -> Tensor:
    """What the network offers to be seen where the inputs are: float32 [batch, look_size]."""
    features = network.look(state.layer, state.hidden)
    return features if features.shape[0] == state.labels.shape[0] else state.by_row(features)


def transition(
    network: GatedNetwork,
    state: EpisodeState,
    mask: Tensor,
    backend: str = "auto",
    weights: Tensor | None = None,
) -> tuple[EpisodeState, StepOutcome]:
    """Computes the blocks that a mask keeps, and the logits after the last gate.

    Masks, and weights by which the outputs of kept blocks are multiplied, are [batch, num_blocks].
    The state before is not changed.

    Raises:
        TypeError: if the mask is not a bool tensor.
        ValueError: if the episode is over or the mask does not fit the gate.
    """
    num_layers = len(network.gates)
    if state.layer >= num_layers:
        raise ValueError(f"the episode is over after {num_layers} gated layers; start a new one")
    expected = (state.labels.shape[0], network.gates[state.layer].num_blocks)
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != expected:
        check_mask(mask, expected[0], "mask")
        raise ValueError(
            f"expected a mask of shape {list(expected)} for gated layer {state.layer}, "
            f"got {list(mask.shape)}"
        )
    mask = network.executed(state.layer, state.hidden, mask)
    macs, layer_cost, compute_cost = network.add_macs(state.layer, state.hidden, mask, state.macs)
    hidden = network.step(state.layer, state.hidden, mask, weights, backend)
    after = EpisodeState(
        images=state.images,
        labels=state.labels,
        layer=state.layer + 1,
        hidden=hidden,
        mask=mask,
        macs=macs,
        group_size=state.group_size,
    )
    is_last = after.layer == num_layers
    answers, targets = None, None
    if is_last and network.answers_often:
        answers, targets = network.every_answer(hidden, state.labels)
    return after, StepOutcome(
        layer=state.layer,
        mask=mask,
        layer_cost=layer_cost,
        compute_cost=compute_cost,
        macs=macs,
        labels=state.labels,
        logits=network.logits(hidden, backend) if is_last else None,
        num_layers=num_layers,
        before=state,
        after=after,
        answers=answers,
        targets=targets,
    )
