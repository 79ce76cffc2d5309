"""What a model answers: (model, inputs) -> logits [batch, num_classes].

Models of the library transformers answer with a record that has `logits`. Those that write text
have logits at every position, and keep keys and values by default.
"""

import inspect
from typing import Any

from torch import Tensor, nn

NEXT: dict[str, Any] = {"use_cache": False, "logits_to_keep": 1}
"""Arguments for a model that predicts what comes next, as far as it has them: one pass over a
window, of which the last position answers."""
LOGITS_EVERYWHERE = 3
"""Dimensions of logits at every position: [batch, length, num_classes]."""


def settings_of(model: nn.Module) -> dict[str, Any]:
    """Which of `NEXT` a model's forward takes by name."""
    known = inspect.signature(model.forward).parameters
    return {name: value for name, value in NEXT.items() if name in known}


def answer_of(model: nn.Module, inputs: Tensor) -> Any:
    """Calls a model with its inputs alone: all other arguments keep their defaults, but `NEXT`."""
    settings = settings_of(model)
    found = model(inputs, **settings)
    logits = getattr(found, "logits", found)
    if settings and isinstance(logits, Tensor) and logits.ndim == LOGITS_EVERYWHERE:
        return logits[:, -1]
    return logits
