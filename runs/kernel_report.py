"""Kernel timings to a table in Markdown and a plot of speed-up over density."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runs.report import markdown

NOTES = """\
Speed-up: dense time over time in the same round, median [quartiles]; call overhead, lists from
masks and policies included; other masks in every pass. Limit: dense MACs over executed MACs."""
COLUMNS = {
    "case": "left",
    "batch": "right",
    "density": "right",
    "speed-up": "left",
    "limit": "right",
    "ms": "right",
    "dense GFLOP/s": "right",
    "GFLOP/s": "right",
}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Timings in Markdown."""
    lines = [
        [
            row["case"],
            f"{row['batch']:,}",
            f"{row['density']:.3f}",
            f"{row['speedup']:.2f} [{row['speedup_low']:.2f}, {row['speedup_high']:.2f}]",
            f"{row['limit']:.1f}",
            f"{row['milliseconds']:.3f}",
            f"{row['dense_gflops']:.0f}",
            f"{row['gflops']:.0f}",
        ]
        for row in rows
    ]
    return markdown(COLUMNS, lines)


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws speed-up over density, a line a batch size, for the case with most densities (PNG)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [row["case"] for row in rows]
    case = max(names, key=names.count)
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for batch in sorted({row["batch"] for row in rows if row["case"] == case}):
        own = [r for r in rows if r["case"] == case and r["batch"] == batch]
        densities = [r["density"] for r in own]
        axes.plot(densities, [r["speedup"] for r in own], marker="o", label=f"batch {batch:,}")
        axes.fill_between(
            densities, [r["speedup_low"] for r in own], [r["speedup_high"] for r in own], alpha=0.2
        )
    own = sorted((r["density"], r["limit"]) for r in rows if r["case"] == case)
    axes.plot(*zip(*own, strict=True), color="grey", linestyle=":", label="limit by MACs")
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set(
        yscale="log",
        xlabel="density: share of blocks kept on each side",
        ylabel="speed-up over the dense product",
        title=case,
    )
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(path))
