"""Settings to annotated types: (name, value, type hint) -> the value, or an error that helps."""

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin


def coerce(name: str, value: Any, hint: Any) -> Any:
    """Checks a setting's value; whole floats become integers, and one number a sequence of one.

    Args:
        name: of the setting, for the error.
        value: what was given.
        hint: what the setting is annotated with.

    Raises:
        ValueError: if the value does not fit.

    >>> coerce("num_blocks", 16, Sequence[int])
    (16,)
    >>> coerce("images", 1e5, int)
    100000
    """
    value = tuple(value) if isinstance(value, list) else value
    candidates = [value]
    if isinstance(value, float) and value.is_integer():
        candidates.append(int(value))
    candidates.append((candidates[-1],))
    for candidate in candidates:
        if fits(candidate, hint):
            return candidate
    raise ValueError(f"expected {name} to be {describe(hint)}, got {value!r}")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value has an annotated type; what the annotation's dialect hides is let through."""
    if hint is Any:
        return True
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, option) for option in arguments)
    if origin is Literal:
        return value in arguments
    if origin in (Sequence, list, tuple):
        items = arguments[:1] or (Any,)
        return isinstance(value, list | tuple) and all(fits(item, items[0]) for item in value)
    if origin in (Mapping, dict) or hint in (Mapping, dict):
        return isinstance(value, Mapping)
    if origin is Callable or hint is Callable:
        return callable(value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is None:
        return value is None
    return isinstance(value, hint) if isinstance(hint, type) else True


def describe(hint: Any) -> str:
    """A hint as a person reads it.

    >>> describe(int | Sequence[int])
    'int or Sequence[int]'
    """
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(describe(option) for option in get_args(hint))
    if hint is type(None):
        return "none"
    if isinstance(hint, type) and not get_args(hint):
        return hint.__name__
    return str(hint).replace("collections.abc.", "").replace("typing.", "")
