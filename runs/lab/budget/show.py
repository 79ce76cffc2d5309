"""Networks under a budget as text: rows of their results -> tables, one network's or all."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.runs.lab.budget.policies import LEARNERS
from ccenv.runs.stats.intervals import Interval
from ccenv.runs.store.recorded import read_table
from ccenv.runs.tables.sweep_table import markdown

PRUNED = "Ma et al. 2022, doi 10.1155/2022/7775419, table 2"
RESNET_110: list[list[Any]] = [
    ["BlockDrop", "by image", 0.36, 6.4, "0.98 to 1.03", "Wu et al. 2018, arXiv 1711.08393"],
    ["SkipNet", "by image", 0.495, 6.7, "1.03 to 1.08", "Wang et al. 2018, arXiv 1711.09485"],
    ["LRF", "static", 0.374, 5.66, "0.91", PRUNED],
    ["PPSM", "static", 0.313, 6.17, "0.96", PRUNED],
    ["HRank", "static", 0.314, 7.35, "1.13", PRUNED],
]
"""Rows of papers: share of the dense network's MACs, error in per cent, and over that of the dense
network (93.76, 93.60, 93.50 % right; where it is not known to us the least and the most that
ResNet-110 has in these papers, 93.5 and 93.8). BlockDrop's share is computed from the 16.9 of 54
units that it keeps and from its policy."""
Row = Mapping[str, Any]
FORM, SHOWN = "hidden", "rloo"
"""Form of the policies that are shown, and whose cost the numbers beside them are for."""
NAMES = {
    "ResNet-20": "budget-resnet20",
    "EfficientNet-Lite0": "budget-efficientnet-lite0",
    "SmolLM2": "budget-smollm2",
}
"""Network -> its result."""


def table(rows: Sequence[Row]) -> str:
    """Nll of one policy and of baselines at its cost, and what all learners close of the gap."""
    columns, lines = columns_and_lines(rows)
    return markdown(columns, lines)


def columns_and_lines(rows: Sequence[Row]) -> tuple[dict[str, str], list[list[Any]]]:
    """A line a budget; of learners those that were recorded."""
    dense = next(row["nll"] for row in rows if row.get("skipped") == [])
    placed = [row for row in rows if row.get("policy") == FORM]
    columns = {"budget": "right .2f", "MACs": "right .3f", "dense": "right .3f"}
    columns |= dict.fromkeys(("static", "random", "oracle", SHOWN), "right .3f")
    learners = [name for name in LEARNERS if any(row["learner"] == name for row in placed)]
    columns |= {f"gap closed: {name}": "right .2f" for name in learners}
    lines = []
    for budget in dict.fromkeys(row["budget"] for row in placed):
        own = {row["learner"]: row for row in placed if row["budget"] == budget}
        shown = own[SHOWN]
        nlls = [-shown[name]["mean"] for name in ("static", "random", "oracle", "score")]
        gaps = [Interval(**own[name]["gap_closed"]) for name in learners]
        lines.append([budget, shown["cost"]["mean"], dense, *nlls, *gaps])
    return columns, lines


def policies_table(results: Mapping[str, Sequence[Row]]) -> str:
    """The same of all networks, without a column that a network lacks."""
    columns: dict[str, str] = {"network": "left"}
    found = []
    for name, rows in results.items():
        own, lines = columns_and_lines(rows)
        columns |= own
        found += [dict(zip(own, line, strict=True)) | {"network": name} for line in lines]
    return markdown(columns, [[line.get(column) for column in columns] for line in found])


def masks_table(rows: Sequence[Row]) -> str:
    """The best mask of each size beside greedy removal's."""
    columns = {"units": "right"}
    for way in ("exact", "greedy"):
        columns |= {f"{way}: MACs": "right .3f", f"{way}: error %": "right .2f"}
        columns |= {f"{way}: nll": "right .3f"}
    columns |= {"left out": "left"}
    found = [row for row in rows if "size" in row]
    lines = []
    for size in sorted({row["size"] for row in found}):
        line: list[Any] = [str(size)]
        own = {way: row for row in found if row["size"] == size for way in row["ways"]}
        for way in ("exact", "greedy"):
            line += [own[way]["cost"], 100 * own[way]["error"], own[way]["nll"]]
        lines.append([*line, " ".join(str(unit) for unit in own["exact"]["skipped"])])
    return markdown(columns, lines)


def published_table(results: Mapping[str, Sequence[Row]]) -> str:
    """Papers' rows and ours as shares of MACs kept and of the dense network's errors."""
    columns = {"network": "left", "method": "left", "masks": "left", "MACs kept": "right .3f"}
    columns |= {"error %": "right .2f", "error over dense": "right", "source": "left"}
    lines: list[list[Any]] = [["ResNet-110", *row] for row in RESNET_110]
    for name, rows in results.items():
        lines += [[name, *line] for line in our_lines(rows)]
    return markdown(columns, lines)


def our_lines(rows: Sequence[Row]) -> list[list[Any]]:
    """The best masks of more than half of the units, and a policy at budgets of half and more."""
    dense = next(row for row in rows if row.get("skipped") == [])
    lines: list[tuple[str, str, float, float]] = []
    for row in rows:
        if "exact" in row.get("ways", []) and dense["size"] / 2 < row["size"] < dense["size"]:
            name = f"{row['size']} of {dense['size']} units, frozen"
            lines.append((name, "static", row["cost"], row["error"]))
    for row in rows:
        if row.get("policy") == FORM and row["learner"] == SHOWN and row["budget"] >= 0.5:
            lines.append(
                (f"{SHOWN}, frozen", "by image", row["cost"]["mean"], row["error"]["mean"])
            )
    found = []
    for name, kind, kept, error in lines:
        over = f"{error / dense['error']:.2f}" if dense["error"] else ""
        found.append([name, kind, kept, 100 * error, over, "here"])
    return found


def read(results_dir: Path, *names: str) -> dict[str, Sequence[Row]]:
    """Rows of recorded networks."""
    paths = {name: results_dir / f"{NAMES[name]}.json" for name in names}
    for path in paths.values():
        if not path.exists():
            raise ValueError(f"expected the recorded result {path}, got none; record it first")
    return {name: read_table(path)["rows"] for name, path in paths.items()}


def of_all(shown: Callable[[Any], str], results_dir: Path) -> str:
    """A table of all networks."""
    return shown(read(results_dir, *NAMES))


def of_masks(name: str, results_dir: Path) -> str:
    """The masks of each size of one network."""
    return masks_table(read(results_dir, name)[name])


TOGETHER: dict[str, Callable[[Path], str]] = {
    "budget-policies": functools.partial(of_all, policies_table),
    "budget-published": lambda folder: published_table(read(folder, "ResNet-20")),
    "budget-masks-resnet20": functools.partial(of_masks, "ResNet-20"),
    "budget-masks-efficientnet-lite0": functools.partial(of_masks, "EfficientNet-Lite0"),
}
"""Name of a page's table -> how it is made of a folder of results."""
