"""A run's row in TensorBoard's HPARAMS tab: settings -> columns, the same for every agent."""

import json
from typing import Any

SCORES = ("error", "nll", "compute_cost", "total_cost", "density")
METRICS = tuple(f"{split}/{name}" for split in ("test", "eval") for name in SCORES)
"""Scalars that the row shows: the last point of each."""


def hyperparameters(config: dict[str, Any]) -> dict[str, str | float]:
    """The columns of HPARAMS, the same for every agent: TensorBoard loses those that vary.

    Args:
        config: see `ccenv.runs.plan.settings.Plan.config`.
    """
    environment = config["environment"]
    words = ("dataset", "network", "weights", "reward", "observation")
    lists = ("num_blocks", "block_size", "network_kwargs", "reward_kwargs", "weights_kwargs")
    numbers = {name: float(config[name]) for name in ("seed", "images", "batch_size")}
    return {
        "agent": config["agent"],
        "agent_settings": compact(config["agent_settings"]),
        "env": config["env"],
        **{name: str(environment[name]) for name in words},
        **{name: compact(environment[name]) for name in lists},
        "group_size": float(environment["group_size"]),
        **numbers,
    }


def compact(value: Any) -> str:
    """A value in few characters.

    >>> compact({"rate": 0.1, "sizes": (2, 3)})
    'rate=0.1 sizes=[2,3]'
    """
    if isinstance(value, dict):
        return " ".join(f"{name}={compact(v)}" for name, v in value.items())
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
