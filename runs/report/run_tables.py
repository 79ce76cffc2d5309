"""Finished runs to the tables of how they were made: speed, settings, machines and versions."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ccenv.runs.engine.jobs import Finished, machine_name
from ccenv.runs.show.tables import Table
from ccenv.runs.stats.intervals import Interval


def speed_table(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """Measured time of a pass, and of the whole run; the first finished seed of each label."""
    columns = {"agent": "left", "images": "right", "ms": "right .3f", "dense ms": "right .3f"}
    columns |= {"speed-up": "right .2f", "trained for s": "right .0f"}
    columns |= {"load": "right .1f", "machine": "left"}
    lines = []
    for label, found in results.items():
        for result in found[:1]:
            place = result.get("load"), machine_name(result["machine"])
            rest = [result["total_seconds"], *place]
            # Of ceilings nothing is timed.
            for latency in result["latency"] or [None]:
                lines.append([label, *speed_cells(latency), *rest])
    note = (
        "Median time of one pass, looking and choosing included, beside plain dense products in "
        "the same process, one thread; speed-up with its quartiles. First seed. Load: "
        "processes that wanted to run in the minute before it was timed, its own among them."
    )
    return Table("speed", "Speed", columns, lines, note)


def speed_cells(latency: Mapping[str, Any] | None) -> list[Any]:
    """Images, time, dense time, speed-up."""
    if latency is None:
        return [None] * 4
    ends = latency["speedup_low"], latency["speedup_high"]
    times = [latency[name] for name in ("batch_size", "milliseconds", "dense_milliseconds")]
    return [*times, Interval(latency["speedup"], None, *ends)]


def settings_tables(finished: Sequence[Finished]) -> list[Table]:
    """Settings that all runs share, and those that tell them apart."""
    by_label = {one.job.label: flat(one.result["settings"]) for one in finished}
    names = list(dict.fromkeys(name for found in by_label.values() for name in found))
    shared = {
        name: values.pop()
        for name in names
        if len(values := {found.get(name) for found in by_label.values()}) == 1
    }
    lines = [
        [label, "\n".join(f"{n} = {v}" for n, v in found.items() if n not in shared)]
        for label, found in by_label.items()
    ]
    both = {"setting": "left", "value": "left"}
    return [
        Table("settings", "Settings of every run", both, list(shared.items())),
        Table("settings-cells", "Settings of each", {"agent": "left", "own": "left"}, lines),
    ]


def flat(settings: Mapping[str, Any]) -> dict[str, str]:
    """A run's settings without levels; where it wrote and its seed are not among them."""
    nested = settings["environment"] | settings["agent_settings"]
    own = {k: v for k, v in settings.items() if not isinstance(v, Mapping)}
    left_out = ("seed", "log_dir", "progress")
    return {k: json.dumps(v) for k, v in (own | nested).items() if k not in left_out}


def origin_table(finished: Sequence[Finished]) -> Table:
    """Where results were made: runs here or recorded, versions, machine."""
    kinds: dict[tuple[str, str, str], int] = {}
    for one in finished:
        versions = ", ".join(f"{k} {v}" for k, v in one.result["versions"].items())
        place = "recorded" if one.recorded else "run here"
        key = (place, machine_name(one.result["machine"]), versions)
        kinds[key] = kinds.get(key, 0) + 1
    columns = {"runs": "right", "from": "left", "machine": "left", "versions": "left"}
    lines = [[count, *key] for key, count in kinds.items()]
    return Table("machines", "Machines and versions", columns, lines)
