"""What a page holds of a lowered network and its policy: affine maps that `mlp.js` reads."""

import base64
from typing import Any

import numpy as np
from torch import Tensor

from ccenv.networks.core.lowering import Affine, Blocks

View = dict[str, Any]


def layer_view(found: Affine) -> View:
    """An affine map: sizes, float32 weights [out, in] and biases, activation, blocks of its gate.

    Biases are zeros where there are none, blocks are 0 where there is no gate.
    """
    weight = found.weight.detach().cpu()
    bias = weight.new_zeros(len(weight)) if found.bias is None else found.bias.detach().cpu()
    return {
        "inputs": weight.shape[1],
        "outputs": weight.shape[0],
        "weight": floats(weight),
        "bias": floats(bias),
        "activation": found.activation,
        "blocks": found.num_blocks if isinstance(found, Blocks) else 0,
    }


def floats(tensor: Tensor) -> str:
    """float32 in the order of rows, little-endian, as base64."""
    array = np.ascontiguousarray(tensor.numpy(), dtype="<f4")
    return base64.b64encode(array.tobytes()).decode()
