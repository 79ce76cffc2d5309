"""Agents on a table: (tables, settings) -> a simulator that looks up; (policy, rows) -> chances.

The simulated environment with a `TableNetwork` inside: agents are built on it as they are, and what
they reach is a sum over all masks instead of a sample.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccenv.data import Split
from ccenv.mask_table.exact import FLOATS
from ccenv.mask_table.menus import Menu
from ccenv.mask_table.network import TableNetwork
from ccenv.mask_table.table import MaskTable
from ccenv.mdp.dynamics import EpisodeState
from ccenv.simulator.simulator import Simulator

PART = 256
"""Inputs whose masks are all looked at together."""


def table_simulator(
    fitting: MaskTable,
    judging: MaskTable | None = None,
    *,
    num_images: int = 512,
    choosing: int = 256,
    score: str = "log_likelihood",
    by_gate: bool = True,
    later: Sequence[NDArray[np.floating[Any]]] | None = None,
    **settings: Any,
) -> Simulator:
    """The simulated environment over tables: agents of this package and of others work on it.

    Args:
        fitting: table whose inputs are learned by.
        judging: of the split "test"; None: the inputs that choose judge too.
        num_images: rows of a batch, see `Simulator`.
        choosing: inputs of `fitting`, the last ones, that are the split "validation".
        score: see `TableNetwork`.
        by_gate: see `TableNetwork`.
        later: see `TableNetwork`, for the inputs of both tables.
        **settings: of the simulator: reward, reward_kwargs, group_size, split.

    Raises:
        ValueError: if the tables do not go together or lack something, or a setting is wrong.
    """
    count = fitting.header.num_images
    if not 0 < choosing < count:
        raise ValueError(f"expected choosing in 1..{count - 1} inputs, got {choosing}")
    chosen = range(count - choosing, count)
    judged = chosen if judging is None else range(count, count + judging.header.num_images)
    # Rows among the tables' inputs, counted through.
    parts = {"train": range(count - choosing), "validation": chosen, "test": judged}

    def data(split: str) -> Split:
        rows = torch.tensor(list(parts[split]), dtype=torch.int64)
        return Split(rows[:, None], torch.zeros_like(rows), fitting.header.num_classes)

    tables = [fitting] if judging is None else [fitting, judging]
    network = TableNetwork(tables, score, by_gate, later)
    return Simulator(num_images, network=network, dataset=data, weights="frozen", **settings)


@torch.no_grad()
def mask_chances(simulator: Simulator, policy: Any, split: str) -> FLOATS:
    """Probability of every mask under a policy of coins, gate by gate: nothing is drawn.

    Args:
        simulator: of `table_simulator`.
        policy: that has a keep probability at each gate, such as an agent.
        split: whose inputs.

    Returns:
        float64 [inputs, masks]; `ccenv.mask_table.value(..., masks=...)` is then exact.

    Raises:
        TypeError: if the policy tells no keep probabilities.
    """
    rows = simulator.on_split(split, 1).data.images
    assert isinstance(rows, Tensor)
    parts = [chances_of(simulator, policy, part) for part in rows[:, 0].split(PART)]
    return torch.cat(parts).cpu().numpy()


def chances_of(simulator: Simulator, policy: Any, rows: Tensor) -> Tensor:
    """Of some inputs: int64 [n] -> float64 [n, masks]."""
    network, chances = simulator.network, torch.ones(len(rows), 1, dtype=torch.float64)
    for gate, count in enumerate(simulator.num_blocks):
        hidden = network.prefixes(gate, rows)
        zeros = torch.zeros_like(hidden.rows)
        state = EpisodeState(rows[:, None], zeros, gate, hidden, None, zeros)
        keep = policy.keep_probability(simulator.observe(state), gate)
        if keep is None:
            raise TypeError(
                f"expected a policy with keep probabilities, got {type(policy).__name__}; judge it "
                "by ccenv.evaluate"
            )
        bits = torch.from_numpy(Menu(count).bits())
        keep = keep.double().cpu()[:, None]
        of_masks = torch.where(bits, keep, 1 - keep).prod(dim=2)
        chances = (chances.view(-1, 1) * of_masks).view(len(rows), -1)
    return chances
