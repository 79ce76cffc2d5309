"""Annotations as checks: (what an argument is annotated with, a value) -> whether it fits."""

import contextlib
import functools
import inspect
import os
import types
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from ccenv.base.values import shown

LARGEST_INTEGER = 2**63 - 1
"""What torch and numpy can hold."""
Function = TypeVar("Function", bound=Callable[..., Any])


def marked(name: str) -> Callable[[Function], Function]:
    """Decorator of a method that others may know: `has_mark(method, name)`.

    A method of a subclass in its place has no mark, unless it is given one.

    >>> class Reward:
    ...     @marked("does_nothing")
    ...     def update(self): ...
    >>> has_mark(Reward.update, "does_nothing"), has_mark(Reward().update, "does_nothing")
    (True, True)
    """

    def mark(method: Function) -> Function:
        setattr(method, name, True)
        return method

    return mark


def has_mark(method: Any, name: str) -> bool:
    """Whether a function or a bound method is `marked`."""
    return getattr(method, name, False)


def checks_types(function: Function) -> Function:
    """Decorator of a public function: refuses arguments that do not fit its annotations.

    The error is a TypeError that names the argument. Numpy's numbers become Python's, and whole
    floats integers.

    >>> @checks_types
    ... def twice(number: int) -> int:
    ...     return 2 * number
    >>> twice(1e3)
    2000
    >>> twice("x")
    Traceback (most recent call last):
    TypeError: expected number to be int, got 'x' (str); see help(twice)
    """
    signature = inspect.signature(function)
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    single = {name for name, one in signature.parameters.items() if one.kind not in kinds}

    @functools.wraps(function)
    def checked(*positional: Any, **named: Any) -> Any:
        bound = None
        with contextlib.suppress(TypeError):
            bound = signature.bind(*positional, **named)
        if bound is None:
            # Python says best itself which argument is missing, or one too many.
            return function(*positional, **named)
        # Read at the first call: a module may name what it defines further down.
        hints = annotations_of(function)
        for name in single & bound.arguments.keys():
            value = bound.arguments[name]
            value = value.item() if isinstance(value, np.generic) else value
            bound.arguments[name] = fitted = as_whole(value, hints.get(name, Any))
            if not fits(fitted, hints.get(name, Any)):
                raise TypeError(
                    f"expected {name} to be {hint_in_words(hints[name])}, got {shown(value)} "
                    f"({type(value).__name__}); see help({function.__qualname__})"
                )
        return function(*bound.args, **bound.kwargs)

    return checked  # type: ignore[return-value]


def signature_of(function: Any, kind: str) -> inspect.Signature:
    """The signature of what a user gives as a setting; ValueError where Python can read none.

    >>> signature_of(int, "network")
    Traceback (most recent call last):
    ValueError: expected network as a function or class of yours, got <class 'int'>, whose \
arguments cannot be read; write a function that calls it
    """
    try:
        return inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"expected {kind} as a function or class of yours, got {shown(function)}, whose "
            "arguments cannot be read; write a function that calls it"
        ) from error


def with_fields_of(record: type) -> Callable[[Function], Function]:
    """Decorator of a function whose `**settings` are fields of a record: its signature names them.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Sizes:
    ...     width: int = 96
    >>> @with_fields_of(Sizes)
    ... def build(num_classes, **settings):
    ...     return Sizes(**settings)
    >>> str(inspect.signature(build)), build(10, width=8)
    ('(num_classes, *, width: int = 96)', Sizes(width=8))
    """
    fields = inspect.signature(record).parameters.values()

    def named(function: Function) -> Function:
        signature = inspect.signature(function)
        others = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        shown = signature.replace(parameters=[*others, *fields])
        function.__signature__ = shown  # type: ignore[attr-defined]
        return function

    return named


def as_whole(value: Any, hint: Any) -> Any:
    """A whole float as the integer that an annotation asks for; other values as they are."""
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_INTEGER
    return int(value) if is_whole and not fits(value, hint) else value


def annotations_of(function: Any) -> dict[str, Any]:
    """Annotations by name; those that only a type checker can read are left out."""
    # A callable object of a user's may have no hash.
    hashable = isinstance(function, Hashable)
    read = read_annotations if hashable else read_annotations.__wrapped__
    return dict(read(function))


@functools.lru_cache(maxsize=256)
def read_annotations(function: Any) -> dict[str, Any]:
    """The same, read once: every run of a study is checked against them."""
    hints: dict[str, Any] = {}
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    for name, hint in getattr(function, "__annotations__", {}).items():
        # One by one, because a single one that cannot be read would hide all others.
        with contextlib.suppress(NameError, TypeError):
            one = types.SimpleNamespace(__annotations__={name: hint})
            hints |= get_type_hints(one, scope)
    return hints


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
        is_listed = isinstance(value, list | tuple | range)
        return is_listed and all(fits(item, items[0]) for item in value)
    if origin in (Mapping, dict) or hint in (Mapping, dict):
        return isinstance(value, Mapping)
    if origin is Callable or hint is Callable:
        return callable(value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is Path:
        return isinstance(value, os.PathLike)
    if hint is None:
        return value is None
    kind = origin or hint
    return isinstance(value, kind) if isinstance(kind, type) else True


def hint_in_words(hint: Any) -> str:
    """A hint as a person reads it.

    >>> hint_in_words(int | Sequence[int])
    'int or Sequence[int]'
    """
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(hint_in_words(option) for option in get_args(hint))
    if hint is type(None):
        return "none"
    if isinstance(hint, type) and not get_args(hint):
        return hint.__name__
    return str(hint).replace("collections.abc.", "").replace("typing.", "")
