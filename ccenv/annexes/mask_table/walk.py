"""All masks of a batch by a prefix tree: (network, inputs, menus) -> the end of every path.

Depth first: what follows a prefix is walked while its hidden state is there, so that every block
is computed once a prefix and memory holds one state a gate.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccenv.annexes.mask_table.header import Menus, num_masks_of
from ccenv.networks.core.arguments import check_answers
from ccenv.networks.core.protocol import GatedNetwork


@dataclass(frozen=True)
class Leaf:
    """Where a path ends."""

    numbers: slice
    """of the masks that lead here: one, or all that begin with an exit that was taken."""
    logits: Tensor
    """[batch, num_classes]."""
    macs: Tensor
    """int64 [batch]."""


def ends_of_paths(network: GatedNetwork, inputs: Tensor, menus: Menus) -> Iterator[Leaf]:
    """Walks a batch through every mask of the menus, in the order of their numbers."""
    masks = [torch.from_numpy(menu.bits()).to(inputs.device) for menu in menus]
    behind = [num_masks_of(menus[gate:]) for gate in range(len(menus) + 1)]
    spent = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)

    def below(gate: int, hidden: Any, spent: Tensor, first: int, stopped: bool) -> Iterator[Leaf]:
        if gate == len(menus):
            yield Leaf(slice(first, first + 1), network.logits(hidden), spent)
            return
        # Behind an exit that was taken nothing runs, whatever masks say: one path stands for all.
        for place, mask in enumerate(masks[gate][:1] if stopped else masks[gate]):
            macs, after = decided(network, gate, hidden, mask.expand(len(inputs), -1).contiguous())
            macs = spent + macs
            ends = network.gates[gate].skipped == "stop" and not bool(mask.any())
            start = first + place * behind[gate + 1]
            if ends and not stopped:
                (leaf,) = below(gate + 1, after, macs, start, True)
                yield Leaf(slice(start, start + behind[gate + 1]), leaf.logits, leaf.macs)
            else:
                yield from below(gate + 1, after, macs, start, stopped)

    yield from below(0, network.start(inputs), spent, 0, False)


def decided(network: GatedNetwork, gate: int, hidden: Any, rows: Tensor) -> tuple[Tensor, Any]:
    """One step: masks bool [batch, num_blocks] -> MACs int64 [batch], the hidden state after."""
    rows = network.executed(gate, hidden, rows)
    return network.macs(gate, hidden, rows), network.step(gate, hidden, rows)


@dataclass(frozen=True)
class MaskAnswers:
    """What every mask answers for a batch."""

    right: NDArray[np.bool_]
    """[batch, num_masks]."""
    nll: NDArray[np.float16]
    """[batch, num_masks] in nats."""
    macs: NDArray[np.int64]
    """[num_masks]."""


@torch.no_grad()
def answer_all(network: GatedNetwork, inputs: Tensor, labels: Tensor, menus: Menus) -> MaskAnswers:
    """What every mask answers; ValueError if MACs depend on inputs, or logits are not finite."""
    shape = (num_masks_of(menus), len(labels))
    right, nll = np.empty(shape, dtype=bool), np.empty(shape, dtype=np.float16)
    bill = np.empty(shape[0], dtype=np.int64)
    for leaf in ends_of_paths(network, inputs, menus):
        right[leaf.numbers], nll[leaf.numbers] = right_and_nll(leaf.logits, labels)
        least, most = leaf.macs.aminmax()
        if least != most:
            raise ValueError(
                f"expected MACs that masks alone decide, got {int(least)}..{int(most)} MACs of "
                f"mask {leaf.numbers.start}; a table has one cost a mask"
            )
        bill[leaf.numbers] = int(most)
    return MaskAnswers(np.ascontiguousarray(right.T), np.ascontiguousarray(nll.T), bill)


def right_and_nll(logits: Tensor, labels: Tensor) -> tuple[NDArray[np.bool_], NDArray[np.float16]]:
    """Whether logits [batch, num_classes] are right, and their nll in nats: [batch] each."""
    check_answers(logits)
    chosen = logits.gather(1, labels[:, None]).squeeze(1)
    right = (logits.argmax(dim=1) == labels).cpu().numpy()
    return right, (logits.logsumexp(dim=1) - chosen).half().cpu().numpy()


@torch.no_grad()
def earlier_bills(network: GatedNetwork, one: Tensor, menus: Menus) -> NDArray[np.int64]:
    """MACs so far after every prefix of masks but whole ones, gate by gate, in counting order.

    `one` is any input [1, ...]: masks alone decide the MACs.
    """
    levels: list[list[int]] = [[] for _ in menus[:-1]]

    def below(gate: int, hidden: Any, spent: int) -> None:
        for mask in torch.from_numpy(menus[gate].bits()).to(one.device):
            rows = network.executed(gate, hidden, mask[None])
            macs = spent + int(network.macs(gate, hidden, rows))
            levels[gate].append(macs)
            if gate + 1 < len(levels):
                below(gate + 1, network.step(gate, hidden, rows), macs)

    if levels:
        below(0, network.start(one), 0)
    return np.array([macs for level in levels for macs in level], dtype=np.int64)
