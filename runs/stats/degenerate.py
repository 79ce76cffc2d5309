"""Degenerate policies named: (densities, block use by class) -> "always on", "uniform", ...

A policy can satisfy a reward shaping without using the image at all; a table of errors and costs
does not show that, these words do.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Use = NDArray[np.float64]

NEARLY = 0.02
"""A density so near to 0 or 1 counts as such."""
SLACK = 0.02
"""Standard deviation of block use between classes, or blocks, that is no difference."""
HABITS = ("always on", "always off", "uniform", "same for all classes")
"""Kinds of degenerate policies."""
RULE = (
    f"Always on: at least {1 - NEARLY:.0%} of the blocks of every layer are kept; always off: at "
    f"most {NEARLY:.0%}. Same for all classes: in every layer the use of a block has a standard "
    f"deviation between classes of at most {SLACK} beyond what drawing masks for so few images "
    "would give; uniform: between blocks too. "
    "Each seed is judged by itself; where not all fell into it, their number is said."
)
"""The rule, for the report."""


def habit(results: Sequence[Mapping[str, Any]], densities: Sequence[Sequence[float]]) -> str:
    """Degenerate behaviour of one label's policies: "" or words of `HABITS`.

    Args:
        results: one for each seed; their `block_use` is in per cent, [layer][class][block].
        densities: of each, share of blocks kept in each gated layer.

    Returns:
        The word where all seeds have it, else each word with its seeds: "uniform (2 of 5 seeds)",
        separated by "; ".
    """
    found = [habit_of(result, density) for result, density in zip(results, densities, strict=True)]
    counts = {word: found.count(word) for word in HABITS if word in found}
    if list(counts.values()) == [len(found)]:
        return next(iter(counts))
    return "; ".join(f"{word} ({n} of {len(found)} seeds)" for word, n in counts.items())


def habit_of(result: Mapping[str, Any], density: Sequence[float]) -> str:
    """Degenerate behaviour of one policy, "" if there is none."""
    if all(value >= 1 - NEARLY for value in density):
        return "always on"
    if all(value <= NEARLY for value in density):
        return "always off"
    if not result.get("block_use"):
        return ""
    images = judged_images(result)
    layers = [np.asarray(layer, dtype=np.float64) / 100 for layer in result["block_use"]]
    # Asked one layer after the other: most policies are known by their first.
    if any(between_classes(use, images) > SLACK for use in layers):
        return ""
    is_even = all(between_blocks(use, images) <= SLACK for use in layers)
    return "uniform" if is_even else "same for all classes"


def runs_fallen(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Word of `HABITS` -> number of runs, over all rows and their seeds."""
    counts: dict[str, int] = {}
    for word in HABITS:
        for row in rows:
            for part in filter(None, row["habit"].split("; ")):
                name, _, told = part.partition(" (")
                if name == word:
                    number = int(told.split(" of ")[0]) if told else len(row["seeds"])
                    counts[word] = counts.get(word, 0) + number
    return counts


def between_classes(use: Use, images: int) -> float:
    """Standard deviation of block use between classes beyond chance, mean over blocks.

    Args:
        use: of one layer, [classes, blocks], shares of the images of a class.
        images: that it is from.
    """
    between = np.maximum(use.var(axis=0) - len(use) * chance_of(use, images), 0)
    return float(np.sqrt(between).mean())


def between_blocks(use: Use, images: int) -> float:
    """Standard deviation of block use between blocks beyond chance; see `between_classes`."""
    between = use.mean(axis=0).var() - chance_of(use, images).mean()
    return float(np.sqrt(max(0.0, between)))


def chance_of(use: Use, images: int) -> Use:
    """Variance of each block's use that drawing masks for so few images gives: [blocks]."""
    chance: Use = (use * (1 - use)).mean(axis=0) / images
    return chance


def judged_images(result: Mapping[str, Any]) -> int:
    """Test images behind a result's block use."""
    return next(int(e["num_images"]) for e in result["evaluations"] if e["split"] == "test")
