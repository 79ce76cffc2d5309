"""Degenerate policies named: (densities, block use by class) -> "always on", "uniform", ...

A policy can satisfy a reward shaping without using the image at all; a table of errors and costs
does not show that, these words do.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

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
    """Degenerate behaviour of one policy, "" if there is none.

    Args:
        result: its run's.
        density: share of blocks kept in each gated layer.
    """
    if all(value >= 1 - NEARLY for value in density):
        return "always on"
    if all(value <= NEARLY for value in density):
        return "always off"
    if not result.get("block_use"):
        return ""
    between_classes, between_blocks = spread_of_use(result)
    if between_classes > SLACK:
        return ""
    return "uniform" if between_blocks <= SLACK else "same for all classes"


def runs_fallen(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Word of `HABITS` -> number of runs, over all rows and their seeds.

    Args:
        rows: of a table, with their `habit` and `seeds`.
    """
    counts: dict[str, int] = {}
    for word in HABITS:
        for row in rows:
            for part in filter(None, row["habit"].split("; ")):
                name, _, told = part.partition(" (")
                if name == word:
                    number = int(told.split(" of ")[0]) if told else len(row["seeds"])
                    counts[word] = counts.get(word, 0) + number
    return counts


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
