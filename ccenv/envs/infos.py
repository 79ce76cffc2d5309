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


def numpy_rows(tensors: Sequence[Tensor]) -> np.ndarray:
    """Tensors of one shape as rows of one fresh array; from a GPU they come in one copy.

    Fresh, because Gymnasium's checker refuses buffers that a later step would overwrite, and
    because what a caller writes into an array must not reach the simulator.
    """
    array: np.ndarray = torch.stack(list(tensors)).detach().cpu().numpy()
    return array


def step_info(step: Step, max_blocks: int, network_version: int) -> dict[str, np.ndarray]:
    """Arrays [batch, ...] for every key of `INFO_KEYS`; all are the caller's own."""
    outcome = step.outcome
    batch, num_blocks = outcome.mask.shape
    mask = np.zeros((batch, max_blocks), dtype=bool)
    mask[:, :num_blocks] = outcome.mask.cpu().numpy()
    floats = [outcome.layer_cost, outcome.layer_cost, outcome.compute_cost, *step.terms.values()]
    whole = [outcome.macs]
    if outcome.prediction is not None:
        floats.append(outcome.log_likelihood.float())
        whole += [outcome.labels, outcome.prediction]
    layer_cost, cost, compute_cost, *paid = numpy_rows(floats)
    macs, *answers = numpy_rows(whole)
    info: dict[str, np.ndarray] = {
        "layer": np.full(batch, outcome.layer),
        "mask": mask,
        "layer_cost": layer_cost,
        "cost": cost,
        "compute_cost": compute_cost,
        "macs": macs,
        "network_version": np.full(batch, network_version),
    }
    info |= {f"reward/{name}": term for name, term in zip(step.terms, paid, strict=False)}
    info |= {name: np.full(batch, value) for name, value in step.numbers.items()}
    info |= {name: numpy_rows([value])[0] for name, value in step.told.items()}
    if answers:
        label, prediction = answers
        info["correct"] = prediction == label
        info["nll"] = -paid[-1]
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
