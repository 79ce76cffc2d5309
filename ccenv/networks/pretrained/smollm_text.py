"""Python's help texts for SmolLM2: a split's name -> windows of token ids and the next token."""

import torch
from torch import Tensor

from ccenv.base.registry import check_names
from ccenv.data import SPLITS, Split
from ccenv.networks.pretrained.smollm import SMOLLM2_135M
from ccenv.networks.pretrained.smollm_file import tokenizer, windows

PARTS = ("test", "train", "train", "train", "validation")
"""Which split every fifth topic belongs to, in alphabetical order."""


def python_topics(split: str, length: int = 64, step: int | None = None) -> Split:
    """Windows of the topics that Python's `help` explains, and the token behind each window.

    The text is `pydoc_data.topics` of the Python that runs, so it differs a little between versions
    (3.11: 113 thousand tokens in 79 topics). Topics are whole in one split, and no window spans two
    of them; one that is too short for a window is left out.

    Args:
        split: "train", "validation" or "test".
        length: tokens of a window.
        step: tokens from one window to the next; None: `length`, so that none is in two of them.

    Returns:
        int64 [n, length] and labels int64 [n]; as many classes as the tokeniser has tokens.

    Raises:
        ImportError: if the tokeniser's package or its reader is not installed.
        ValueError: if the split is unknown or no topic has such a window.
    """
    check_names([split], SPLITS, "split")
    texts = topics(split)
    found = tokenizer().encode_batch(texts)
    tokens = [torch.tensor(one.ids, dtype=torch.int64) for one in found]
    inputs, labels = all_windows(tokens, length, length if step is None else step)
    return Split(inputs, labels, SMOLLM2_135M.vocabulary)


def topics(split: str) -> list[str]:
    """Texts of a split's topics, in alphabetical order of their names."""
    # Half a megabyte of text, which nobody else needs.
    from pydoc_data.topics import topics as all_topics

    names = sorted(all_topics)
    return [all_topics[n] for i, n in enumerate(names) if PARTS[i % len(PARTS)] == split]


def all_windows(texts: list[Tensor], length: int, step: int) -> tuple[Tensor, Tensor]:
    """Windows of several texts one after the other; see `windows`.

    Raises:
        ValueError: if no text has a window and a token behind it.

    >>> all_windows([torch.arange(5), torch.arange(2), torch.arange(9, 13)], length=3, step=3)
    (tensor([[ 0,  1,  2],
            [ 9, 10, 11]]), tensor([ 3, 12]))
    """
    cut = [windows(text, length, step) for text in texts if len(text) > length]
    if not cut:
        longest = max(map(len, texts), default=0)
        raise ValueError(
            f"expected length={length} below that of the longest text, {longest} tokens; "
            "choose shorter windows"
        )
    return torch.cat([inputs for inputs, _ in cut]), torch.cat([labels for _, labels in cut])
