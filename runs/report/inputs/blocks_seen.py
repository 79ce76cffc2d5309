"""A run's masks of many inputs -> what each block sees: the mean of the inputs it is computed for.

A block that is computed for all inputs sees what the data set looks like on average; one that a
policy saves for some shows which. Classes are named where it is computed for them most often.
"""

from typing import Any

import numpy as np
from torch import Tensor

from ccenv.envs.rendering import as_words, is_symbols, small_png_uri
from ccenv.runs.replay.rebuilt import Walked

MOST_BLOCKS = 160
"""Blocks of a network whose pictures a page carries."""
SIDE = 32
"""Pixels of a picture's longer side."""
MOST_NAMED = 3
"""Classes, or last symbols of a text, that are named."""


def blocks_seen(walked: Walked, letters: np.ndarray | None = None) -> list[list[dict[str, Any]]]:
    """For each gate and block its share of inputs, classes, and picture or last symbols.

    Returns:
        Nothing where the network has more blocks than a page holds.
    """
    if sum(mask.shape[1] for mask in walked.masks) > MOST_BLOCKS:
        return []
    return [[seen_by(walked, kept, letters) for kept in mask.T] for mask in walked.masks]


def seen_by(walked: Walked, kept: Tensor, letters: np.ndarray | None) -> dict[str, Any]:
    """What one block sees.

    Args:
        walked: inputs and labels.
        kept: [n] bool, inputs for which it is computed.
        letters: of symbols.
    """
    share = float(f"{kept.double().mean().item():.3g}")
    inputs, kept = walked.inputs.cpu(), kept.cpu()
    if not kept.any():
        return {"share": share, "classes": []}
    if is_symbols(inputs[0].numpy()):
        last = [np.array([symbol]) for symbol in favoured_symbols(inputs[:, -1], kept)]
        return {"share": share, "classes": [], "text": [as_words(one, letters) for one in last]}
    chosen = inputs[kept]
    picture = small_png_uri(chosen.float().mean(dim=0).numpy(), SIDE)
    return {"share": share, "classes": favoured(walked.labels, kept), "picture": picture}


def favoured_symbols(last: Tensor, kept: Tensor) -> list[int]:
    """Symbols behind which a block is computed more often than by chance, by how many times.

    >>> import torch
    >>> favoured_symbols(torch.tensor([7, 7, 7, 5, 5, 5]), torch.tensor([1, 1, 1, 1, 0, 0]).bool())
    [7]
    """
    counts, own = last.bincount(), last[kept].bincount(minlength=int(last.max()) + 1)
    more = own - kept.double().mean() * counts
    order = more.argsort(descending=True, stable=True)[:MOST_NAMED].tolist()
    return [symbol for symbol in order if more[symbol] > 0]


def favoured(labels: Tensor, kept: Tensor) -> list[int]:
    """Classes for which a block is computed more often than for others, the most favoured first.

    >>> import torch
    >>> favoured(torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([1, 1, 1, 0, 0, 0]).bool())
    [0]
    """
    labels, kept = labels.cpu(), kept.cpu()
    counts = labels.bincount()
    rates = labels[kept].bincount(minlength=len(counts)) / counts.clamp(min=1)
    mean = kept.double().mean().item()
    order = rates.argsort(descending=True, stable=True)[:MOST_NAMED].tolist()
    return [c for c in order if rates[c] > mean + 1e-6 and rates[c] > 0.5]
