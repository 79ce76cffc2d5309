"""Norms that average over a batch: (a network) -> statistics that stay, or learn for a while."""

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn

NORMS = (nn.modules.batchnorm._BatchNorm,)
"""Modules that average over a batch while they learn."""


@contextlib.contextmanager
def learning_norms(network: Any) -> Iterator[None]:
    """For a while norms that average over a batch may learn, where a network has such."""
    has_norms = hasattr(network, "norms_learn")
    if has_norms:
        network.norms_learn = True
    try:
        yield
    finally:
        if has_norms:
            network.norms_learn = False
