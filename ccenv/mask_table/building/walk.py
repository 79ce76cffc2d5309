"""All masks of a batch by a prefix tree: (network, inputs, menus) -> the end of every path.

Depth first: what follows a prefix is walked while its hidden state is there, so that every block
is computed once a prefix and memory holds one state a gate.

Looks behind every prefix of masks: (network, inputs) -> what is seen at each gate.

A table holds what is seen before the first gate. An agent in the simulated environment sees more:
at each gate, what the masks so far made of the input. This is that, for all of them, beside the
table: with it a table is played with later looks, see `ccenv.mask_table.network`.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccenv.base.checked_arrays import DamagedFileError, read_arrays, write_arrays
from ccenv.mask_table.menus import Menus, num_masks_of
from ccenv.mask_table.table import MaskTable
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


def leaves(network: GatedNetwork, inputs: Tensor, menus: Menus) -> Iterator[Leaf]:
    """Walks a batch through every mask of the menus, in the order of their numbers.

    Args:
        network: frozen; steps leave the state before them as it is.
        inputs: [batch, ...].
        menus: one for each gate.
    """
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
class Answers:
    """What every mask answers for a batch."""

    right: NDArray[np.bool_]
    """[batch, num_masks]."""
    nll: NDArray[np.float16]
    """[batch, num_masks] in nats."""
    macs: NDArray[np.int64]
    """[num_masks]."""


@torch.no_grad()
def answers(network: GatedNetwork, inputs: Tensor, labels: Tensor, menus: Menus) -> Answers:
    """What every mask answers: inputs [batch, ...], labels int64 [batch] -> arrays.

    Raises:
        ValueError: if logits are not finite, or two inputs have different bills under a mask.
    """
    shape = (num_masks_of(menus), len(labels))
    right, nll = np.empty(shape, dtype=bool), np.empty(shape, dtype=np.float16)
    bill = np.empty(shape[0], dtype=np.int64)
    for leaf in leaves(network, inputs, menus):
        right[leaf.numbers], nll[leaf.numbers] = judged(leaf.logits, labels)
        least, most = leaf.macs.aminmax()
        if least != most:
            raise ValueError(
                f"expected a bill that masks alone decide, got {int(least)}..{int(most)} MACs of "
                f"mask {leaf.numbers.start}; a table has one bill a mask"
            )
        bill[leaf.numbers] = int(most)
    return Answers(np.ascontiguousarray(right.T), np.ascontiguousarray(nll.T), bill)


def judged(logits: Tensor, labels: Tensor) -> tuple[NDArray[np.bool_], NDArray[np.float16]]:
    """Whether logits [batch, num_classes] are right, and their nll in nats: [batch] each.

    Raises:
        ValueError: if logits are not finite.
    """
    check_answers(logits)
    chosen = logits.gather(1, labels[:, None]).squeeze(1)
    right = (logits.argmax(dim=1) == labels).cpu().numpy()
    return right, (logits.logsumexp(dim=1) - chosen).half().cpu().numpy()


@torch.no_grad()
def seconds_of_walk(network: GatedNetwork, inputs: Tensor, labels: Tensor, menus: Menus) -> float:
    """Seconds that `answers` takes, about, without walking: from one path through all gates.

    A step is timed with its menu's first and last mask, and is taken once a prefix of masks.
    """
    fastest = math.inf
    # The first round may compile.
    for _ in range(2):
        hidden, seconds, prefixes = network.start(inputs), 0.0, 1
        for gate, menu in enumerate(menus):
            prefixes *= len(menu)
            bits = torch.from_numpy(menu.bits()).to(inputs.device)
            masks = [bits[place].expand(len(inputs), -1).contiguous() for place in (0, -1)]
            began = time.perf_counter()
            after = [decided(network, gate, hidden, mask)[1] for mask in masks]
            seconds += (time.perf_counter() - began) / 2 * prefixes
            hidden = after[-1]
        began = time.perf_counter()
        judged(network.logits(hidden), labels)
        seconds += (time.perf_counter() - began) * prefixes
        fastest = min(fastest, seconds)
    return fastest


@torch.no_grad()
def first_look(network: GatedNetwork, inputs: Tensor) -> NDArray[np.float32]:
    """What is cheap to see before the first gate: [batch, ...] -> [batch, look_size]."""
    found: NDArray[np.float32] = network.look(0, network.start(inputs)).float().cpu().numpy()
    return found


@torch.no_grad()
def earlier_bills(network: GatedNetwork, one: Tensor, menus: Menus) -> NDArray[np.int64]:
    """MACs so far after every prefix of masks but whole ones, gate by gate, in counting order.

    Args:
        network: frozen, with a bill that masks alone decide.
        one: [1, ...], any input.
        menus: one for each gate.

    Returns:
        int64 [prefixes].
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


KIND = "ccenv looks of a table"
Halves = NDArray[np.float16]


@dataclass(frozen=True)
class PrefixLooks:
    """What is seen on every way through a network."""

    gates: tuple[Halves, ...]
    """of each gate: [inputs, prefixes of masks, columns]."""
    logits: Halves
    """[inputs, masks, classes]; the answers."""


@torch.no_grad()
def looks_behind(
    network: GatedNetwork, inputs: Tensor, menus: Menus, places: int = 1
) -> PrefixLooks:
    """Walks a batch through every mask and keeps what is seen.

    Args:
        network: frozen.
        inputs: [batch, ...].
        menus: one for each gate.
        places: neighbouring columns of a look that are averaged, as 4 of a map that is shown
            2 x 2; looks that cannot be parted so stay as they are.
    """
    masks = [torch.from_numpy(menu.bits()).to(inputs.device) for menu in menus]
    found: list[dict[int, Tensor]] = [{} for _ in menus]
    answers: dict[int, Tensor] = {}

    def below(gate: int, hidden: Any, number: int) -> None:
        if gate == len(menus):
            answers[number] = network.logits(hidden).half()
            return
        found[gate][number] = averaged(network.look(gate, hidden), places).half()
        for place, mask in enumerate(masks[gate]):
            rows = mask.expand(len(inputs), -1).contiguous()
            after = network.step(gate, hidden, rows)
            below(gate + 1, after, number * len(masks[gate]) + place)

    below(0, network.start(inputs), 0)
    return PrefixLooks(tuple(side_by_side(part) for part in found), side_by_side(answers))


def averaged(look: Tensor, places: int) -> Tensor:
    """Means of neighbouring columns: [batch, columns] -> [batch, columns / places].

    >>> averaged(torch.tensor([[1.0, 3.0, 5.0, 5.0]]), 2).tolist()
    [[2.0, 5.0]]
    """
    if look.shape[1] % places:
        return look
    return look.view(len(look), -1, places).mean(dim=2)


def side_by_side(parts: dict[int, Tensor]) -> Halves:
    """Looks by number, each [batch, columns] -> [batch, numbers, columns]."""
    found: Halves = torch.stack([parts[n] for n in range(len(parts))], dim=1).cpu().numpy()
    return found


def joined(parts: list[PrefixLooks]) -> PrefixLooks:
    """Batches one after the other."""
    gates = zip(*(part.gates for part in parts), strict=True)
    return PrefixLooks(
        tuple(np.concatenate(gate) for gate in gates),
        np.concatenate([part.logits for part in parts]),
    )


def write_looks(path: Path, table: MaskTable, looks: PrefixLooks) -> None:
    """Keeps looks of a table's inputs.

    Raises:
        OSError: if the file cannot be written.
    """
    arrays: dict[str, Any] = {f"gate{n}": part for n, part in enumerate(looks.gates)}
    texts = {"kind": KIND, "table": table.header.digest}
    write_arrays(path, arrays | {"logits": looks.logits}, texts)


def read_looks(path: Path, table: MaskTable) -> PrefixLooks:
    """Reads what `write_looks` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ccenv.base.checked_arrays.DamagedFileError: if it is damaged, or another kind of file.
        ValueError: if the looks are of another table.
    """
    arrays, texts, has_checksum = read_arrays(path)
    if texts.get("kind") != KIND or not has_checksum:
        raise DamagedFileError(f"expected looks of a table in {path}, got another kind of file")
    header = table.header
    gates = tuple(arrays[f"gate{n}"] for n in range(len(header.gates)))
    wanted = [num_masks_of(header.menus[:n]) for n in range(len(gates))]
    rows = {len(part) for part in (*gates, arrays["logits"])}
    is_its = texts["table"] == header.digest and rows == {header.num_images}
    if not is_its or [part.shape[1] for part in gates] != wanted:
        raise ValueError(f"expected looks of the table's network and inputs, got others in {path}")
    return PrefixLooks(gates, arrays["logits"])
