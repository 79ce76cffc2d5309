"""One training under several seeds: rows of finished runs -> the same rows, copies refused.

Two seeds begin with other weights and see other inputs in another order. On the digits three seeds
of each of 15 agents end 1.2 to 5 times as far apart as training moved them (16,384 inputs), and of
one that begins with the same weights for every seed 0.5 to 1.3 times (256 to 65,536 inputs). A copy
with a little noise is a few per cent of that way from what it was copied from.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ccenv.runs.replay.verdict import Checked

MOST_NEAR = 0.05
"""Of the way that training moved the numbers; what is further apart is the author's word."""
Training = tuple[Mapping[str, Tensor], Mapping[str, Tensor]]
"""Tensors before training, and after it."""


def refuse_copies(verdicts: Sequence[Checked]) -> list[Checked]:
    """Adds to rows of different seeds that what they learned is one training."""
    runs = {verdict.folder: verdict for verdict in verdicts if verdict.training}
    problems: dict[str, dict[str, None]] = {verdict.folder: {} for verdict in verdicts}
    for one, other in itertools.combinations(runs.values(), 2):
        if one.seed == other.seed:
            continue
        for name in sorted(one.training.keys() & other.training.keys()):
            share = share_apart(one.training[name], other.training[name])
            if share < MOST_NEAR:
                seeds = f"{name} of seeds {one.seed} and {other.seed}"
                problem = (
                    f"one training under several seeds: {seeds} are {100 * share:.2g} % of the way "
                    "apart that training moved them"
                )
                problems[one.folder][problem] = problems[other.folder][problem] = None
    return [
        dataclasses.replace(one, problems=(*one.problems, *problems[one.folder]))
        for one in verdicts
    ]


def share_apart(one: Training, other: Training) -> float:
    """How far the ends of two trainings are apart, as a share of the way that training moved them.

    Tensors that begin differently tell, and where there is none, matrices: vectors that all seeds
    begin with may end together, as means of inputs do. Infinite where there is none of them.
    """
    (begun, ends), (others_begun, others_ends) = one, other
    if ends.keys() == others_ends.keys() and all(
        torch.equal(ends[name], others_ends[name]) for name in ends
    ):
        return 0.0
    alike = [
        name
        for name in begun.keys() & others_begun.keys()
        if begun[name].is_floating_point() and begun[name].shape == others_begun[name].shape
    ]
    names = [name for name in alike if not torch.equal(begun[name], others_begun[name])]
    names = names or [name for name in alike if begun[name].ndim > 1]
    moved = max(way(names, begun, ends), way(names, others_begun, others_ends))
    return way(names, ends, others_ends) / moved if moved else math.inf


def way(names: Iterable[str], one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Euclidean distance of some tensors."""
    ways = [float((other[name].double() - one[name].double()).norm()) for name in names]
    return math.hypot(*ways)
