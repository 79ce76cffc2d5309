"""What settings in a file may name: (settings) -> nothing, or an error before any import.

A folder from another person is data. Of the names in it only those of the project's own tables are
followed, and the reader's own modules if the reader allows it (`--trust my_module`).
"""

from collections.abc import Sequence
from typing import Any

from ccenv.base.trust import check_named

OF_ENVIRONMENT = {
    "dataset": "dataset",
    "network": "network",
    "reward": "reward",
    "activation": "activation",
    "observation": "observation",
    "transforms": "transform",
    "device": "device",
}
PLACES = {
    "agent": "agent",
    "env": "environment",
    "log_dir": "path",
    **OF_ENVIRONMENT,
    **{f"environment.{name}": kind for name, kind in OF_ENVIRONMENT.items()},
}
"""Settings that are names, alone or in their group -> their kind, see `ccenv.base.trust`."""


def check_trusted(settings: Any, trusted: Sequence[str] = ()) -> None:
    """Refuses settings that name code which is neither the project's nor trusted by the reader.

    Args:
        settings: a run's `config.json`, or settings by name; nothing in it has been followed yet.
        trusted: modules of the reader's own, with all that lies below them.

    Raises:
        ValueError: naming the setting and what it holds.
    """
    check_named(settings, PLACES, trusted)
