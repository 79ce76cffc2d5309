"""A sweep's rows to a table in Markdown and a plot of error over cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COLUMNS = {
    "agent": "left",
    "seeds": "right",
    "masks": "left",
    "test error %": "right",
    "MACs": "right",
    "compute cost": "right",
    "total cost": "right",
    "density": "left",
    "mode: error %": "right",
    "mode: MACs": "right",
    "speed-up 1 / 256": "right",
    "front": "left",
    "block_dropout %": "right",
    "against it": "left",
}
NOTES = """\
Error: mean ± standard deviation over seeds, masks as drawn; mode: with the most probable masks.
MACs: of one image, the policy's own included. Cost: executed MACs over the dense network's; total
cost adds the policy's own. Speed-up: measured dense time over time with the policy, for one image
and for 256. Front (*): nobody has less error and fewer MACs. block_dropout %: error of random
masks at the same compute cost, linear between rates, the dense network at the end; better or worse
where the 95 % intervals over seeds (Student's t) are apart. All seeds share the test images.
(ceiling): knows the true label; no policy can."""

Row = Mapping[str, Any]


def table(rows: Sequence[Row]) -> str:
    """Rows (as dicts) in Markdown, padded so that it reads well as text too."""
    return markdown(COLUMNS, [cells(row) for row in rows])


def cells(row: Row) -> list[str]:
    """One line of the table."""
    speedup = row["speedup"]
    floor = row["dropout_error"]
    return [
        row["label"] + (" (ceiling)" if row["uses_labels"] else ""),
        str(len(row["seeds"])),
        row["masks"],
        percent(row["error"]),
        f"{row['macs']['mean']:,.0f}",
        f"{row['compute_cost']['mean']:.3f}",
        f"{row['total_cost']['mean']:.3f}",
        " ".join(f"{value:.2f}" for value in row["density"]),
        percent(row["mode_error"]) if row["learns"] else "",
        f"{row['mode_macs']['mean']:,.0f}" if row["learns"] else "",
        " / ".join(f"{speedup[size]:.2f}" for size in ("1", "256")) if speedup else "",
        "*" if row["on_front"] else "",
        percent(floor) if floor else "",
        row["verdict"],
    ]


def percent(spread: Mapping[str, Any]) -> str:
    """Mean and spread in per cent.

    >>> percent({"mean": 0.05, "sd": 0.002})
    '5.00 ± 0.20'
    """
    mean, sd = 100 * spread["mean"], spread["sd"]
    return f"{mean:.2f}" if sd is None else f"{mean:.2f} ± {100 * sd:.2f}"


def markdown(columns: Mapping[str, str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns.

    Args:
        columns: heading -> "left" or "right".
        lines: cells of each line.
    """
    headings = list(columns)
    widths = [max(len(cell) for cell in column) for column in zip(headings, *lines, strict=True)]

    def line(texts: Sequence[str]) -> str:
        padded = (
            text.rjust(width) if columns[heading] == "right" else text.ljust(width)
            for text, width, heading in zip(texts, widths, headings, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = (
        "-" * (width + 1) + (":" if columns[heading] == "right" else "-")
        for width, heading in zip(widths, headings, strict=True)
    )
    return "\n".join([line(headings), f"|{'|'.join(rule)}|", *(line(row) for row in lines)])


def plot_front(rows: Sequence[Row], title: str, path: Path) -> None:
    """Draws test error over MACs, the front as a line, 95 % intervals as bars (PNG)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for index, row in enumerate(rows):
        error, cost = row["error"], row["macs"]
        half = 0.0 if error["high"] is None else 100 * (error["high"] - error["mean"])
        dropout = row["agent"] == "block_dropout"
        axes.errorbar(
            cost["mean"],
            100 * error["mean"],
            yerr=half,
            fmt="x" if dropout else "^" if row["uses_labels"] else "o",
            color="grey" if dropout else f"C{index % 10}",
            capsize=3,
            label=row["label"] + (" (ceiling)" if row["uses_labels"] else ""),
        )
    front = sorted((r["macs"]["mean"], 100 * r["error"]["mean"]) for r in rows if r["on_front"])
    if front:
        axes.step(*zip(*front, strict=True), where="post", color="black", linewidth=0.8, zorder=0)
    axes.set(
        xscale="log",
        xlabel="executed MACs of an image, the policy's own included",
        ylabel="test error in % (mean and 95 % interval over seeds)",
        title=title,
    )
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(path))
