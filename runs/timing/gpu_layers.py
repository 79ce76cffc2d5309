"""What is measured on a card: block-sparse layers as data, and the speed-ups that are wanted."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True)
class GpuLayer:
    """A square layer with independent masks on both sides."""

    batch: int
    """rows of a pass."""
    density: float
    """share of blocks kept on each side."""
    is_training: bool
    """forward and the gradients of inputs, weights and bias; else forward alone."""
    is_captured: bool
    """whether the passes are captured in a CUDA graph."""
    width: int = 4096
    """units on each side."""
    num_blocks: int = 64
    """blocks on each side."""
    dtype: str = "bfloat16"
    """a name in `DTYPES`."""
    backend: str = "auto"
    """as given to `block_sparse_linear`; "gpu" forces the kernels."""

    @property
    def name(self) -> str:
        """As tables show it."""
        size = self.width // self.num_blocks
        parts = [f"{self.width} to {self.width}, {self.num_blocks} blocks of {size}", self.dtype]
        parts += ["forward and backward" if self.is_training else "forward"]
        parts += ["CUDA graph"] if self.is_captured else []
        return ", ".join([*parts, "kernels forced"] if self.backend == "gpu" else parts)


@dataclass(frozen=True)
class Target:
    """The least speed-up over the dense product that the kernels are meant to reach."""

    batches: tuple[int, ...]
    """of these batches."""
    densities: tuple[float, ...]
    """at these densities."""
    is_training: tuple[bool, ...]
    """forward, forward and backward, or both."""
    speedup: float
    """the least."""


TARGETS = (
    Target((8192,), (1 / 8,), (False,), 6.0),
    Target((8192,), (1 / 16,), (False,), 10.0),
    Target((8192,), (1 / 8,), (True,), 4.0),
    Target((128, 256, 512), (1 / 8, 1 / 16), (False, True), 0.95),
)
"""For bfloat16 as `backend="auto"` computes it, eager and captured."""
VALLEY = (128, 256, 512)
CASES = (
    *(
        GpuLayer(batch, density, is_training, is_captured)
        for is_training, density, batch, is_captured in itertools.product(
            (False, True), (1 / 8, 1 / 16), (*VALLEY, 8192), (False, True)
        )
    ),
    # Where a dense product is chosen, what the kernels would have taken; the choice is calculated.
    *(
        GpuLayer(batch, 1 / 16, is_training, is_captured, backend="gpu")
        for is_training, batch, is_captured in itertools.product(
            (False, True), VALLEY, (False, True)
        )
    ),
    # Without tensor cores what is skipped is expected to matter most.
    *(
        GpuLayer(8192, density, is_training, False, dtype="float32")
        for is_training, density in itertools.product((False, True), (1 / 8, 1 / 16))
    ),
)
QUICK = tuple(
    GpuLayer(64, 1 / 4, is_training, is_captured, width=256, num_blocks=4)
    for is_training, is_captured in itertools.product((False, True), (False, True))
)


def misses(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Targets that were not met, in words.

    Args:
        rows: measured cases, `GpuTiming` as a mapping.
    """
    own = {"dtype": "bfloat16", "backend": "auto", "width": 4096, "num_blocks": 64}
    return [
        f"{row['case']}, batch {row['batch']:,}, density {row['asked']['density']:g}: "
        f"{row['speedup']:.2f} times as fast as dense, target {target.speedup:g}"
        for row, target in itertools.product(rows, TARGETS)
        if own.items() <= row["asked"].items()
        and row["batch"] in target.batches
        and row["asked"]["density"] in target.densities
        and row["asked"]["is_training"] in target.is_training
        and row["speedup"] < target.speedup
    ]
