"""What a policy fell into, in words: (densities, block use by class) -> "always on", "uniform", ...

A reward shaping can be met without looking at the image at all; a table of errors and costs does
not show that, these words do.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

NEARLY = 0.02
"""A density so near to 0 or 1 counts as such."""
SLACK = 0.02
"""Standard deviation of block use between classes, or blocks, that is no difference."""


def habit(results: Sequence[Mapping[str, Any]], density: Sequence[float]) -> str:
    """One of "always on", "always off", "uniform", "same for all classes", or "".

    Args:
        results: of one label; their `block_use` is in per cent, [layer][class][block].
        density: mean share of blocks kept in each gated layer.

    "uniform": every block of a layer is kept about equally often, whatever the class.
    "same for all classes": blocks differ, classes do not.
    """
    if all(value >= 1 - NEARLY for value in density):
        return "always on"
    if all(value <= NEARLY for value in density):
        return "always off"
    spreads = [spread_of_use(r) for r in results if r.get("block_use")]
    if not spreads:
        return ""
    between_classes, between_blocks = np.mean(spreads, axis=0)
    if between_classes > SLACK:
        return ""
    return "uniform" if between_blocks <= SLACK else "same for all classes"


def spread_of_use(result: Mapping[str, Any]) -> tuple[float, float]:
    """Standard deviation of block use between classes and between blocks, beyond chance."""
    images = judged_images(result)
    classes, blocks = [], []
    for layer in result["block_use"]:
        use = np.asarray(layer, dtype=np.float64) / 100
        chance = (use * (1 - use)).mean(axis=0) / images
        between = np.clip(use.var(axis=0) - len(use) * chance, 0, None)
        classes.append(np.sqrt(between).mean())
        blocks.append(np.sqrt(max(0.0, use.mean(axis=0).var() - chance.mean())))
    return float(max(classes)), float(max(blocks))


def judged_images(result: Mapping[str, Any]) -> int:
    """Test images behind a result's block use."""
    return next(int(e["num_images"]) for e in result["evaluations"] if e["split"] == "test")
