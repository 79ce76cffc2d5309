"""Odd words and values, the material of fuzzing; as hypothesis strategies, imported on use."""

from typing import Any

NOTHING = ["", " ", "None", "[]", "()", "{}", "[],"]
NUMBERS = ["-1", "0", "1", "3", "0.5", "1e400", "-1e308", "nan", "inf", "1e-320", "9" * 30]
NESTED = ["[1]", "[[1]]", "1,2,3", "-1,4", "4,4", "4,4.0", "0,0", "(1,'a')", "{1:2}", "{'a':1}"]
NO_VALUES = ["{1}", "b'x'", "1j", "()()", "{[]:1}", "-" * 9000 + "1", "[" * 300 + "]" * 300]
TEXTS = ["x", "true", "é", "\ud800", "\x00", "a" * 300, "../x", "%s%n", "{x}", "meta", "cuda:99"]
NAMES = ["math:pi", "os:getcwd", "torch:nn", "builtins:int", ":", "x:", "nowhere:x", "ccenv:make"]
ODD_WORDS = [*NOTHING, *NUMBERS, *NESTED, *NO_VALUES, *TEXTS, *NAMES]
"""Values as they are typed."""
SCALARS: list[Any] = [None, True, -1, 0, 1, 2, 3, 0.5, -0.5, 1e308, 9**30, 2**63, 1j]
STRANGE: list[Any] = [float("nan"), float("inf"), object(), b"x", {1}, {1: 2}, [[1]], ("a",)]
STRINGS = ["", "x", "é", "\x00", "math:pi", "nowhere:x", ":"]
LISTS: list[Any] = [[], [1], [0.5], (4, 4), (0, 0), (-1, 4), (4, 4.0), (4,), (8, 8, 8)]
SETTINGS: list[Any] = [{}, {"a": 1}, {"cost_weight": 0.1}, {"depth": 8}, {"units": (2, 2)}]
ODD_VALUES = [*SCALARS, *STRANGE, *STRINGS, *LISTS, *SETTINGS]
"""Values as a program gives them."""


def strategies() -> Any:
    """The library's module of strategies."""
    try:
        import hypothesis.strategies
    except ImportError as error:
        raise ValueError(
            "expected hypothesis to be installed, got none: pip install hypothesis"
        ) from error
    return hypothesis.strategies
