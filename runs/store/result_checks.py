"""A result as read from a file -> the same result, or an error that names what was edited."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

KINDS: dict[str, type] = {
    "agent": str,
    "env": str,
    "reward": str,
    "seed": int,
    "settings": dict,
    "code": dict,
    "learns": bool,
    "uses_labels": bool,
    "dense_macs": int,
    "policy_macs": list,
    "versions": dict,
    "machine": dict,
    "evaluations": list,
    "latency": list,
    "total_seconds": Real,
}
"""What every result holds."""
RANGES: dict[str, tuple[float, float]] = {
    "error": (0.0, 1.0),
    "compute_cost": (0.0, 1.000001),
    "total_cost": (0.0, float("inf")),
    "macs": (0.0, float("inf")),
}
"""Numbers of an evaluation."""
JUDGED = (("test", "sampled"), ("test", "mode"))


def check_result(result: Any, where: str) -> dict[str, Any]:
    """Refuses a result that lacks something or holds what cannot be.

    Args:
        result: parsed JSON.
        where: the file, for the message.

    Raises:
        ValueError: naming the file, the entry and its value.
    """
    if not isinstance(result, dict):
        raise edited(where, "an object", result)
    for name, kind in KINDS.items():
        if not isinstance(result.get(name), kind) or (
            kind is not bool and isinstance(result[name], bool)
        ):
            raise edited(where, f"{name} to be of type {kind.__name__}", result.get(name))
    environment = result["settings"].get("environment")
    if not isinstance(environment, dict) or not isinstance(environment.get("dataset"), str):
        raise edited(where, "settings.environment with a dataset", environment)
    for one in result["evaluations"]:
        if not isinstance(one, Mapping) or not {"split", "mode"} <= set(one):
            raise edited(where, "evaluations with a split and a mode", one)
    for split, draw in JUDGED:
        check_evaluation(result["evaluations"], split, draw, where)
    return result


def check_result_of(seed: int, result: Any, where: str) -> dict[str, Any]:
    """Refuses the same, and the result of another seed: see `check_result`."""
    found = check_result(result, where)
    if found["seed"] != seed:
        raise edited(where, f"seed {seed}", found["seed"])
    return found


def check_evaluation(evaluations: list[Any], split: str, draw: str, where: str) -> None:
    """Refuses evaluations without one of a split and draw, or with numbers that cannot be."""
    found = [e for e in evaluations if (e["split"], e["mode"]) == (split, draw)]
    name = f"the evaluation {split}, {draw}"
    if len(found) != 1:
        raise edited(where, f"{name} once", f"{len(found)} of them")
    for number, (low, high) in RANGES.items():
        if not between(found[0].get(number), low, high):
            raise edited(where, f"{number} of {name} in {low:g}..{high:g}", found[0].get(number))
    density = found[0].get("density")
    if not isinstance(density, list) or not all(between(d, 0, 1) for d in density):
        raise edited(where, f"density of {name} as shares of 1", density)


def between(value: Any, low: float, high: float) -> bool:
    """Whether a value is a number in a range."""
    return isinstance(value, Real) and not isinstance(value, bool) and low <= float(value) <= high


def edited(where: str, expected: str, got: Any) -> ValueError:
    """The error for a result that was edited or damaged."""
    return ValueError(
        f"{where}: expected {expected}, got {got!r}; the file was edited or damaged: put it back "
        "as it was, or delete it and run again"
    )
