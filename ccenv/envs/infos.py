"""What `info` says of a step: (outcome, reward terms) -> arrays, one row for each image."""

import numpy as np
from torch import Tensor

from ccenv.base.masks import pad_mask
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
    array: np.ndarray = tensor.detach().cpu().numpy()
    return array.copy() if array.base is not None or tensor.is_cpu else array


def step_info(step: Step, max_blocks: int, network_version: int) -> dict[str, np.ndarray]:
    """Arrays [batch, ...] for every key of the design: see the environment's docstring."""
    outcome = step.outcome
    batch = outcome.labels.shape[0]
    layer_cost = outcome.layer_cost.cpu().numpy()
    numbers = np.empty((2, batch), dtype=np.int64)
    numbers[0], numbers[1] = outcome.layer, network_version
    info: dict[str, np.ndarray] = {
        "layer": numbers[0],
        "mask": pad_mask(outcome.mask, max_blocks).cpu().numpy(),
        "layer_cost": layer_cost,
        "cost": layer_cost.copy(),
        "compute_cost": outcome.compute_cost.cpu().numpy(),
        "macs": outcome.macs.cpu().numpy(),
        "network_version": numbers[1],
    }
    info |= {f"reward/{name}": numpy_copy(term) for name, term in step.terms.items()}
    info |= {name: np.full(batch, value) for name, value in step.numbers.items()}
    info |= {name: numpy_copy(value) for name, value in step.told.items()}
    if outcome.logits is not None:
        label, prediction = numpy_copy(outcome.labels), outcome.logits.argmax(dim=1).cpu().numpy()
        info["correct"] = prediction == label
        info["nll"] = -outcome.log_likelihood.cpu().numpy()
        info["label"], info["prediction"] = label, prediction
    return info


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
