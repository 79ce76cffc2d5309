"""Text by an exported predictor: (classifier, its first symbols) -> symbols that it says come next.

Each symbol is drawn from the predictor's own probabilities, under masks that its policy chooses for
the window before it: something to look at, and nothing to compare by.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ccenv.base.masks import as_mask
from ccenv.deploy.export import SkippingClassifier
from ccenv.deploy.export_content import is_drawn


@dataclass(frozen=True)
class Written:
    """What a predictor wrote."""

    symbols: list[int]
    """the new ones."""
    density: float
    """share of blocks that were computed for them."""


@torch.no_grad()
def write(
    classifier: SkippingClassifier,
    start: Sequence[int],
    length: int,
    generator: torch.Generator,
    temperature: float = 1.0,
) -> Written:
    """Writes symbol by symbol.

    Args:
        classifier: of windows of symbols, which are its classes too.
        start: symbols before the first new one, as many as a window at least.
        length: how many to write, at least 1.
        generator: draws the symbols, and the masks where the policy draws them.
        temperature: logits are divided by it; 0 takes the most probable symbol.

    Raises:
        ValueError: if it reads no windows, or a number is impossible.
    """
    check_written(classifier, start, length, temperature)
    (window,) = classifier.image_shape
    text, kept, blocks = list(start), 0, 0
    masks_by = generator if is_drawn(classifier.draw) else None
    for _ in range(length):
        seen = torch.tensor([text[-window:]])
        logits, masks = classifier.classify(seen, masks_by, draw=classifier.draw)
        text.append(drawn(logits[0], generator, temperature))
        for mask, gate in zip(masks, classifier.network.gates, strict=True):
            kept += int(as_mask(mask, gate.num_blocks).sum())
            blocks += gate.num_blocks
    return Written(text[len(start) :], kept / blocks)


def drawn(logits: Tensor, generator: torch.Generator, temperature: float) -> int:
    """A symbol: float [num_symbols] -> its number."""
    if not temperature:
        return int(logits.argmax())
    chances = (logits.double() / temperature).softmax(dim=0)
    return int(torch.multinomial(chances, 1, generator=generator))


def check_written(
    classifier: SkippingClassifier, start: Sequence[int], length: int, temperature: float
) -> None:
    """Refuses what cannot be written."""
    network = classifier.network
    # A sequence has one symbol more, for what is missing before it.
    more = (network.num_symbols or 0) - network.num_classes
    if not classifier.prepare.are_symbols or more not in (0, 1):
        raise ValueError(
            "expected a predictor of symbols from windows of the same symbols, such as network "
            f"'bytes', got one of inputs {classifier.image_shape}"
        )
    if len(start) < classifier.image_shape[0]:
        raise ValueError(
            f"expected a start of {classifier.image_shape[0]} symbols at least, got {len(start)}"
        )
    if length < 1 or not 0 <= temperature < float("inf"):
        raise ValueError(
            "expected a length of at least 1 and a temperature of at least 0, got "
            f"{length} and {temperature}"
        )
