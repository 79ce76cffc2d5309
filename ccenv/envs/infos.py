"""What `info` says of a step: (outcome, reward terms) -> arrays, one row for each image."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ccenv.simulator.simulator import Simulator
from ccenv.simulator.step import Step

INFO_KEYS: dict[str, str] = {
    "layer": "number of the gate that was decided",
    "mask": "blocks as executed, True = computed; padded with False to the widest gate",
    "layer_cost": "MACs of this step over the dense network's",
    "cost": "the same, for libraries of constrained reinforcement learning",
    "compute_cost": "MACs so far over the dense network's",
    "macs": "MACs so far",
    "network_version": "updates of the network so far; 0 while its weights are frozen",
    "reward/<term>": "each term of the reward; they sum to it",
    "<number>": "what a reward remembers, such as `price` of `lagrangian`",
    "correct": "whether the answer is right",
    "nll": "negative log-likelihood of the label, in nats",
    "label": "true class",
    "prediction": "class that the network answers",
}
"""Key of `info` -> what it says; the last four are there on the last step only."""


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


class View:
    """What all views of a simulator have."""

    simulator: Simulator

    def start(self, seed: int | None, generator: np.random.Generator) -> None:
        """Starts the simulator's streams from a generator; without a seed they go on, if begun."""
        if seed is not None or self.simulator.images_seed is None:
            self.simulator.seed(int(generator.integers(2**31)))

    def _step(self, mask: Tensor, values: Tensor | None = None) -> Step:
        """One step, its results on the host, for which a device is waited for once."""
        return self.simulator.step(mask, values).on_host(self.simulator.checks)

    def _begin(self, indices: np.ndarray | None = None) -> np.ndarray:
        """Observations of new episodes, of the images asked for or the next ones."""
        chosen = None if indices is None else torch.from_numpy(indices)
        return self.simulator.begin(chosen).cpu().numpy()

    def _decided(self) -> list[np.ndarray]:
        """Masks of the gates that are decided, bool [batch, num_blocks] each."""
        return [mask.cpu().numpy() for mask in self.simulator.masks]

    def update_network(self) -> dict[str, float]:
        """Co-training: see `Simulator.update_network`; call it between rollouts."""
        return self.simulator.update_network()


def action_masks(simulator: Simulator) -> np.ndarray:
    """Which values each bit may take at the present layer: bool [2 * max(num_blocks)].

    Entry 2i allows skipping block i, entry 2i + 1 computing it, as sb3-contrib's MaskablePPO reads
    them; blocks beyond the layer's own may only be skipped. After the end all may be chosen.
    """
    layer, count = simulator.layer, simulator.max_blocks
    own = simulator.num_blocks[layer] if layer < simulator.num_layers else count
    allowed = np.ones((count, 2), dtype=bool)
    allowed[own:, 1] = False
    return allowed.ravel()
