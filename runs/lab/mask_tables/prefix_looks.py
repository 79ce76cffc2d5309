"""Looks behind every prefix of masks: (network, inputs) -> what is seen at each gate.

A table holds what is seen before the first gate. An agent in the simulated environment sees more:
at each gate, what the masks so far made of the input. This is that, for all of them, beside the
table: with it a table is played with later looks, see `ccenv.mask_table.network`.
"""

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
from ccenv.networks.core.protocol import GatedNetwork

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
