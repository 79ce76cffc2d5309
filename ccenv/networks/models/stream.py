"""Inputs of a stream of which some chunks have come: (rows) -> contexts, lags, answers so far."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Stream:
    """Inputs of which some chunks have come, before the decision at the newest one."""

    chunks: Tensor
    """[rows, num_chunks, ...]; all of them, those to come too."""
    memory: Tensor
    """[rows, committed, depth, 2 * width]; see `PatchTrunk`."""
    committed: Tensor
    """[rows, width]; context of the last whole patch."""
    context: Tensor
    """[rows, width]; what answers are made of: the same, or a refresh's."""
    patch: Tensor
    """[rows, width]; sum of what the open patch's chunks say."""
    local: Tensor
    """[rows, local_units]; the newest chunk."""
    guess: Tensor
    """[rows, num_classes]; logits from the committed context and the newest chunk."""
    lag: Tensor
    """int64 [rows]; chunks of the open patch that the context has not seen."""
    answers: tuple[Tensor, ...] = ()
    """[rows, num_classes] behind each chunk so far."""
    guesses: tuple[Tensor, ...] = ()
    """[rows, num_classes] at each gate so far."""

    def repeated(self, group: int) -> "Stream":
        """Each row for so many neighbours; there are no answers before the first mask."""
        if group == 1:
            return self
        wide: dict[str, Any] = {
            name: value.repeat_interleave(group, 0)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return dataclasses.replace(self, **wide)


def entropy(logits: Tensor) -> Tensor:
    """Entropy of answers in nats: [rows, num_classes] -> [rows].

    >>> import torch
    >>> round(entropy(torch.zeros(1, 10)).item(), 6)
    2.302585
    """
    log_p = logits.log_softmax(dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)
