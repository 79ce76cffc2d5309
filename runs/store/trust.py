"""What a stored run may name: its settings -> nothing, or an error before any of it is imported.

A folder from another person is data. Of the names in it only those of the project's own tables are
imported, and the reader's own modules if the reader allows it (`--trust my_module`).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ccenv import PRESETS
from ccenv.agents import AGENTS
from ccenv.base.registry import import_trusted, nearest
from ccenv.data import DATASETS
from ccenv.networks.table import NETWORKS
from ccenv.rewards import REWARDS
from ccenv.sparse.linear import ACTIVATIONS

TABLES: dict[str, Iterable[str]] = {
    "agent": AGENTS,
    "env": PRESETS,
    "environment.dataset": DATASETS,
    "environment.network": NETWORKS,
    "environment.reward": REWARDS,
    "environment.activation": ACTIVATIONS,
}
"""Settings that are names, and what they may be."""
NO_NAMES = {"log_dir": re.compile(r".*", re.DOTALL), "environment.device": re.compile(r"\w+:\d+")}
"""Settings that may hold a colon and lead to no module: a replay does not follow the first."""
FILE = re.compile(r"[^./\\:\x00-\x1f][^/\\:\x00-\x1f]*")
"""A name without a folder: of a file, or of a folder of images with their size behind an @."""
MOST_DEEP = 32
"""Settings are not nested deeper."""


def check_trusted(config: Any, trusted: Sequence[str] = ()) -> None:
    """Refuses settings that name code which is neither the project's nor trusted by the reader.

    Args:
        config: a run's `config.json`; nothing in it has been followed yet.
        trusted: modules of the reader's own, with all that lies below them.

    Raises:
        ValueError: naming the setting and what it holds.
    """
    for place, name in texts(config):
        if place in NO_NAMES and NO_NAMES[place].fullmatch(name):
            continue
        if ":" in name:
            import_trusted(name, place, trusted)
        elif place in TABLES and name not in TABLES[place] and not is_own_data(place, name):
            raise ValueError(f"unknown {place} {name!r}: {nearest(name, TABLES[place])}")


def is_own_data(place: str, name: str) -> bool:
    """Whether a name is that of the reader's own images or text: data, read and not run."""
    return place == "environment.dataset" and FILE.fullmatch(name) is not None


def texts(node: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """All texts in nested settings with the dotted places where they stand.

    Raises:
        ValueError: if they are nested deeper than settings are.
    """
    if depth > MOST_DEEP:
        raise ValueError(f"expected settings nested at most {MOST_DEEP} deep, got more at {place}")
    if isinstance(node, str):
        yield place, node
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from texts(value, f"{place}.{key}" if place else str(key), depth + 1)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from texts(value, place, depth + 1)
