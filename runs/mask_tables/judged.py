"""What a table of all masks reaches at costs: static, random and the oracle's masks."""

import dataclasses
from pathlib import Path
from typing import Any

from ccenv.mask_table import (
    MaskTable,
    Outcomes,
    front,
    judge_policy,
    read_policy,
)
from ccenv.mask_table.entry import of_rows
from ccenv.mask_table.table import opened_table, table_path
from ccenv.mask_table.times import read_times
from ccenv.runs.store import json_file
from ccenv.runs.store.provenance import machine, versions
from ccenv.runs.store.seal import sealed


def show_table(
    path: str | Path,
    choose: str | Path | None = None,
    policy: Path | None = None,
    times: Path | None = None,
) -> dict[str, Any]:
    """What a table reaches: the dense network, static, random and the oracle's masks.

    Args:
        path: of the table that judges, or a name of the package's; without `choose` its odd inputs
            judge what its even ones choose.
        choose: of the table whose inputs choose static masks; a name is taken too.
        policy: of a policy for the inputs of the table, see `ccenv.mask_table.read_policy`.
        times: of `ccenv table times`: costs are then shares of a machine's time, not of MACs.

    Raises:
        ValueError: if a file is damaged, or the tables are not of one network and data set.
        FileNotFoundError: if there is no such file.
    """
    table = opened_table(path)
    known = None if times is None else read_times(times)
    outcomes = table.outcomes(times=known)
    chosen_by = outcomes.of_images(slice(0, None, 2))
    judged = slice(1, None, 2) if choose is None else slice(None)
    if choose is not None:
        other = opened_table(choose)
        check_alike(table, other)
        chosen_by = other.outcomes(times=known)
    judge = outcomes.of_images(judged)
    if not len(judge.scores):
        raise ValueError(f"expected a table of at least 2 inputs to choose and judge, in {path}")
    placed = None
    if policy is not None:
        own = of_rows(read_policy(policy), len(outcomes.scores), judged)
        placed = dataclasses.asdict(judge_policy(judge, chosen_by, **own))
    return {
        "header": dataclasses.asdict(table.header),
        "num_masks": table.header.num_masks,
        "num_bytes": table_path(path).stat().st_size,
        "machine": None if known is None else known.machine["name"],
        "choose": len(chosen_by.scores),
        "judge": len(judge.scores),
        "dense_error": dense_error(judge),
        "policy": placed,
        "rows": [dataclasses.asdict(point) for point in front(judge, chosen_by)],
    }


def recorded(found: dict[str, Any], name: str) -> dict[str, Any]:
    """What was shown as a result of its own, sealed: without sizes of files, with versions."""
    said = {key: found["header"][key] for key in ("network", "settings", "dataset", "split")}
    said |= {key: found["header"][key] for key in ("weights", "data", "num_images", "dense_macs")}
    numbers = {key: found[key] for key in ("num_masks", "choose", "judge", "dense_error")}
    content = {"kind": "mask-table", "name": name, **said, **numbers}
    return sealed(
        json_file.finite(
            content | {"versions": versions(), "machine": machine(), "rows": found["rows"]}
        )
    )


def dense_error(judge: Outcomes) -> float | None:
    """Share of wrong answers with everything kept; None where a menu has no such mask."""
    is_dense = judge.costs == 1
    return float(1 - judge.scores[:, is_dense][:, -1].mean()) if is_dense.any() else None


def check_alike(table: MaskTable, other: MaskTable) -> None:
    """Refuses to choose masks by another network's table."""
    for name in ("weights", "gates", "menus", "dataset", "transforms"):
        expected, got = getattr(table.header, name), getattr(other.header, name)
        if expected != got:
            raise ValueError(
                f"expected two tables of one network and data set, got another {name}: "
                f"{got!r} next to {expected!r}"
            )
    if (table.header.split, table.header.data) == (other.header.split, other.header.data):
        raise ValueError("expected other inputs to choose by, got the same; leave --choose out")
