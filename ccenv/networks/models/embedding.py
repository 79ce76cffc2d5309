"""The network `bytes`: (length of a window, number of symbols) -> a predictor of the next symbol.

Of what was tried, the task where choosing blocks pays most.
"""

from collections.abc import Sequence

from ccenv.networks.mlp import Sizes
from ccenv.networks.models.look_ups import TabledMLP, table_names
from ccenv.networks.models.tokens import TokenMLP
from ccenv.networks.models.windows import window_length


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
        tables: what is looked up beside, see `ccenv.networks.models.look_ups`: "hidden", "logits"
            and "pairs"; none by default.
        context: how many of the last symbols the layers read; None for the whole window.

    Raises:
        ValueError: if inputs are no windows of symbols, or a size is impossible.
    """
    sizes = (
        window_length(input_shape, "bytes"),
        num_classes if num_symbols is None else num_symbols,
        num_classes,
        embedding_size,
        num_blocks,
        block_size,
        look_tokens,
        context,
    )
    names = table_names(tables)
    return TabledMLP(*sizes, tables=names) if names else TokenMLP(*sizes)
