"""What `info` says of a step: (outcome, reward terms) -> arrays, one row for each image."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ccenv.base.masks import pad_mask
from ccenv.rewards import log_likelihood
from ccenv.simulator.simulator import Simulator, Step


def numpy_copy(tensor: Tensor) -> np.ndarray:
    """A fresh array: Gymnasium's checker refuses buffers that a later step would overwrite."""
    array: np.ndarray = tensor.detach().cpu().numpy()
    return array.copy() if array.base is not None or tensor.device.type == "cpu" else array


def step_info(step: Step, max_blocks: int, network_version: int) -> dict[str, np.ndarray]:
    """Arrays [batch, ...] for every key of the design: see the environment's docstring."""
    outcome = step.outcome
    batch = len(outcome.labels)
    layer_cost = outcome.layer_cost.cpu().numpy()
    info: dict[str, np.ndarray] = {
        "layer": np.full(batch, outcome.layer, dtype=np.int64),
        "mask": pad_mask(outcome.mask, max_blocks).cpu().numpy(),
        "layer_cost": layer_cost,
        "cost": layer_cost.copy(),
        "compute_cost": outcome.compute_cost.cpu().numpy(),
        "macs": outcome.macs.cpu().numpy(),
        "network_version": np.full(batch, network_version, dtype=np.int64),
    }
    info |= {f"reward/{name}": numpy_copy(term) for name, term in step.terms.items()}
    info |= {name: np.full(batch, value) for name, value in step.numbers.items()}
    info |= {name: numpy_copy(value) for name, value in step.told.items()}
    if outcome.logits is not None:
        label, prediction = numpy_copy(outcome.labels), outcome.logits.argmax(dim=1).cpu().numpy()
        info["correct"] = prediction == label
        info["nll"] = -log_likelihood(outcome).cpu().numpy()
        info["label"], info["prediction"] = label, prediction
    return info


def with_presence(info: dict[str, Any], present: np.ndarray) -> dict[str, Any]:
    """Adds Gymnasium's boolean twin `_key` to each key of a vector info."""
    return info | {f"_{key}": present.copy() for key in info}


def row_of(info: dict[str, np.ndarray], row: int) -> dict[str, Any]:
    """One row as Python scalars and arrays: the scalar environment's and SB3's `info`."""
    return {
        key: value[row].copy() if value.ndim > 1 else value[row].item()
        for key, value in info.items()
    }


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


def check_action(action: Any, shape: tuple[int, ...]) -> Tensor:
    """Reads a mask given by a user: bool tensor of that shape.

    Integers and floats that are 0 or 1 pass, because Stable-Baselines3 samples bits as floats.

    Raises:
        TypeError: if it is no array of numbers.
        ValueError: if the shape differs or a value is neither 0 nor 1.
    """
    array = np.asarray(action)
    if array.dtype != np.bool_ and not (
        np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)
    ):
        raise TypeError(
            f"expected the action to be an array of bits, got dtype {array.dtype}; "
            "give bool, int or float with the values 0 and 1"
        )
    if array.shape != shape:
        raise ValueError(
            f"expected an action of shape {list(shape)}, one bit a block, got {list(array.shape)}"
        )
    if array.dtype != np.bool_:
        if not bool(((array == 0) | (array == 1)).all()):
            odd = array[(array != 0) & (array != 1)].flat[0]
            raise ValueError(
                f"expected every bit of the action to be 0 or 1, got {odd}; "
                "threshold or sample probabilities first"
            )
        array = array.astype(np.bool_)
    return torch.from_numpy(np.ascontiguousarray(array))
