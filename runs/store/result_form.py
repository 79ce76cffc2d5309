"""The form of results: (what `result.json` holds) -> the same, or an error that says why not."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

from ccenv.base.files import edited
from ccenv.base.mask_words import BOTH_WORDS
from ccenv.base.trust import leaves_of
from ccenv.base.values import LONGEST_LABEL, check_printable

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
JUDGED = tuple(("test", kind) for kind in BOTH_WORDS)


def check_result(result: Any, where: str) -> dict[str, Any]:
    """Refuses a result that lacks something or holds what cannot be."""
    if not isinstance(result, dict):
        raise edited(where, "an object", result)
    for name, kind in KINDS.items():
        if not isinstance(result.get(name), kind) or (
            kind is not bool and isinstance(result[name], bool)
        ):
            raise edited(where, f"{name} to be of type {kind.__name__}", result.get(name))
    # Tables, figures and messages show them.
    names = {name: result.get(name) for name in ("label", "agent", "env", "reward")}
    for place, text in leaves_of(names | {"settings": result.get("chosen", result["settings"])}):
        if isinstance(text, str) and place != "settings.log_dir":
            check_printable(text, f"{where}: {place}", LONGEST_LABEL if place in names else None)
    environment = result["settings"].get("environment")
    if not isinstance(environment, dict) or not isinstance(environment.get("dataset"), str):
        raise edited(where, "settings.environment with a dataset", environment)
    for one in result["evaluations"]:
        if not isinstance(one, Mapping) or not {"split", "mode"} <= set(one):
            raise edited(where, "evaluations with a split and a mode", one)
    for split, masks in JUDGED:
        check_evaluation(result["evaluations"], split, masks, where)
    return result


def check_result_of(seed: int, result: Any, where: str) -> dict[str, Any]:
    """Refuses the same, and the result of another seed: see `check_result`."""
    checked = check_result(result, where)
    if checked["seed"] != seed:
        raise edited(where, f"seed {seed}", checked["seed"])
    return checked


def check_evaluation(evaluations: list[Any], split: str, masks: str, where: str) -> None:
    """Refuses evaluations without one of a split and kind of masks, or with odd numbers."""
    matching = [e for e in evaluations if (e["split"], e["mode"]) == (split, masks)]
    name = f"the evaluation {split}, {masks}"
    if len(matching) != 1:
        raise edited(where, f"{name} once", f"{len(matching)} of them")
    for number, (low, high) in RANGES.items():
        if not between(matching[0].get(number), low, high):
            raise edited(where, f"{number} of {name} in {low:g}..{high:g}", matching[0].get(number))
    density = matching[0].get("density")
    if not isinstance(density, list) or not all(between(d, 0, 1) for d in density):
        raise edited(where, f"density of {name} as shares of 1", density)


def between(value: Any, low: float, high: float) -> bool:
    """Whether a value is a number in a range."""
    return isinstance(value, Real) and not isinstance(value, bool) and low <= float(value) <= high
