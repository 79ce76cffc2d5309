"""Early exits: rows on their way to them, and their answers trained together.

A row that an exit's gate skips answers there and stops; what it would cost later is not computed.
Early answers learn by the weighed sum of the exits' losses: Teerapittayanon et al. 2016,
"BranchyNet: fast inference via early exiting from deep neural networks" (arXiv 1709.01686).
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from ccenv.networks.core.abilities import Bounds, Exits, Norms, Owns, ability
from ccenv.networks.core.inference_copy import hold_norms
from ccenv.networks.core.protocol import (
    Abilities,
    Gate,
    GatedNetwork,
    loss_of,
    repeat_rows,
    rows_each,
    through,
)
from ccenv.networks.core.stage import pooled
from ccenv.sparse.routes import hides_skipped


class Exit(nn.Module):
    """An early exit: True goes on, False stops and answers here.

    Its head runs for every input that reaches it, so the policy can observe the answer.

    >>> import ccenv
    >>> parts = [nn.Linear(16, 8), Exit(nn.Linear(8, 10)), nn.Linear(8, 8)]
    >>> network = ccenv.GatedSequential(nn.Identity(), parts, nn.Linear(8, 10), torch.zeros(1, 16))
    >>> network.gates[0].skipped
    'stop'
    """

    def __init__(self, head: nn.Module, loss_weight: float = 0.3) -> None:
        """Takes a head, features [rows, ...] -> logits, and the weight of its loss in training."""
        super().__init__()
        self.head, self.loss_weight = head, loss_weight


@dataclass(frozen=True)
class Flow:
    """Inputs on their way through a `GatedSequential`."""

    x: Tensor
    """[running, ...] features of the rows that have not stopped."""
    num_rows: int
    """all rows, stopped ones included."""
    before: Tensor | None = None
    """bool [running, blocks]; which blocks of x are not zero, None for all."""
    rows: Tensor | None = None
    """int64 [running], which rows these are; None: all."""
    goes: Tensor | None = None
    """bool [running]; False of rows that have stopped and are computed all the same, to be hidden:
    a GPU need not be waited for to list the others. None: there are none."""
    early: Tensor | None = None
    """[running, num_classes], what the exit that is decided next would answer."""
    answers: Tensor | None = None
    """[num_rows, num_classes] of the rows that have stopped, else 0; with weights, their part."""
    share: Tensor | None = None
    """[running, 1] weight of what is still to be answered; None: 1."""

    def of_running(self, values: Tensor) -> Tensor:
        """The running rows of a tensor [num_rows, ...]."""
        return values if self.rows is None else values.index_select(0, self.rows)

    def of_all(self, values: Tensor) -> Tensor:
        """Puts values [running, ...] in their rows, zero where stopped: [num_rows, ...]."""
        if self.goes is not None:
            goes = self.goes.view(-1, *[1] * (values.ndim - 1))
            values = torch.where(goes, values, values.new_zeros(()))
        if self.rows is None:
            return values
        return values.new_zeros(self.num_rows, *values.shape[1:]).index_copy(0, self.rows, values)

    @property
    def may_have_stopped(self) -> bool:
        """Whether rows may have stopped at an exit."""
        return self.rows is not None or self.goes is not None

    def repeated(self, group: int) -> "Flow":
        """Each row for so many neighbours."""
        if group == 1:
            return self
        return dataclasses.replace(repeat_rows(self, group), num_rows=self.num_rows * group)

    def answered(self, logits: Tensor) -> Tensor:
        """Answers of all rows, from the logits [running, num_classes] of those that went on."""
        logits = self.of_all(logits if self.share is None else logits * self.share)
        return logits if self.answers is None else logits + self.answers


def leave(flow: Flow, mask: Tensor | None, weights: Tensor | None, *, hides: bool = False) -> Flow:
    """What an exit does: rows whose block is skipped answer and stop, the others go on.

    Weights w share the answer: 1 - w is this exit's part of the rows that go on. With `hides` rows
    that stop stay among the others, see `Flow.goes`.
    """
    early = flow.early
    assert early is not None
    share = early.new_ones(len(early), 1) if flow.share is None else flow.share
    goes = early.new_ones(len(early), dtype=torch.bool) if mask is None else mask[:, 0]
    part = torch.where(goes[:, None], torch.zeros_like(share), share)
    if weights is not None:
        weights = weights.to(early.dtype)
        part = torch.where(goes[:, None], share * (1 - weights), share)
        share = share * weights
    answers = flow.of_all(part * early)
    answers = answers if flow.answers is None else flow.answers + answers
    kept_share = None if weights is None and flow.share is None else share
    if hides:
        goes = goes if flow.goes is None else goes & flow.goes
        return dataclasses.replace(flow, answers=answers, share=kept_share, early=None, goes=goes)
    if bool(goes.all()):
        nothing = mask is None and weights is None
        return dataclasses.replace(
            flow, answers=flow.answers if nothing else answers, share=kept_share, early=None
        )
    going = goes.nonzero().squeeze(1)
    rows = going if flow.rows is None else flow.rows.index_select(0, going)
    return Flow(
        x=flow.x.index_select(0, going),
        num_rows=flow.num_rows,
        before=None if flow.before is None else flow.before.index_select(0, going),
        rows=rows,
        answers=answers,
        share=None if kept_share is None else kept_share.index_select(0, going),
    )


def exit_look(early: Tensor, x: Tensor) -> Tensor:
    """How sure an exit is, and pooled features: [rows, num_classes + ...]."""
    return torch.cat([early.softmax(dim=1), pooled(x)], dim=1)


def exit_size(part: Exit) -> int | None:
    """Classes that an exit's last linear layer answers for; None where it has none."""
    linears = [m for m in part.head.modules() if isinstance(m, nn.Linear)]
    return linears[-1].out_features if linears else None


class FlowNetwork(GatedNetwork):
    """A network of parts, some of them exits, at which rows stop.

    A subclass says what its parts are, what their blocks cost and how large they are.
    """

    abilities: Abilities = (Exits, Norms, Owns, Bounds)
    norms_learn: bool = False
    """whether norms that average over the batch learn in training mode, see `hold_norms`."""
    start_macs: int
    """of what runs before the first gate."""
    own_macs: tuple[int, ...]
    """of each gate's blocks with everything kept, 0 of an exit."""
    fixed_macs: tuple[int, ...]
    """of what always runs behind each gate, up to the next."""

    def set_costs(
        self, gates: Sequence[Gate], start: int, own_macs: Sequence[int], fixed: Sequence[int]
    ) -> None:
        """Writes down gates and costs."""
        self.gates, self.start_macs = tuple(gates), start
        self.own_macs, self.fixed_macs = tuple(own_macs), tuple(fixed)
        self.dense_macs = start + sum(own_macs) + sum(fixed)

    def part(self, gate: int) -> nn.Module:
        """What a gate decides: a stage, a gated child or an exit."""
        raise NotImplementedError

    def flow_of(self, hidden: Any) -> Flow:
        """Which rows of its state have stopped, and what they answer."""
        raise NotImplementedError

    def spent(self, gate: int, kept: Tensor, flow: Flow) -> Tensor:
        """MACs of a gate's own blocks: bool [running, num_blocks] -> int64 [running]."""
        raise NotImplementedError

    def least_spent(self, gate: int) -> int:
        """MACs of a gate itself with everything skipped."""
        return 0

    def norms(self, gate: int, hidden: Any) -> Tensor:
        """`block_norms` of the running rows of a gate that is no exit: [running, num_blocks]."""
        raise NotImplementedError

    def is_exit(self, gate: int) -> bool:
        """Whether a gate is one."""
        return self.gates[gate].skipped == "stop"

    def macs(self, gate: int, hidden: Any, mask: Tensor) -> Tensor:
        """See `GatedNetwork.macs`."""
        flow = self.flow_of(hidden)
        if flow.num_rows != len(mask):
            # Before the first mask nothing of the state matters to the bill but the rows.
            rows_each(flow.num_rows, len(mask))
            flow = dataclasses.replace(flow, num_rows=len(mask))
        kept, fixed = flow.of_running(mask), self.fixed_macs[gate]
        is_exit = self.is_exit(gate)
        spent = kept[:, 0] * fixed if is_exit else self.spent(gate, kept, flow) + fixed
        return flow.of_all(spent + self.start_macs if gate == 0 else spent)

    def least_macs(self, gate: int) -> int:
        """See `Bounds`: nothing behind an exit."""
        least = self.start_macs if gate == 0 else 0
        for number in range(gate, len(self.gates)):
            if self.is_exit(number):
                break
            least += self.least_spent(number) + self.fixed_macs[number]
        return least

    def block_macs(self, gate: int) -> int:
        """See `Norms`; none of an exit, whose head runs anyway."""
        return self.own_macs[gate]

    def tells_norms(self, gate: int) -> bool:
        """See `Norms`."""
        return True

    def block_norms(self, gate: int, hidden: Any) -> Tensor:
        """See `Norms`; of an exit whether the row has gone on."""
        flow = self.flow_of(hidden)
        if self.is_exit(gate) or not len(flow.x):
            ones = torch.ones(len(flow.x), self.gates[gate].num_blocks, device=flow.x.device)
            return flow.of_all(ones)
        return flow.of_all(self.norms(gate, hidden))

    def gate_parameters(self, gate: int) -> list[nn.Parameter]:
        """See `Owns`."""
        return list(self.part(gate).parameters())

    def train(self, mode: bool = True) -> Self:
        """As torch's, but for norms that average over the batch, see `hold_norms`."""
        super().train(mode)
        hold_norms(self)
        return self

    def early_answer(self, gate: int, hidden: Any) -> tuple[Tensor, float]:
        """See `Exits`."""
        part, early = self.part(gate), self.flow_of(hidden).early
        if not isinstance(part, Exit) or early is None:
            raise ValueError(f"expected gate {gate} to be an exit that is next, got {part}")
        return early, part.loss_weight

    def executed(self, gate: int, hidden: Any, mask: Tensor) -> Tensor:
        """See `GatedNetwork`: nothing of rows that have stopped."""
        flow = self.flow_of(hidden)
        return flow.of_all(flow.of_running(mask)) if flow.may_have_stopped else mask

    def hides_stopped(self, gate: int, flow: Flow, backend: str) -> bool:
        """Whether rows that stop at an exit are computed all the same, see `hides_skipped`."""
        behind = sum(self.own_macs[gate + 1 :]) + sum(self.fixed_macs[gate:])
        assert flow.early is not None
        return hides_skipped(flow.early, behind, backend)


def has_exits(network: GatedNetwork) -> bool:
    """Whether a network answers more than once: has exits that learn, or a loss of its own."""
    has_stops = any(gate.skipped == "stop" for gate in network.gates)
    return network.answers_often or (has_stops and Exits in network.abilities)


def early_answer(network: GatedNetwork, gate: int, hidden: Any) -> tuple[Tensor, float]:
    """See `Exits.early_answer`; ValueError of a network without it."""
    exits = ability(network, Exits)
    if exits is None:
        raise ValueError(f"expected gate {gate} to be an exit, got one of {type(network).__name__}")
    return exits.early_answer(gate, hidden)


def exit_losses(
    network: GatedNetwork,
    inputs: Tensor,
    labels: Tensor,
    masks: Sequence[Tensor] | None = None,
    label_smoothing: float = 0.0,
    weights: Sequence[Tensor] | None = None,
    start: Any = None,
) -> Tensor:
    """The last answer's cross-entropy, and each exit's times its `loss_weight`, in nats.

    No input stops, so that every exit learns from all of them. What the last answer costs is the
    network's `answer_loss`.

    Args:
        network: one with exits has the ability `Exits`.
        inputs: [batch, ...].
        labels: int64 [rows].
        masks: bool [rows, num_blocks] for each gate, those of exits ignored; None keeps everything.
        label_smoothing: share of the target that all classes have alike.
        weights: float [rows, num_blocks] for each gate; see `GatedNetwork.step`.
        start: hidden state before the first gate, where it is there already.
    """
    backend = "reference" if masks is None else "auto"
    losses: list[Tensor] = []

    def choose(gate: int, hidden: Any) -> Tensor | None:
        mask = None if masks is None else masks[gate]
        if network.gates[gate].skipped != "stop":
            return mask
        logits, weight = early_answer(network, gate, hidden)
        # Before the first mask there is one row an input, which may have several masks.
        of_rows = labels[:: len(labels) // len(logits)] if gate == 0 else labels
        losses.append(weight * loss_of(logits, of_rows, label_smoothing))
        return None if mask is None else mask.new_ones(mask.shape)

    hidden = through(network, inputs, choose, backend, weights, start=start)
    last = network.answer_loss(hidden, labels, label_smoothing, backend)
    return sum(losses, start=last)
