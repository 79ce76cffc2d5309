"""Builds `info`: (outcome, reward terms) -> arrays, one row per input."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ccenv.simulator.simulator import Simulator
from ccenv.simulator.step import Step

INFO_KEYS: dict[str, str] = {
    "layer": "index of the gate",
    "mask": "computed blocks; padded with False to the widest gate",
    "layer_cost": "MACs of this step over the dense network's",
    "cost": "the same, for libraries of constrained RL",
    "compute_cost": "MACs so far over the dense network's",
    "macs": "MACs so far",
    "network_version": "updates of the network so far; 0 while its weights are frozen",
    "reward/<term>": "a term of the reward; the terms sum to the reward",
    "<number>": "state of the reward, such as `price` of `lagrangian`",
    "correct": "whether the answer is correct",
    "nll": "negative log-likelihood of the label, in nats",
    "label": "true class",
    "prediction": "predicted class",
}
"""Key of `info` -> meaning; the last four exist at the last step only."""


def numpy_copy(tensor: Tensor) -> np.ndarray:
    """A fresh array: Gymnasium's checker refuses buffers that a later step would overwrite."""
    array: np.ndarray = tensor.detach().cpu().numpy().copy()
    return array


def numpy_rows(tensors: Sequence[Tensor]) -> np.ndarray:
    """Tensors of one shape as rows of one fresh array; from a GPU they come in one copy."""
    array: np.ndarray = torch.stack(list(tensors)).detach().cpu().numpy()
    return array


def step_info(step: Step, max_blocks: int, network_version: int) -> dict[str, np.ndarray]:
    """Arrays [batch, ...] for every key of `INFO_KEYS`; all are the caller's own."""
    outcome = step.outcome
    batch, num_blocks = outcome.mask.shape
    mask = np.zeros((batch, max_blocks), dtype=bool)
    mask[:, :num_blocks] = outcome.mask.cpu().numpy()
    floats = [outcome.layer_cost, outcome.layer_cost, outcome.compute_cost, *step.terms.values()]
    if outcome.is_last:
        floats.append(outcome.log_likelihood.float())
    layer_cost, cost, compute_cost, *paid = numpy_rows(floats)
    numbers = np.empty((2, batch), dtype=np.int64)
    numbers[0], numbers[1] = outcome.layer, network_version
    info: dict[str, np.ndarray] = {
        "layer": numbers[0],
        "mask": mask,
        "layer_cost": layer_cost,
        "cost": cost,
        "compute_cost": compute_cost,
        "macs": numpy_copy(outcome.macs),
        "network_version": numbers[1],
    }
    info |= {f"reward/{name}": term for name, term in zip(step.terms, paid, strict=False)}
    info |= {name: np.full(batch, value) for name, value in step.numbers.items()}
    info |= {name: numpy_copy(value) for name, value in step.told.items()}
    if outcome.prediction is not None:
        label, prediction = numpy_rows([outcome.labels, outcome.prediction])
        info["correct"] = prediction == label
        info["nll"] = -paid[-1]
        info["label"], info["prediction"] = label, prediction
    return info


class SimulatorView:
    """Base class of environments on a simulator."""

    simulator: Simulator

    @property
    def score(self) -> Any:
        """Of a task of the suite what is kept of its episodes; None of other environments."""
        return self.simulator.extension("task")

    def start(self, seed: int | None, generator: np.random.Generator) -> None:
        """Starts the random streams from a generator; without a seed they continue."""
        if seed is not None or self.simulator.images_seed is None:
            self.simulator.seed(int(generator.integers(2**31)))

    def _step(self, mask: Tensor, values: Tensor | None = None) -> Step:
        """One step, its results on the host, for which a device is waited for once."""
        return self.simulator.step(mask, values).on_host(self.simulator.checks)

    def _begin(self, indices: np.ndarray | None = None) -> np.ndarray:
        """First observations of new episodes, of the given inputs or the next ones."""
        chosen = None if indices is None else torch.from_numpy(indices)
        return self.simulator.begin(chosen).cpu().numpy()

    def _decided(self) -> list[np.ndarray]:
        """Masks of the gates so far, bool [batch, num_blocks] each; all positions side by side."""
        masks, gates = self.simulator.masks, range(self.simulator.num_layers)
        by_gate = [masks[gate :: len(gates)] for gate in gates]
        return [torch.cat(masks, dim=1).cpu().numpy() for masks in by_gate if masks]

    def _blocks(self) -> list[int]:
        """Blocks of each gate, at all positions."""
        return [self.simulator.positions * count for count in self.simulator.num_blocks]

    def update_network(self) -> dict[str, float]:
        """Co-training: see `Simulator.update_network`; call it between rollouts."""
        return self.simulator.update_network()


def action_masks(simulator: Simulator) -> np.ndarray:
    """Action mask of the current gate for sb3-contrib's MaskablePPO: bool [2 * max(num_blocks)].

    Entry 2i allows skipping block i, entry 2i + 1 computing it. Blocks beyond the gate's own may
    only be skipped. After the end of the episode all entries are True.
    """
    layer, count = simulator.layer, simulator.max_blocks
    width = simulator.num_blocks[layer] if layer < simulator.num_layers else count
    allowed = np.ones((count, 2), dtype=bool)
    allowed[width:, 1] = False
    return allowed.ravel()
