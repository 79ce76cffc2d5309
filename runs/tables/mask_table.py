"""What a table of all masks reaches: static, random and the oracle's masks, as data and as text."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.annexes.mask_table import MaskTable, front
from ccenv.annexes.mask_table.table import opened_table, table_path
from ccenv.runs.store.provenance import machine, versions
from ccenv.runs.tables.sweep_table import Columns, Row, markdown, read_columns


def show_table(
    path: str | Path,
    choose: str | Path | None = None,
) -> dict[str, Any]:
    """What a table reaches: the dense network, static, random and the oracle's masks.

    Args:
        path: of the table that judges, or a name of the package's; without `choose` its odd inputs
            judge what its even ones choose.
        choose: of the table whose inputs choose static masks; a name is taken too.

    Raises:
        ValueError: if a file is damaged, or the tables are not of one network and data set.
        FileNotFoundError: if there is no such file.
    """
    table = opened_table(path)
    outcomes = table.outcomes()
    if choose is None:
        judged, chosen_by = slice(1, None, 2), outcomes.of_images(slice(0, None, 2))
    else:
        other = opened_table(choose)
        check_comparable(table, other)
        judged, chosen_by = slice(None), other.outcomes()
    judge = outcomes.of_images(judged)
    if not len(judge.scores):
        raise ValueError(f"expected a table of at least 2 inputs to choose and judge, in {path}")
    dense = judge.scores[:, judge.costs == 1]
    return {
        "header": dataclasses.asdict(table.header),
        "num_masks": table.header.num_masks,
        "num_bytes": table_path(path).stat().st_size,
        "choose": len(chosen_by.scores),
        "judge": len(judge.scores),
        # None where a menu has no mask that keeps everything.
        "dense_error": float(1 - dense[:, -1].mean()) if dense.shape[1] else None,
        "rows": [dataclasses.asdict(point) for point in front(judge, chosen_by)],
    }


def as_result(table: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What was shown as a result of its own: without sizes of files, with versions."""
    of_whom = ("network", "settings", "dataset", "split", "weights", "data")
    return {
        "kind": "mask-table",
        "name": name,
        **{key: table["header"][key] for key in (*of_whom, "num_images", "dense_macs")},
        **{key: table[key] for key in ("num_masks", "choose", "judge", "dense_error")},
        "versions": versions(),
        "machine": machine(),
        "rows": table["rows"],
    }


def check_comparable(table: MaskTable, other: MaskTable) -> None:
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


MASK_COLUMNS: Columns = {
    "blocks": ("right", "units"),
    "masks": ("right", "num_masks"),
    "static MACs": ("right .3f", "static_cost"),
    "static %": ("right .2f", lambda row: 100 * row["static_error"]),
    "random MACs": ("right .3f", "random_cost"),
    "random %": ("right .2f", lambda row: 100 * row["random_error"]),
    "oracle MACs": ("right .3f", "oracle_cost"),
    "oracle %": ("right .2f", lambda row: 100 * row["oracle_error"]),
    "oracle, equal MACs %": ("right .2f", lambda row: 100 * row["equal_error"]),
    "gap": ("right .2f", lambda row: 100 * (row["static_error"] - row["equal_error"])),
}
MASK_NOTES = """\
Errors in %. Static: the mask of so many blocks with the least error on the inputs that choose.
Random: mean over all masks of so many. Oracle: each input has its own mask, chosen with its label
known, of exactly so many blocks; at equal MACs: of any number, costing no more than the static one
on the mean. Gap: what the oracle has before the static mask at equal MACs, in points. MACs are
shares of the dense network's."""


def all_masks_text(table: Mapping[str, Any]) -> str:
    """What `ccenv table show` found: what a table is of, its rows and how to read them."""
    header, dense = table["header"], table["dense_error"]
    header_text = (
        f"{header['network']} on {header['dataset']} ({header['split']}), "
        f"{size_text(table['num_masks'], header['num_images'])}, {table['num_bytes']:,} bytes; "
        f"{table['choose']:,} inputs choose, {table['judge']:,} judge (one standard error of an "
        f"error e is sqrt(e (1 - e) / {table['judge']:,})); dense {header['dense_macs']:,} MACs, "
        f"error {'unknown' if dense is None else f'{100 * dense:.2f} %'}"
    )
    return f"{header_text}\n\n{all_masks_table(table['rows'])}\n\n{MASK_NOTES}"


def all_masks_table(rows: Sequence[Row]) -> str:
    """A line for each number of blocks."""
    return markdown(*read_columns(MASK_COLUMNS, rows))


def size_text(num_masks: int, num_images: int) -> str:
    """How large a table is."""
    return f"{num_masks:,} masks of {num_images:,} inputs"
