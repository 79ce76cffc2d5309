"""Networks under a budget as text: rows of their results -> tables, one network's or all."""

import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccenv.base.clock import quartiles_of_ratio
from ccenv.runs.lab.budget.policies import LEARNERS
from ccenv.runs.stats.intervals import Interval
from ccenv.runs.store.recorded import read_table
from ccenv.runs.tables.sweep_table import markdown


@dataclass(frozen=True)
class Published:
    """A row of a paper."""

    method: str
    kind: str
    """static: one smaller network for all images; by image: each has blocks of its own."""
    kept: float
    """share of the dense network's MACs."""
    accuracy: float
    """in per cent."""
    dense: tuple[float, ...]
    """accuracy of the dense network beside it, in per cent; two: where it is not known to us, the
    least and the most that ResNet-110 has in these papers."""
    source: str

    @property
    def errors(self) -> tuple[float, ...]:
        """Error over the dense network's, the least first."""
        return tuple(sorted((100 - self.accuracy) / (100 - base) for base in self.dense))


BETWEEN = (93.5, 93.8)
PRUNED = "Ma et al. 2022, doi 10.1155/2022/7775419, table 2"
RESNET_110 = (
    Published("BlockDrop", "by image", 0.36, 93.6, BETWEEN, "Wu et al. 2018, arXiv 1711.08393"),
    Published("SkipNet", "by image", 0.495, 93.3, BETWEEN, "Wang et al. 2018, arXiv 1711.09485"),
    Published("LRF", "static", 0.374, 94.34, (93.76,), PRUNED),
    Published("PPSM", "static", 0.313, 93.83, (93.60,), PRUNED),
    Published("HRank", "static", 0.314, 92.65, (93.50,), PRUNED),
)
"""BlockDrop's share is computed from the 16.9 of 54 units that it keeps and from its policy."""


Row = Mapping[str, Any]
MASK, POLICY = "mask", "policy"
"""What a row of times is of."""
FORM, SHOWN = "hidden", "rloo"
"""Form of the policies that are shown, and whose cost the numbers beside them are for."""
NAMES = {
    "ResNet-20": "budget-resnet20",
    "EfficientNet-Lite0": "budget-efficientnet-lite0",
    "SmolLM2": "budget-smollm2",
}
"""Network -> its result."""


def table(rows: Sequence[Row]) -> str:
    """Nll of one policy beside what is known at its cost, and what all learners close of the gap.

    Args:
        rows: of a result; those of the menu's masks are left out, but for everything kept.
    """
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


def times_table(results: Mapping[str, Sequence[Row]]) -> str:
    """MACs and time as shares of the whole network's, of static masks and of policies."""
    columns = {"network": "left", "budget": "right .2f", "whole, ms": "left"}
    for name in ("static", "policy"):
        columns |= {f"{name}: MACs": "right .3f", f"{name}: time, 1": "right .2f"}
        columns |= {f"{name}: time, batch": "right .2f"}
    lines = []
    for name, rows in results.items():
        timed = [row for row in rows if "timed" in row]
        for budget in dict.fromkeys(row["budget"] for row in timed if row["timed"] == POLICY):
            lines.append([name, budget, *times_line(rows, timed, budget)])
    return markdown(columns, lines)


def times_line(rows: Sequence[Row], timed: Sequence[Row], budget: float) -> list[Any]:
    """Milliseconds of the whole network, then shares of a static mask and of a policy."""
    masks = {POLICY: budget, MASK: within(rows, budget)["mask"]}
    dense = next(row["mask"] for row in rows if row.get("skipped") == [])
    by_size: dict[int, dict[Any, Row]] = {}
    for row in timed:
        which = row["mask"] if row["timed"] == MASK else row["budget"]
        by_size.setdefault(row["batch"], {})[row["timed"], which] = row
    whole = {size: own[MASK, dense]["milliseconds"] for size, own in by_size.items()}
    said = [f"{statistics.median(ms):.3g} of {size}" for size, ms in whole.items()]
    line: list[Any] = [", ".join(said)]
    for kind in (MASK, POLICY):
        own = [by_size[size][kind, masks[kind]] for size in by_size]
        line.append(own[0]["cost"])
        shares = [share(row["milliseconds"], whole[row["batch"]]) for row in own]
        line += [*shares, None][:2]
    return line


def within(rows: Sequence[Row], budget: float) -> Row:
    """The dearest mask of the menu that a budget allows; of sizes the best one of its size."""
    found = [row for row in rows if "skipped" in row and "exact" in row.get("ways", ["exact"])]
    return max((row for row in found if row["cost"] <= budget), key=lambda row: row["cost"])


def share(times: Sequence[float], whole: Sequence[float]) -> Interval:
    """Ratio of rounds: the median with its quartiles, which two rounds do not have."""
    if len(times) < 3:
        return Interval(statistics.median(a / b for a, b in zip(times, whole, strict=True)))
    low, middle, high = quartiles_of_ratio(times, whole)
    return Interval(middle, None, low, high)


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
    lines: list[list[Any]] = []
    for row in RESNET_110:
        over = " to ".join(f"{error:.2f}" for error in row.errors)
        head = ["ResNet-110", row.method, row.kind, row.kept, 100 - row.accuracy]
        lines.append([*head, over, row.source])
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
    """Rows of recorded networks.

    Raises:
        ValueError: if one is not recorded.
    """
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
    "budget-times": functools.partial(of_all, times_table),
    "budget-published": lambda folder: published_table(read(folder, "ResNet-20")),
    "budget-masks-resnet20": functools.partial(of_masks, "ResNet-20"),
    "budget-masks-efficientnet-lite0": functools.partial(of_masks, "EfficientNet-Lite0"),
}
"""Name of a page's table -> how it is made of a folder of results."""
