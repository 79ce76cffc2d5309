"""Words of files, commands and tables for kinds of masks <-> `deterministic`.

Inside the code there is one switch: True greedy masks, False sampled ones. None asks for those that
an agent is for; of masks that were executed it says that a function gave them, as they are. No
other module compares words.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar

from ccenv.base.registry import check_names

BOTH = (False, True)
"""Sampled and greedy masks, in the order of files."""
EXECUTED = {False: "sampled", True: "mode", None: "given"}
"""`deterministic` of executed masks -> the word in files."""
BOTH_WORDS = tuple(EXECUTED[deterministic] for deterministic in BOTH)
"""The words of both in files."""
ASKED = EXECUTED | {None: "own"}
"""The same of masks that are asked for."""
SHOWN = {
    "sampled": "sampled",
    "mode": "greedy",
    "given": "as given",
    "own": "each agent's own",
}
"""Word in files -> in tables and sentences."""
Made = TypeVar("Made", bound=Callable[..., Any])


def in_files(deterministic: bool | None, of: Literal["executed", "asked"] = "executed") -> str:
    """The word that files have.

    >>> in_files(True), in_files(False), in_files(None), in_files(None, "asked")
    ('mode', 'sampled', 'given', 'own')
    """
    return (ASKED if of == "asked" else EXECUTED)[deterministic]


def kind_in_words(deterministic: bool | None, of: Literal["executed", "asked"] = "executed") -> str:
    """The word that tables and sentences have.

    >>> kind_in_words(True), kind_in_words(None), kind_in_words(None, "asked")
    ('greedy', 'as given', "each agent's own")
    """
    return SHOWN[in_files(deterministic, of)]


WORDS = {word: value for words in (EXECUTED, ASKED) for value, word in words.items()}
WORDS |= {"greedy": True}
"""Word of files or commands -> `deterministic`."""
EITHER = tuple(word for word, value in WORDS.items() if value is not None)
"""What `--masks` takes, and what says how masks are chosen: the words of one of both kinds."""


def deterministic_of(word: str, allowed: Iterable[str] = WORDS) -> bool | None:
    """What a word says.

    Raises:
        ValueError: if it is none of those that are allowed.

    >>> deterministic_of("mode"), deterministic_of("greedy"), deterministic_of("sampled")
    (True, True, False)
    """
    check_names([word], allowed, "kind of masks")
    return WORDS[word]


def takes_draw(function: Made) -> Made:
    """Lets a function with the keyword `deterministic` take the earlier `draw="greedy"` too."""

    @functools.wraps(function)
    def called(*args: Any, **settings: Any) -> Any:
        if "draw" in settings:
            if "deterministic" in settings:
                raise TypeError("expected deterministic or the earlier draw, got both; leave draw")
            settings["deterministic"] = settings.pop("draw")
        if isinstance(word := settings.get("deterministic"), str):
            settings["deterministic"] = deterministic_of(word, EITHER)
        return function(*args, **settings)

    return called  # type: ignore[return-value]
