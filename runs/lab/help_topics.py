"""Python's help texts as windows of SmolLM2's tokens: the name of a split -> windows and labels."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ccenv.annexes.networks.pretrained.packages import needed
from ccenv.annexes.networks.pretrained.smollm import SMOLLM2_135M, gguf_reader
from ccenv.base.registry import check_names
from ccenv.data import SPLITS, Split


def tokenizer() -> Any:
    """SmolLM2's tokeniser from the same file: a `tokenizers.Tokenizer`."""
    fields = gguf_reader().fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"].contents()]
    kinds = fields["tokenizer.ggml.token_type"].contents()
    library = needed("tokenizers")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    made = library.Tokenizer(library.models.BPE(vocabulary, merges))
    before = library.pre_tokenizers
    # The file calls this "smollm": digits alone, then GPT-2's words.
    made.pre_tokenizer = before.Sequence(
        [before.Digits(individual_digits=True), before.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = library.decoders.ByteLevel()
    control = 3
    made.add_special_tokens([t for t, kind in zip(tokens, kinds, strict=True) if kind == control])
    return made


def windows(texts: Sequence[Tensor], length: int) -> tuple[Tensor, Tensor]:
    """Cuts texts into inputs and labels: each window's label is the token behind it.

    No window spans two texts, no token is in two of them; a text that is too short is left out.

    Args:
        texts: int64 [n] each.
        length: tokens of a window.

    Returns:
        Windows int64 [m, length] and labels int64 [m].

    >>> windows([torch.arange(5)], length=2)
    (tensor([[0, 1],
            [2, 3]]), tensor([2, 4]))
    """
    longest = max(map(len, texts), default=0)
    if not 1 <= length < longest:
        raise ValueError(
            f"expected length={length} >= 1 below that of the longest text, "
            f"{longest} tokens; choose shorter windows"
        )
    long = [text for text in texts if len(text) > length]
    inputs = torch.cat([text[:-1].unfold(0, length, length) for text in long])
    return inputs, torch.cat([text[length::length] for text in long])


PARTS = ("test", "train", "train", "train", "validation")
"""Which split every fifth topic belongs to, in alphabetical order."""


def python_topics(split: str, length: int = 64) -> Split:
    """Windows of the topics that Python's `help` explains, and the token behind each window.

    The text is `pydoc_data.topics` of the Python that runs, so it differs a little between versions
    (3.11: 113 thousand tokens in 79 topics). Topics are whole in one split, and no window spans two
    of them; one that is too short for a window is left out.

    Args:
        split: "train", "validation" or "test".
        length: tokens of a window.

    Returns:
        int64 [n, length] and labels int64 [n]; as many classes as the tokeniser has tokens.

    Raises:
        ImportError: if the tokeniser's package or its reader is not installed.
        ValueError: if the split is unknown or no topic has such a window.
    """
    check_names([split], SPLITS, "split")
    texts = topics(split)
    encoded = tokenizer().encode_batch(texts)
    tokens = [torch.tensor(one.ids, dtype=torch.int64) for one in encoded]
    inputs, labels = windows(tokens, length)
    return Split(inputs, labels, SMOLLM2_135M.vocabulary)


def topics(split: str) -> list[str]:
    """Texts of a split's topics, in alphabetical order of their names."""
    # Half a megabyte of text, which nobody else needs.
    from pydoc_data.topics import topics as all_topics

    names = sorted(all_topics)
    return [all_topics[n] for i, n in enumerate(names) if PARTS[i % len(PARTS)] == split]
