"""Settings of tables: (network, data set, settings) -> the environment's, checked; what is said."""

from collections.abc import Mapping
from typing import Any

from ccenv.base.processor import cpu_model
from ccenv.base.registry import check_names
from ccenv.networks.shipped import shipped_name
from ccenv.runs.plan.plain import checked, is_plain
from ccenv.runs.plan.values import annotations_of
from ccenv.runs.store.identity import canonical, same
from ccenv.runs.store.machine import versions
from ccenv.simulator.settings import setting_defaults
from ccenv.simulator.simulator import Simulator

SETTINGS = (
    *("network_kwargs", "num_blocks", "block_size", "head_units", "activation"),
    *("weights", "transforms", "device"),
)
"""Settings of the environment that a table depends on, beside network and data set."""


def read_settings(network: str, dataset: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Checks settings of the environment.

    Raises:
        ValueError: if a name is unknown, a value impossible, or the network would learn.
    """
    defaults = {name: v for name, v in setting_defaults().items() if name in SETTINGS}
    check_names(given, defaults, "setting")
    found = {"network": network, "dataset": dataset}
    found |= checked(dict(given), annotations_of(Simulator.__init__), defaults)
    if "weights" not in given:
        names: list[Any] = [network, found["network_kwargs"] or {}, dataset, found["transforms"]]
        found["weights"] = "shipped" if is_shipped(*names) else "frozen"
    if found["weights"] == "cotrain":
        raise ValueError("expected a frozen network, got weights='cotrain': it learns")
    return found


def is_shipped(*names: Any) -> bool:
    """Whether weights come with the package."""
    try:
        shipped_name(*names)
    except ValueError:
        return False
    return True


def said_of(environment: Mapping[str, Any], split: str) -> dict[str, Any]:
    """What the header is told."""
    defaults = setting_defaults()
    chosen = {
        name: canonical(value) if is_plain(value) else str(value)
        for name, value in environment.items()
        if name not in ("network", "dataset") and not same(value, defaults[name])
    }
    return {
        "network": environment["network"],
        "dataset": environment["dataset"],
        "settings": chosen,
        "split": split,
        "made_with": versions() | {"cpu": cpu_model()},
    }
