"""Settings by the names of earlier versions: (settings, old name -> new) -> by those of today."""

import warnings
from collections.abc import Mapping
from typing import Any


def in_todays_names(
    settings: Mapping[str, Any], earlier: Mapping[str, str], *, warns: bool = True
) -> dict[str, Any]:
    """Settings with today's names in the place of earlier ones; ValueError of one by both names.

    Args:
        settings: by name.
        earlier: name of an earlier version -> name of today.
        warns: whether a `FutureWarning` names the new one; stored runs cannot follow it.

    >>> in_todays_names({"width": 2, "rate": 1}, {"width": "units"}, warns=False)
    {'units': 2, 'rate': 1}
    """
    for old, new in earlier.items():
        if old in settings and new in settings:
            raise ValueError(f"expected {new} once, got {old} too, its name until now")
        if old in settings and warns:
            text = f"the setting {old} is now {new}; its old name goes with the next release"
            warnings.warn(text, FutureWarning, stacklevel=2)
    return {earlier.get(name, name): value for name, value in settings.items()}


def in_earlier_names(settings: Mapping[str, Any], earlier: Mapping[str, str]) -> dict[str, Any]:
    """The way back, for identities: recorded runs are identified by their first names.

    >>> in_earlier_names({"units": 2, "rate": 1}, {"width": "units"})
    {'width': 2, 'rate': 1}
    """
    old_names = {new: old for old, new in earlier.items()}
    return {old_names.get(name, name): value for name, value in settings.items()}
