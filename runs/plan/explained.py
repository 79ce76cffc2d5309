"""Meaning of settings: the Args section of a docstring -> name -> one line, for --help."""

import inspect
import itertools
import re
from typing import Any

ARGUMENT = re.compile(r" {4}\*{0,2}(\w+): (.*)")
ELSEWHERE = "see `"
"""A text that begins so sends the reader to the class above."""


def explained(function: Any) -> dict[str, str]:
    """What a docstring says of each argument, its lines joined.

    >>> explained(explained_of_class)["found"]
    'the class.'
    """
    lines = itertools.dropwhile(
        lambda line: line != "Args:", (inspect.getdoc(function) or "").splitlines()
    )
    texts: dict[str, str] = {}
    name = ""
    for line in itertools.islice(lines, 1, None):
        if line and not line.startswith(" "):
            break
        if match := ARGUMENT.fullmatch(line):
            name, texts[match[1]] = match[1], match[2]
        elif line:
            texts[name] = f"{texts[name]} {line.strip()}"
    return texts


def explained_of_class(found: type) -> dict[str, str]:
    """What the constructors of a class and of those above it say of each argument.

    Args:
        found: the class.
    """
    texts: dict[str, str] = {}
    for owner in found.__mro__:
        for name, text in explained(vars(owner).get("__init__")).items():
            if texts.get(name, ELSEWHERE).startswith(ELSEWHERE):
                texts[name] = text
    return texts
