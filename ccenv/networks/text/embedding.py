"""The network `bytes`: (length of a window, number of symbols) -> a predictor of the next symbol.

Of what was tried, the task where choosing blocks pays most.
"""

from collections.abc import Sequence

from ccenv.base.registry import check_names
from ccenv.networks.core.mlp import Sizes
from ccenv.networks.text.hashed_rows import HashedRows
from ccenv.networks.text.lookup_tables import TabledMLP, table_names
from ccenv.networks.text.tokens import TokenMLP, check_context, window_length

STEMS = ("embeddings", "hashed")


def next_byte(
    input_shape: tuple[int, ...] = (24,),
    num_classes: int = 128,
    num_symbols: int | None = None,
    embedding_size: int = 8,
    num_blocks: Sizes = (32,),
    block_size: Sizes = 16,
    look_tokens: int = 4,
    tables: Sequence[str] | str = (),
    context: int | None = None,
    stem: str = "embeddings",
    num_rows: int = 14_100,
    order: int = 6,
) -> TokenMLP:
    """Predicts the next symbol of a text: embeddings, gated hidden layers, logits.

    Args:
        input_shape: (symbols of a window,).
        num_classes: columns of the logits.
        num_symbols: different symbols; None for as many as there are classes.
        embedding_size: numbers that stand for a symbol.
        num_blocks: blocks of each gated layer.
        block_size: units of a block, one for all gated layers or one for each.
        look_tokens: how many of the last symbols the first gate's look shows.
        tables: what is looked up beside, see `ccenv.networks.text.lookup_tables`: "hidden",
            "logits" and "pairs"; none by default.
        context: how many of the last symbols the layers read; None for the whole window.
        stem: what the layers read: "embeddings" side by side, or "hashed": rows of `embedding_size`
            numbers of the last n-grams, added up, see `ccenv.networks.text.hashed_rows`.
        num_rows: rows that n-grams share, of a hashed stem.
        order: the longest n-gram, of a hashed stem.

    Raises:
        ValueError: if inputs are no windows of symbols, or a size is impossible.
    """
    num_tokens = window_length(input_shape, "bytes")
    symbols = num_classes if num_symbols is None else num_symbols
    check_names([stem], STEMS, "stem")
    hashed = None
    if stem == "hashed":
        read = num_tokens if context is None else context
        check_context(read, num_tokens)
        hashed = HashedRows(symbols, embedding_size, read, order, num_rows)
    sizes = (
        num_tokens,
        symbols,
        num_classes,
        embedding_size,
        num_blocks,
        block_size,
        look_tokens,
        context,
        hashed,
    )
    names = table_names(tables)
    return TabledMLP(*sizes, tables=names) if names else TokenMLP(*sizes)
