"""What networks of symbols read: (shape of an input, symbols to read) -> checked numbers."""


def window_length(input_shape: tuple[int, ...], network: str) -> int:
    """Symbols of a window.

    Raises:
        ValueError: if inputs are no windows of symbols; it names the network.
    """
    if len(input_shape) != 1:
        raise ValueError(
            f"expected windows of symbols (length,) for {network!r}, got inputs "
            f"{tuple(input_shape)}"
        )
    return input_shape[0]


def check_context(context: int, num_tokens: int) -> None:
    """That a window has as many symbols as are to be read.

    Raises:
        ValueError: if it has fewer.
    """
    if context > num_tokens:
        raise ValueError(
            f"expected context to be at most the window's {num_tokens} symbols, got {context}"
        )
