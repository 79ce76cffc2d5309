"""What a menu gives inputs: (a network and inputs, or a table) -> error, nll, cost, and a look."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ccenv.mask_table.evaluation.exact import FLOATS, Outcomes
from ccenv.mask_table.evaluation.learning import standardised
from ccenv.mask_table.table import MaskTable
from ccenv.mdp.dynamics import initial, look, transition
from ccenv.networks.core.protocol import num_blocks_of
from ccenv.runs.lab.budget import menu
from ccenv.simulator.simulator import Simulator


@dataclass(frozen=True)
class Measured:
    """Some inputs under the masks of a menu."""

    found: FLOATS
    """[3, inputs, masks]: error, nll, cost."""
    looks: FLOATS
    """[inputs, look_size]; what is seen where choosing begins."""

    def of_inputs(self, some: slice) -> "Measured":
        """A part of the inputs."""
        return Measured(self.found[:, some], self.looks[some])

    def outcomes(self, masks: Tensor) -> Outcomes:
        """Of the first masks, those of the menu, for the exact tools.

        Args:
            masks: bool [masks, units], of the menu.
        """
        kept = masks.sum(dim=1).numpy().astype(np.int64)
        _, nll, cost = self.found[:, :, : len(masks)]
        return Outcomes(-nll, cost[0], kept, None)


def walked(
    simulator: Simulator, indices: Tensor, masks: Tensor, gate: int, size: int, progress: str = ""
) -> Measured:
    """Runs the network under all masks.

    Args:
        simulator: with the network and the split.
        indices: int64 [inputs], of the split.
        masks: bool [masks, units].
        gate: before which policies look; all gates before it are kept.
        size: inputs at a time.
        progress: title of a bar; empty: none.
    """
    parts = []
    for some in tqdm(indices.split(size), desc=progress, disable=not progress):
        batch = simulator.data.batch(some)
        parts.append(menu.judged(simulator.network, batch, masks).numpy())
    return Measured(np.concatenate(parts, axis=1), seen_of(simulator, indices, gate, size))


@torch.no_grad()
def seen_of(simulator: Simulator, indices: Tensor, gate: int, size: int) -> FLOATS:
    """The look before a gate, all gates before it kept: [inputs, look_size]."""
    parts = []
    for some in indices.split(size):
        state = initial(simulator.network, *simulator.data.batch(some))
        for blocks in num_blocks_of(simulator.network)[:gate]:
            kept = torch.ones(len(some), blocks, dtype=torch.bool)
            state, _ = transition(simulator.network, state, kept)
        parts.append(look(simulator.network, state).double().numpy())
    found: FLOATS = np.concatenate(parts)
    return found


def looked_up(table: MaskTable, numbers: Sequence[int]) -> Measured:
    """The same from a table; its look is that before the first gate.

    Args:
        table: with nll and looks.
        numbers: of the menu's masks.

    Raises:
        ValueError: if it has no nll or no looks.
    """
    table.check_has("log_likelihood")
    if table.nll is None or table.look is None:
        raise ValueError("expected a table with looks, got none; build it: ccenv table build")
    own = list(numbers)
    error = 1.0 - table.is_right()[:, own]
    nll = table.nll[:, own].astype(np.float64)
    cost = np.broadcast_to(table.macs[own] / table.header.dense_macs, nll.shape)
    return Measured(np.stack([error, nll, cost]), table.look.astype(np.float64))


def components(fit: FLOATS, others: Sequence[FLOATS], columns: int) -> list[FLOATS]:
    """Principal components of looks, of deviation 1, and a column of ones."""
    whole = standardised(fit, *others)
    _, _, axes = np.linalg.svd(whole[0][:, :-1], full_matrices=False)
    return standardised(*(part[:, :-1] @ axes[:columns].T for part in whole))
