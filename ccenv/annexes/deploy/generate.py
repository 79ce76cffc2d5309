"""Writes text by an exported predictor: (classifier, first symbols) -> symbols that it says follow.

Each symbol is drawn from the predictor's own probabilities, under masks that its policy chooses:
something to look at, and nothing to compare by.

A predictor of windows of fixed length sees the last symbols, and computes every window again. One
of sequences, which knows missing symbols, sees all symbols that its window holds; when the window
is full, it goes on from the later half of it. If it continues (`Continues`), one
position is computed for a symbol, and a window again only when it slides. The cache holds keys and
values under the masks that were executed, which are the greedy ones if no masks are drawn: then the
text is the same as without a cache.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ccenv.annexes.deploy.export import SkippingClassifier


@dataclass(frozen=True)
class GeneratedText:
    """What a predictor wrote."""

    symbols: list[int]
    """the new ones."""
    density: float
    """share of blocks that were computed for them."""
    seconds: float
    """that it took."""


@torch.no_grad()
def write(
    classifier: SkippingClassifier,
    start: Sequence[int],
    length: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    *,
    cached: bool = True,
) -> GeneratedText:
    """Writes symbol by symbol.

    Args:
        classifier: of windows of symbols, which are its classes too.
        start: symbols before the first new one, `least_start` or more.
        length: how many to write, at least 1.
        generator: draws the symbols, and the masks where the policy draws them.
        temperature: logits are divided by it; 0 takes the most probable symbol.
        cached: whether to go on from what earlier positions have left.

    Raises:
        ValueError: if it reads no windows, or a number is impossible.
    """
    network, is_sequence = classifier.network, reads_sequences(classifier)
    same = network.num_symbols == network.num_classes + is_sequence
    if not (classifier.prepare.are_symbols and same):
        raise ValueError(
            "expected a predictor of symbols from windows of the same symbols, such as network "
            f"'bytes', got one of inputs {classifier.image_shape}"
        )
    if len(start) < least_start(classifier):
        raise ValueError(
            f"expected a start of {least_start(classifier)} symbols at least, got {len(start)}"
        )
    if length < 1 or not 0 <= temperature < float("inf"):
        raise ValueError(
            "expected a length of at least 1 and a temperature of at least 0, got "
            f"{length} and {temperature}"
        )
    (window,), missing = classifier.image_shape, network.num_classes
    text, kept, blocks = list(start), 0, 0
    first = max(0, len(text) - window)
    greedy = classifier.deterministic
    masks_by = None if greedy else generator
    cache: Any = None
    begin = time.perf_counter()
    for _ in range(length):
        if len(text) - first > window:
            # A window of another length than the full one has its places at other symbols.
            first = len(text) - (max(1, window // 2) if is_sequence else window)
        seen = torch.tensor([[missing] * (window - len(text) + first) + text[first:]])
        if cached:
            logits, masks, cache = classifier.classify_next(seen, cache, masks_by)
        else:
            logits, masks = classifier.classify(
                seen, masks_by, deterministic=classifier.deterministic
            )
        text.append(drawn_symbol(logits[0], generator, temperature))
        kept += sum(int(mask.sum()) for mask in masks)
        blocks += sum(mask.numel() for mask in masks)
    seconds = time.perf_counter() - begin
    return GeneratedText(text[len(start) :], kept / blocks, seconds)


def drawn_symbol(logits: Tensor, generator: torch.Generator, temperature: float) -> int:
    """A symbol: float [num_symbols] -> its number."""
    if not temperature:
        return int(logits.argmax())
    chances = (logits.double() / temperature).softmax(dim=0)
    return int(torch.multinomial(chances, 1, generator=generator))


def reads_sequences(classifier: SkippingClassifier) -> bool:
    """Whether it knows a symbol more, for what is missing before a sequence."""
    return classifier.network.num_symbols == classifier.network.num_classes + 1


def least_start(classifier: SkippingClassifier) -> int:
    """How many symbols there must be before the first new one."""
    return 1 if reads_sequences(classifier) else classifier.image_shape[0]
