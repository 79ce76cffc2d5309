"""What a run's network does without an agent: finished runs in the log folder -> two baselines."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runs import folder as run_folder
from runs.board.sheet import Point

SAME = (
    *("dataset", "transforms", "network", "num_blocks", "block_size", "head_units"),
    *("activation", "weights", "weights_kwargs"),
)
"""Settings of an environment that its network depends on."""


@dataclass(frozen=True)
class Baselines:
    """Points (compute cost, validation error), means over the seeds that are there."""

    dense: Point | None
    """every block kept."""
    uniform: tuple[Point, ...]
    """random masks of several rates, by cost."""


NONE = Baselines(None, ())
"""No run of the same network is there."""


def find_baselines(config: Mapping[str, Any]) -> Baselines:
    """Looks for finished runs of `dense` and `block_dropout` of the same network, trained alike.

    Args:
        config: settings of the run to be compared, see `runs.settings.Plan.config`.
    """
    found: dict[str, list[Point]] = {}
    for result in finished(config):
        rate = result["settings"]["agent_settings"].get("keep_probability", 1.0)
        key = "dense" if result["agent"] == "dense" else f"{float(rate):.6f}"
        verdict = next(e for e in result["evaluations"] if e["split"] == "validation")
        found.setdefault(key, []).append((verdict["compute_cost"], verdict["error"]))
    means = {
        key: (float(np.mean([c for c, _ in points])), float(np.mean([e for _, e in points])))
        for key, points in found.items()
    }
    dense = means.pop("dense", None)
    return Baselines(dense, tuple(sorted(means.values())))


def finished(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Results of baselines in the same log folder whose network is the same."""
    place = Path(config["log_dir"]) / str(config["env"])
    wanted = network_of(config)
    for agent in ("dense", "block_dropout"):
        for path in sorted(place.glob(f"{agent}/*/*/seed-*/{run_folder.RESULT}")):
            result = run_folder.read_result(path.parent)
            if result is not None and network_of(result["settings"]) == wanted:
                yield result


def network_of(config: Mapping[str, Any]) -> list[Any]:
    """What a network's weights depend on, but for the masks that it saw."""
    environment = config["environment"]
    kept = [run_folder.finite(environment.get(name, ())) for name in SAME]
    if environment["weights"] == "cotrain":
        kept += [config["images"], config["batch_size"]]
    return kept
