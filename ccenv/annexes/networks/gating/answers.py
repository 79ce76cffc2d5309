"""How a model is asked: (model, inputs by name) -> logits [batch, num_classes].

Models of the library transformers answer with a record that has `logits`. Those that write text
have logits at every position, and keep keys and values by default.
"""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

NEXT: dict[str, Any] = {"use_cache": False, "logits_to_keep": 1}
"""Arguments for a model that predicts what comes next, as far as it has them: one pass over a
window, of which the last position answers."""
LOGITS_EVERYWHERE = 3
"""Dimensions of logits at every position: [batch, length, num_classes]."""
START = "inputs"
"""Name of the inputs."""


def parameters_of(model: nn.Module) -> Mapping[str, Any]:
    """Arguments of a model's forward by name."""
    return inspect.signature(model.forward).parameters


def answer_of(model: nn.Module, inputs: Tensor, **settings_of_call: Any) -> Any:
    """Calls a model with its inputs; all other arguments keep their defaults, but `NEXT`."""
    parameters = parameters_of(model)
    settings = {
        name: value for name, value in NEXT.items() if name in parameters
    } | settings_of_call
    answer = model(inputs, **settings)
    logits = getattr(answer, "logits", answer)
    if settings and isinstance(logits, Tensor) and logits.ndim == LOGITS_EVERYWHERE:
        return logits[:, -1]
    return logits


class WholeAnswer:
    """A model is asked with whole inputs [batch, ...] and nothing else."""

    def inputs(self, example: Tensor, rows: int) -> dict[str, Any]:
        """Inputs by name: an example [1, ...] for so many rows."""
        return {START: example.detach().repeat_interleave(rows, 0)}

    def __call__(self, model: nn.Module, inputs: Mapping[str, Any]) -> Any:
        """What the model answers."""
        return answer_of(model, inputs[START])
