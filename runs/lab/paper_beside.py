"""The paper beside ours: recorded results -> a table for each data set, whatever has been run."""

import functools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ccenv.base.given_files import read_json
from ccenv.runs.stats.cost_points import Point, make_point
from ccenv.runs.stats.dense_comparison import best_on_validation, chosen_variants
from ccenv.runs.store.recorded import read_cells
from ccenv.runs.tables.sweep_table import Row, interval, markdown

PAPER_TABLES = tomllib.loads(
    Path(__file__).with_name("paper_tables.toml").read_text(encoding="utf-8")
)
"""Data set -> the paper's table, and where ours is recorded; the file says what is in it."""
NOT_YET = "not run yet"
COLUMNS = {
    "network": "left",
    "who": "left",
    "seeds": "right",
    "test error %": "right .2%",
    "density": "right .2f",
    "total MACs": "right ,.0f",
    "total cost": "right .3f",
    "speed-up 1 / 256": "right",
    "random blocks %": "right .2%",
}
NOTE = (
    "Error: mean over seeds with Student's 95 % interval; the paper's are single runs. Density: "
    "mean share of blocks kept over layers. Total cost: MACs with the policy's own over those of "
    "the same network with all blocks. Speed-up: time of that dense network in plain torch over "
    "time with the policy, measured in turns in one process; the paper's: its product switched "
    "off and on. Random blocks: error of random masks at the same compute cost."
)
IMPROVED = (
    "Improved: of the rows of {improved} whose total MACs are no more than ours beside the paper's "
    "(the authors' code) and that most seeds have finished, the one with the least validation "
    "error."
)
INSIDE = "The paper's error lies within an interval of ours in {count} of its {all} rows{named}."
PRINTED = 3
"""Places of an error, as a share of 1, that the paper prints."""


def beside_table(dataset: str, results_dir: Path) -> str:
    """Paper, ours faithful, ours improved, in Markdown; rows without a result say so.

    Below it stands in how many rows the paper's single run lies within our interval.
    """
    table = PAPER_TABLES[dataset]
    faithful = rows_in(results_dir / f"{table['sweep']}.json")
    others = results_dir / f"{table['improved']}.json" if "improved" in table else None
    lines = []
    for row in table["rows"]:
        lines += row_lines(row, faithful, others)
    within = [row["name"] for row in table["rows"] if inside(row, faithful)]
    notes = [NOTE, IMPROVED.format(**table) if others else "", table["note"]]
    named = f": {'; '.join(within)}" if within else ""
    notes.append(INSIDE.format(count=len(within), all=len(table["rows"]), named=named))
    return f"{markdown(COLUMNS, lines)}\n\n{' '.join(filter(None, notes))}"


def inside(row: Row, faithful: Mapping[str, Row]) -> bool:
    """Whether the paper's error lies within the interval of a row of ours, however it was run."""
    for label in filter(faithful.__contains__, row["ours"].values()):
        error = interval(faithful[label], "error")
        if error.low is not None and error.high is not None:
            # As precisely as the paper prints it: 1.9 % lies within 1.86 to 1.88.
            low, high = (round(end, PRINTED) for end in (error.low, error.high))
            if low <= row["error"] <= high:
                return True
    return False


def rows_in(path: Path) -> dict[str, Row]:
    """Label -> row of a recorded comparison; none where nothing is recorded yet."""
    if not path.exists():
        return {}
    return {row["label"]: row for row in read_json(path)["rows"]}


def row_lines(row: Row, faithful: Mapping[str, Row], others: Path | None) -> list[list[Any]]:
    """The paper's line, ours below it, and the improved one below those, where there is one."""
    lines = [paper_line(row)]
    for how, label in row["ours"].items():
        lines.append(our_line(f"ours, {how}", faithful.get(label)))
    if row.get("conditional") and others is not None:
        first = faithful.get(next(iter(row["ours"].values())))
        lines.append(improved_line(first, others))
    return lines


def paper_line(row: Row) -> list[Any]:
    """What the paper prints."""
    density = f"{row['density']:.2f}" if "density" in row else ""
    speedup = f"{row['speedup']:.1f}" if "speedup" in row else ""
    error = f"{100 * row['error']:.1f}"
    return [row["name"], f"paper, {row['where']}", "1", error, density, "", "", speedup, ""]


def our_line(who: str, row: Row | None, why_none: str = NOT_YET) -> list[Any]:
    """A row of ours, or why there is none."""
    if row is None:
        return ["", who, "0", why_none, *[""] * (len(COLUMNS) - 4)]
    speedup = row["speedup"]
    return [
        "",
        who,
        len(row["seeds"]),
        interval(row, "error"),
        sum(row["density"]) / len(row["density"]),
        row["macs"]["mean"],
        row["total_cost"]["mean"],
        " / ".join(f"{speedup[size]:.2f}" for size in ("1", "256") if size in speedup),
        interval(row, "dropout_error"),
    ]


def improved_line(first: Row | None, others: Path) -> list[Any]:
    """The row of other trainings that may stand beside a faithful one."""
    if first is None or not others.exists():
        return our_line("ours, improved", None)
    able = [point for point in learned_points(others) if point.macs <= first["macs"]["mean"]]
    if not able:
        return our_line("ours, improved", None, "none costs so little")
    best = best_on_validation(able)
    return our_line(f"ours, improved: {best.label}", rows_in(others)[best.label])


def learned_points(path: Path) -> list[Point]:
    """Rows of a recorded comparison in which a policy learns, chosen by validation."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for cell in read_cells(path):
        if cell["learns"]:
            runs.setdefault(cell["label"], []).append(cell)
    return chosen_variants([make_point(label, cells, False) for label, cells in runs.items()])


BESIDE = {f"beside-{name}": functools.partial(beside_table, name) for name in PAPER_TABLES}
"""Name of a README's table -> how it is made of a folder of results."""
