"""Settings by their types: (given, annotations, defaults) -> whole and fit for JSON, or refused."""

import inspect
import json
from collections.abc import Mapping
from typing import Any

from ccenv.base.values import shown
from ccenv.runs.plan.values import coerce


def checked(
    given: Mapping[str, Any], hints: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Fills defaults in and checks the types of what is given against annotations.

    Raises:
        ValueError: if a value has another type, or one without a default is missing.
    """
    values = {name: coerce(name, v, hints.get(name, Any)) for name, v in given.items()}
    missing = [n for n, v in defaults.items() if v is inspect.Parameter.empty and n not in values]
    if missing:
        raise ValueError(f"expected a value for {', '.join(missing)}; give {missing[0]}=...")
    return dict(defaults) | values


def check_plain(config: dict[str, Any]) -> None:
    """Refuses what JSON cannot hold: a run is names and numbers, so that it can be repeated.

    Raises:
        ValueError: if a setting is an object.
    """
    for group in (config, config["agent_settings"], config["environment"]):
        for name, value in group.items():
            if not is_plain(value):
                raise ValueError(
                    f"expected setting {name!r} to be a name or finite numbers, "
                    f"got {shown(value)}; give functions and classes as 'module:name'"
                )


def is_plain(value: Any) -> bool:
    """Whether JSON can hold a value."""
    try:
        json.dumps(value, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError):
        return False
    return True
