"""Settings of Stable-Baselines3's algorithms: (given, layers, rows) -> complete, or refused."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from ccenv.base.registry import check_names

OWN_SETTINGS = (
    "policy",
    "env",
    "seed",
    "device",
    "verbose",
    "tensorboard_log",
    "_init_setup_model",
)
"""What the agent decides itself; every other argument of the algorithm is a setting."""


COUNTS = (
    "n_epochs",
    "n_steps",
    "n_critic_updates",
    "cg_max_steps",
    "line_search_max_iter",
    "sub_sampling_factor",
    "stats_window_size",
)
"""Whole numbers of at least 1; Stable-Baselines3 looks at none of them."""
RATES = ("learning_rate", "clip_range")
"""Numbers, or functions of what is left of a run; Stable-Baselines3 asserts that they are."""


def complete_settings(
    algorithm: Any, settings: Mapping[str, Any], num_layers: int, rows: int
) -> dict[str, Any]:
    """Fills in what the number of layers and rows decides, and refuses what would cut episodes.

    Args:
        algorithm: a class of Stable-Baselines3.
        settings: its keyword arguments; `num_minibatches` may stand for `batch_size`.
        num_layers: steps of an episode.
        rows: episodes that run side by side.

    Raises:
        ValueError: if a setting is unknown, would cut episodes, or discounts.
    """
    known = [n for n in inspect.signature(algorithm).parameters if n not in OWN_SETTINGS]
    splits = "batch_size" in known
    known += ["num_minibatches"] if splits else []
    check_names(settings, known, f"setting of {algorithm.__name__}")
    own = {"n_steps": num_layers, "gamma": 1.0, "gae_lambda": 1.0, "stats_window_size": rows}
    completed = own | dict(settings)
    for name in COUNTS:
        if name in completed and (not isinstance(completed[name], int) or completed[name] < 1):
            raise ValueError(
                f"expected {name} to be a whole number of at least 1, got {completed[name]!r}"
            )
    for name in RATES:
        value = completed.get(name, 0.0)
        if not (callable(value) or isinstance(value, int | float)):
            raise ValueError(f"expected {name} to be a number or a function, got {value!r}")
    if completed["gamma"] != 1:
        raise ValueError(
            f"expected gamma=1, got {completed['gamma']}: episodes are {num_layers} steps long and "
            "a late answer counts as much as an early cost; leave gamma out"
        )
    if completed["n_steps"] % num_layers:
        raise ValueError(
            f"expected n_steps to be a multiple of the {num_layers} gated layers, so that no "
            f"episode is cut, got {completed['n_steps']}; leave it out for one episode a rollout"
        )
    if completed["stats_window_size"] < rows:
        raise ValueError(
            f"expected stats_window_size of at least the {rows} rows that end together, "
            f"got {completed['stats_window_size']}; leave it out"
        )
    return divide(completed, completed["n_steps"] * rows) if splits else completed


def divide(settings: dict[str, Any], num_steps: int) -> dict[str, Any]:
    """Gives SB3 a `batch_size` that fills a rollout of `num_steps` steps without a rest.

    Raises:
        ValueError: if the one given does not, leaves one step alone (SB3 normalises advantages by
            their deviation), or stands beside `num_minibatches`.
    """
    if "batch_size" in settings and "num_minibatches" in settings:
        raise ValueError("expected batch_size or num_minibatches, got both; leave one out")
    most = max(parts for parts in (4, 2, 1) if parts == 1 or 2 * parts <= num_steps)
    parts = settings.pop("num_minibatches", math.gcd(most, num_steps))
    divisor = settings.get("batch_size", parts)
    if not isinstance(divisor, int) or divisor < 1 or num_steps % divisor:
        name = "batch_size" if "batch_size" in settings else "num_minibatches"
        raise ValueError(
            f"expected {name} to divide the {num_steps} steps of a rollout, got {divisor}; "
            "leave it out for at most four equal parts"
        )
    size = settings.get("batch_size", num_steps // parts)
    if size < 2 and settings.get("normalize_advantage", True):
        raise ValueError(
            f"expected parts of at least 2 steps of a rollout's {num_steps}, got {size}; give more "
            "rows (batch_size, group_size), fewer parts, or normalize_advantage=False"
        )
    return settings | {"batch_size": size}


def falling_rate(algorithm: Any, settings: Mapping[str, Any]) -> Callable[[float], float]:
    """A schedule of Stable-Baselines3: share of the run that remains -> learning rate.

    Args:
        algorithm: a class of Stable-Baselines3, whose default rate is taken if none is given.
        settings: its keyword arguments.
    """
    default = inspect.signature(algorithm).parameters["learning_rate"].default
    start = float(settings.get("learning_rate", default))
    return lambda remaining: start * remaining
