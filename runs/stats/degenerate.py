"""Warns of policies that a table of errors and costs does not tell from good ones.

Degenerate policies satisfy a reward shaping without using the input at all: (densities, block use
by class) -> "always on", "uniform", ... And sampled and greedy masks of one policy may differ in
error: (two errors) -> a sentence, or "".
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Use = NDArray[np.float64]

NEARLY = 0.02
"""A density so near to 0 or 1 counts as such."""
SLACK = 0.02
"""Standard deviation of block use between classes, or blocks, that is no difference."""
LEAST_GAP = 0.02
"""Smaller differences of two error rates are not worth a warning, however many inputs there are."""
STANDARD_ERRORS = 2
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
    (images, *_) = (int(e["num_images"]) for e in result["evaluations"] if e["split"] == "test")
    layers = [np.asarray(layer, dtype=np.float64) / 100 for layer in result["block_use"]]
    # Asked one layer after the other: most policies are known by their first.
    if any(between_classes(use, images) > SLACK for use in layers):
        return ""
    is_even = all(between_blocks(use, images) <= SLACK for use in layers)
    return "uniform" if is_even else "same for all classes"


def runs_fallen(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Word of `HABITS` -> number of runs, over all rows and their seeds."""
    counts: Counter[str] = Counter()
    for row in rows:
        for part in filter(None, row["habit"].split("; ")):
            name, _, of_seeds = part.partition(" (")
            counts[name] += int(of_seeds.split(" of ")[0]) if of_seeds else len(row["seeds"])
    return {word: counts[word] for word in HABITS if counts[word]}


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
    return np.asarray((use * (1 - use)).mean(axis=0) / images)


def mask_gap(sampled: float, greedy: float, num_inputs: int, split: str = "test") -> str:
    """A warning where masks of one kind have many more errors than those of the other.

    Args:
        sampled: error rate with sampled masks, in [0, 1].
        greedy: error rate with greedy (most probable) masks, in [0, 1].
        num_inputs: that both are from.
        split: which inputs.

    Returns:
        "" unless the errors differ by at least `LEAST_GAP` and by more than `STANDARD_ERRORS` of
        the difference of two shares of so many inputs. The inputs are the same for both, so that
        standard error is an upper bound where answers agree.

    >>> mask_gap(0.06, 0.07, 10_000)
    ''
    >>> mask_gap(0.06, 0.36, 500).partition(":")[0]
    'greedy masks have 36.0 % error, sampled masks 6.0 %, on 500 test inputs'
    """
    variance = (sampled * (1 - sampled) + greedy * (1 - greedy)) / num_inputs
    if abs(greedy - sampled) < max(LEAST_GAP, STANDARD_ERRORS * math.sqrt(variance)):
        return ""
    errors = {"greedy": greedy, "sampled": sampled}
    worse, better = sorted(errors, key=lambda kind: -errors[kind])
    is_greedy, draw = better == "greedy", {"greedy": "mode", "sampled": "sampled"}[better]
    return (
        f"{worse} masks have {100 * errors[worse]:.1f} % error, {better} masks "
        f"{100 * errors[better]:.1f} %, on {num_inputs:,} {split} inputs: take {better} masks "
        f"(deterministic={is_greedy}; draw={draw!r} of an exported classifier) or train longer"
    )


def mask_gap_of(result: Mapping[str, Any]) -> str:
    """The same of a run's result; "" of rules, whose masks training does not change."""
    sampled, greedy = result["evaluations"][:2]
    if not result["learns"]:
        return ""
    return mask_gap(sampled["error"], greedy["error"], sampled["num_images"])
