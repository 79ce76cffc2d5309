"""Tensors to what a page holds of them: linear layers as base64 that `mlp.js` reads."""

import base64
from typing import Any

import numpy as np
from torch import Tensor

View = dict[str, Any]


def linear_view(weight: Tensor, bias: Tensor) -> View:
    """A linear layer: sizes, weights [out, in] and biases as float32."""
    weight, bias = weight.detach().cpu(), bias.detach().cpu()
    shape = {"inputs": weight.shape[1], "outputs": weight.shape[0]}
    return {**shape, "weight": floats(weight), "bias": floats(bias)}


def floats(tensor: Tensor) -> str:
    """float32 in the order of rows, little-endian, as base64."""
    array = np.ascontiguousarray(tensor.numpy(), dtype="<f4")
    return base64.b64encode(array.tobytes()).decode()
