"""What users give as settings: (a value of any type, its name) -> the value, or an error."""

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

MOST_SHOWN = 80
"""Characters of a value that a message repeats."""
LONGEST_LABEL = 200
"""Letters of a row's label, which tables and figures show whole."""
Sizes = int | Sequence[int]
"""One size for all layers, or one for each."""


def shown(value: Any) -> str:
    """A value as messages repeat it: its `repr` without line breaks, cut short where it is long.

    Of an array or tensor it is the kind, shape and dtype, of a module its class.

    >>> shown("mlp"), shown(range(5_000_000)), len(shown(5_000 * "x"))
    ("'mlp'", 'range(0, 5000000)', 102)
    >>> import numpy as np
    >>> shown(np.zeros((2, 3)))
    'ndarray [2, 3] of float64'
    """
    if not isinstance(value, type):
        if getattr(value, "ndim", 0) and not lacking(value, "shape", "dtype"):
            return f"{type(value).__name__} {list(value.shape)} of {value.dtype}"
        if not lacking(value, "named_modules", "forward"):
            return f"a module {type(value).__name__}"
    text = repr(value)
    return shortened(" ".join(text.split()) if "\n" in text else text)


def shortened(text: str) -> str:
    """A text that is cut short where it is long, such as another library's message."""
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}... ({len(text):,} characters)"


def check_printable(text: str, name: str, most: int | None = None) -> None:
    """Refuses a text with letters that command a terminal, or with more letters than `most`."""
    if not text.isprintable() or (most is not None and len(text) > most):
        limit = "" if most is None else f"at most {most} "
        raise ValueError(f"expected {name} of {limit}printable letters, got {shown(text)}")


def in_a_line(error: Exception) -> str:
    """An exception's message without line breaks."""
    return " ".join(str(error).split())


def lacking(value: Any, *names: str) -> list[str]:
    """Which of several attributes an object that comes from outside does not have.

    >>> lacking("abc", "upper", "shape")
    ['shape']
    """
    return [name for name in names if not hasattr(value, name)]


def positive_int(value: Any, name: str, least: int = 1) -> int:
    """One whole number of at least `least`; ValueError of anything else, such as an array."""
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or not least <= int(value) < 2**63:
        raise ValueError(
            f"expected {name} to be a whole number of at least {least}, got {shown(value)} "
            f"({type(value).__name__}); give {name} as an int"
        )
    return int(value)


def check_flag(value: Any, name: str) -> None:
    """Refuses what is neither True nor False (TypeError), such as an array, which has no truth."""
    if not isinstance(value, bool):
        raise TypeError(f"expected {name} as True or False, got {shown(value)}")


def as_settings(settings: Any, name: str) -> dict[str, Any]:
    """Keyword arguments as a dict, None as an empty one; ValueError of what maps no names."""
    if settings is None:
        return {}
    if not isinstance(settings, Mapping) or not all(isinstance(key, str) for key in settings):
        raise ValueError(
            f"expected {name} to be a mapping of names to values, got {shown(settings)} "
            f"({type(settings).__name__}); write {name}={{'name': value}}, or leave it out"
        )
    return dict(settings)


def positive_ints(values: Any, name: str, *, allow_none: bool = False) -> tuple[int, ...]:
    """Checks sizes, one or several, and returns them as a tuple.

    Raises:
        ValueError: if one is not an integer of at least 1, or there are none and some are needed.
    """
    # An array of no dimensions calls itself iterable.
    many = isinstance(values, Iterable) and not isinstance(values, str | bytes | Mapping)
    many = many and getattr(values, "ndim", 1) > 0
    sizes = tuple(values) if many else (values,)
    whole = all(isinstance(v, Integral) and not isinstance(v, bool) and int(v) > 0 for v in sizes)
    if not whole or not (sizes or allow_none):
        raise ValueError(
            f"expected {name} to be whole numbers of at least 1, got {shown(values)}; "
            "give an int or a list of ints"
        )
    return tuple(int(v) for v in sizes)


def check_within(interval: str, **numbers: Any) -> None:
    """Refuses what is no number in an interval, by its name.

    >>> check_within("(0, 1]", share=0)
    Traceback (most recent call last):
    ValueError: expected share in (0, 1], got 0
    """
    low, high = map(float, interval[1:-1].split(","))
    outside = [low] * (interval[0] == "(") + [high] * (interval[-1] == ")")
    for name, value in numbers.items():
        if not isinstance(value, Real) or not low <= float(value) <= high or value in outside:
            raise ValueError(f"expected {name} in {interval}, got {shown(value)}")


def check_at_least_zero(**numbers: Any) -> None:
    """Refuses what is no finite number of at least 0, by its name."""
    for name, value in numbers.items():
        if not isinstance(value, Real) or not math.isfinite(value) or value < 0:
            raise ValueError(
                f"expected {name} to be a finite number of at least 0, got {shown(value)}"
            )
