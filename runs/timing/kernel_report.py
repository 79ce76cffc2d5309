"""Kernel timings to tables in Markdown."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runs.report import markdown

NOTES = """\
Speed-up: time of torch's dense layers over time in the same round, median [quartiles]; call
overhead, lists from masks and policies included; other masks in every pass. Over masked dense: the
same beside dense products times masks. Ceiling: speed-up of a dense layer or network so narrow that
it has the executed MACs, the policy's included. Limit: dense MACs over executed MACs. Masks:
independent; by class, ten classes with likely blocks of their own; unbalanced, the same few likely
blocks for all rows; chosen, by the policy. Density: realised, on both sides of a layer or of each
gated layer."""
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    field: str
    """what a row must have for the column to be shown: older results lack some."""
    alignment: str
    """left or right."""
    text: Callable[[Row], str]
    """a row's cell."""


def densities(row: Row) -> str:
    """Realised densities, one where they are alike to three digits."""
    shown = [f"{value:.3f}" for value in row.get("densities", [row["density"]])]
    return " ".join(shown if len(set(shown)) > 1 else shown[:1])


COLUMNS = {
    "case": Column("case", "left", lambda row: row["case"]),
    "masks": Column("masks", "left", lambda row: row["masks"]),
    "route": Column("route", "left", lambda row: row["route"]),
    "batch": Column("batch", "right", lambda row: f"{row['batch']:,}"),
    "density": Column("density", "right", densities),
    "speed-up": Column(
        "speedup",
        "left",
        lambda row: f"{row['speedup']:.2f} [{row['speedup_low']:.2f}, {row['speedup_high']:.2f}]",
    ),
    "over masked dense": Column(
        "masked_dense_speedup", "right", lambda row: f"{row['masked_dense_speedup']:.2f}"
    ),
    "ceiling": Column("ceiling", "right", lambda row: f"{row['ceiling']:.1f}"),
    "limit": Column("limit", "right", lambda row: f"{row['limit']:.1f}"),
    "ms": Column("milliseconds", "right", lambda row: f"{row['milliseconds']:.3f}"),
    "dense GFLOP/s": Column("dense_gflops", "right", lambda row: f"{row['dense_gflops']:.0f}"),
    "GFLOP/s": Column("gflops", "right", lambda row: f"{row['gflops']:.0f}"),
}


def table(rows: Sequence[Row]) -> str:
    """Timings in Markdown."""
    shown = {k: c for k, c in COLUMNS.items() if all(c.field in row for row in rows)}
    alignments = {name: column.alignment for name, column in shown.items()}
    return markdown(alignments, [[c.text(row) for c in shown.values()] for row in rows])


def routes_table(rows: Sequence[Row]) -> str:
    """How often the kernels beat dense products times masks, by batch and passes, in Markdown."""
    columns = {"batch": "right", "passes": "left", "cases": "right", "kernels faster %": "right"}
    columns |= {f"speed-up, {name} case": "right" for name in ("worst", "middle", "best")}
    groups: dict[tuple[int, bool], list[float]] = {}
    for row in rows:
        ratio = row["masked_dense_seconds"] / row["kernel_seconds"]
        groups.setdefault((row["batch"], row["training"]), []).append(ratio)
    lines = [
        [
            f"{batch:,}",
            "forward and backward" if training else "forward",
            str(len(ratios)),
            f"{100 * statistics.mean(ratio > 1 for ratio in ratios):.0f}",
            *(f"{v:.2f}" for v in (min(ratios), statistics.median(ratios), max(ratios))),
        ]
        for (batch, training), ratios in sorted(groups.items())
    ]
    return markdown(columns, lines)
