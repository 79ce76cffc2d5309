"""Values of settings: read from text, checked against types, made fit for JSON."""

import ast
import inspect
import json
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from ccenv.base.annotations import LARGEST_INTEGER, as_whole, fits, hint_in_words
from ccenv.base.given_files import check_content
from ccenv.base.trust import leaves_of
from ccenv.base.values import check_printable, shown

WORDS = {"true": True, "false": False, "none": None}


def parse_value(text: str) -> Any:
    """Reads a value of the command line: a Python literal, true, false, none, or a string.

    >>> [parse_value(text) for text in ("10,10", "0.5", "true", "my_module:my_reward")]
    [(10, 10), 0.5, True, 'my_module:my_reward']
    """
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    try:
        # A backslash that means nothing is the user's: Python would warn of it.
        with warnings.catch_warnings(action="ignore"):
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        # Python's parser has limits of its own: `{[]:1}` is a TypeError, 9,000 signs a MemoryError.
        return text


def parse_pairs(pairs: Iterable[str]) -> dict[str, Any]:
    """Reads `key=value` pairs; a dot in a key opens a dict.

    >>> parse_pairs(["seed=1", "reward_kwargs.cost_weight=0.5"])
    {'seed': 1, 'reward_kwargs': {'cost_weight': 0.5}}
    """
    read: list[tuple[str, Any]] = []
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ValueError(f"expected key=value, got {pair!r}; for example seed=1")
        read.append((key, parse_value(value)))
    return opened(read)


def opened(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Settings by name; a dot in a name opens a dict, as it does in TOML where no quotes hold it.

    >>> opened([("seed", 1), ("reward_kwargs", {"goal": 2}), ("reward_kwargs.cost_weight", 0.5)])
    {'seed': 1, 'reward_kwargs': {'goal': 2, 'cost_weight': 0.5}}
    """
    settings: dict[str, Any] = {}
    for key, value in pairs:
        *outer, name = key.split(".", maxsplit=1)
        target = settings.setdefault(outer[0], {}) if outer else settings
        if not isinstance(target, dict) or name in target:
            raise ValueError(f"expected each setting once, got {key!r} again")
        target[name] = dict(value) if isinstance(value, Mapping) else value
    return settings


def coerce(name: str, value: Any, hint: Any) -> Any:
    """Checks a setting's value; whole floats become integers, and one number a sequence of one.

    Args:
        name: of the setting, for the error.
        value: what was given.
        hint: what the setting is annotated with.

    >>> coerce("num_blocks", 16, tuple[int, ...])
    (16,)
    >>> coerce("images", 1e5, int)
    100000
    """
    check_sizes(name, value)
    value = tuple(value) if isinstance(value, list) else value
    single = as_whole(value, hint)
    for candidate in (single, (single,)):
        if fits(candidate, hint):
            return candidate
    raise ValueError(f"expected {name} to be {hint_in_words(hint)}, got {shown(value)}")


def check_sizes(name: str, value: Any) -> None:
    """Refuses integers that 64 bits cannot hold, however deep they lie."""
    items = value if isinstance(value, list | tuple | set | frozenset) else ()
    if isinstance(value, Mapping):
        items = [*value, *value.values()]
    for item in items:
        check_sizes(name, item)
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise ValueError(
            f"expected integers of {name} between -2**63 and 2**63, got one of "
            f"{value.bit_length()} bits; give a smaller one"
        )


def checked(
    settings: Mapping[str, Any], hints: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Fills defaults in and checks the types of what is given against annotations."""
    values = {name: coerce(name, v, hints.get(name, Any)) for name, v in settings.items()}
    missing = [n for n, v in defaults.items() if v is inspect.Parameter.empty and n not in values]
    if missing:
        raise ValueError(f"expected a value for {', '.join(missing)}; give {missing[0]}=...")
    return dict(defaults) | values


def check_plain(config: dict[str, Any]) -> None:
    """Refuses what JSON cannot hold, or a table cannot show: a run is names and numbers."""
    for group in (config, config["agent_settings"], config["environment"]):
        for name, value in group.items():
            if not fits_json(value):
                raise ValueError(
                    f"expected setting {name!r} to be a name or finite numbers, "
                    f"got {shown(value)}; give functions and classes as 'module:name'"
                )
    for place, text in leaves_of(config):
        check_content({place: text})
        if isinstance(text, str) and place != "log_dir":
            check_printable(text, place)


def fits_json(value: Any) -> bool:
    """Whether JSON can hold a value."""
    try:
        json.dumps(value, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError):
        return False
    return True


def compact(value: Any) -> str:
    """A value in few characters.

    >>> compact({"rate": 0.1, "sizes": (2, 3)})
    'rate=0.1 sizes=[2,3]'
    """
    if isinstance(value, dict):
        return " ".join(f"{name}={compact(v)}" for name, v in value.items())
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
