"""Times of layers over a grid -> the cost model's coefficients, and how well it chooses."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy.optimize import nnls
from sklearn.model_selection import GroupKFold

from ccenv.runs.show.tables import formatted
from ccenv.sparse.cost_model import DenseCosts, KernelCosts

Row = Mapping[str, Any]
PARTS = {"forward": False, "training": True}
COLUMNS = {
    "passes": "<{part}",
    "cases": ">{cases:,}",
    "kernels chosen %": ">{chosen_percent:.0f}",
    "wrong choice %": ">{wrong_percent:.1f}",
    "time over the best": ">{mean_regret:.3f}",
    "with kernels always": ">{mean_regret_of_always_kernels:.3f}",
    "slower than unmasked dense %": ">{slower_percent:.0f}",
}
BORDER = 0.5
"""a case counts a third (1 / e) where one route takes exp(BORDER) times as long as the other."""
FOLDS = 5
LAYER = ("batch", "in_features", "out_features", "in_blocks", "out_blocks")
"""rows that are equal in these are one layer at several densities."""
SLOWER = 1.05
"""a choice counts as wrong if the other route would have been faster by more than this factor."""


def kernel_counts(row: Row) -> list[float]:
    """What `KernelCosts` has prices for, in its order."""
    batch, pairs = row["batch"], row["pairs"]
    steps = pairs * row["in_features"] / row["in_blocks"]
    return [
        1.0,
        batch * (row["in_blocks"] + row["out_blocks"]),
        batch * row["out_features"],
        pairs,
        steps,
        row["macs"],
        row["in_features"] * row["out_features"],
        steps * (row["out_features"] // row["out_blocks"] % 4),
        pairs * row["out_features"] / row["out_blocks"],
        row["in_blocks"] * row["out_blocks"],
    ]


def dense_counts(row: Row) -> list[float]:
    """What `DenseCosts` has prices for, in its order."""
    batch, weights = row["batch"], row["in_features"] * row["out_features"]
    return [
        1.0,
        batch * (row["in_features"] + row["out_features"]),
        batch * weights,
        weights,
    ]


def prices(
    counts: Sequence[Sequence[float]], seconds: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Weighted least squares of relative errors, no price below zero."""
    scaled = np.array(counts, dtype=np.float64) * (weights / seconds)[:, None]
    found, _ = nnls(scaled, weights)
    return found


def fitted_prices(
    rows: Sequence[Row], kernel: np.ndarray, dense: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Prices of the kernels and of a dense product, from measured seconds of both."""
    # Only the order of the two times is asked for, so cases near the border count most.
    weights = np.exp(-np.abs(np.log(kernel / dense)) / BORDER)
    return (
        prices([kernel_counts(row) for row in rows], kernel, weights),
        prices([dense_counts(row) for row in rows], dense, weights),
    )


def expects_kernels(rows: Sequence[Row], found: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Whether the kernels are chosen at given prices, bool [rows]."""
    kernel, dense = found
    expected: np.ndarray = np.array([kernel_counts(row) for row in rows]) @ kernel <= (
        np.array([dense_counts(row) for row in rows]) @ dense
    )
    return expected


def choices_unseen(rows: Sequence[Row], kernel: np.ndarray, dense: np.ndarray) -> np.ndarray:
    """Whether the kernels are chosen for each row, by prices fitted to other layers.

    A layer's rows, one for each density, are all left out together.
    """
    layers = [tuple(row[name] for name in LAYER) for row in rows]
    numbers = {layer: number for number, layer in enumerate(dict.fromkeys(layers))}
    groups = [numbers[layer] for layer in layers]
    chosen = np.zeros(len(rows), dtype=bool)
    folds = GroupKFold(n_splits=min(FOLDS, len(numbers)))
    for seen, unseen in folds.split(groups, groups=groups):
        found = fitted_prices([rows[i] for i in seen], kernel[seen], dense[seen])
        chosen[unseen] = expects_kernels([rows[i] for i in unseen], found)
    return chosen


def fit_part(rows: Sequence[Row]) -> dict[str, Any]:
    """Prices of both routes, and what choosing costs by prices fitted to other layers."""
    kernel = np.array([row["kernel_seconds"] for row in rows])
    dense = np.array([row["masked_dense_seconds"] for row in rows])
    plain = np.array([row["dense_seconds"] for row in rows])
    kernel_prices, dense_prices = fitted_prices(rows, kernel, dense)
    unseen = choices_unseen(rows, kernel, dense)
    chosen = np.where(unseen, kernel, dense)
    regret = chosen / np.minimum(kernel, dense)
    return {
        "kernels": asdict(KernelCosts(*map(rounded, kernel_prices))),
        "dense": asdict(DenseCosts(*map(rounded, dense_prices))),
        "cases": len(rows),
        "kernels_chosen": float(unseen.mean()),
        "wrong": float((regret > SLOWER).mean()),
        "mean_regret": float(regret.mean()),
        "mean_regret_of_always_kernels": float((kernel / np.minimum(kernel, dense)).mean()),
        "slower_than_dense_without_masks": float((chosen / plain > SLOWER).mean()),
    }


def rounded(price: float) -> float:
    """To six digits, as the model's file has them."""
    return float(f"{price:.5e}")


def fit(found: Mapping[str, Any]) -> dict[str, Any]:
    """The result that is recorded of a measured grid; see `ccenv.runs.benchmark`.

    Args:
        found: rows of `kernel_routes.RouteTimes` as dictionaries, machine and versions.
    """
    rows = [
        {"part": name} | fit_part([row for row in found["rows"] if row["training"] is training])
        for name, training in PARTS.items()
    ]
    rest = {name: found[name] for name in ("machine", "versions")}
    name = found["name"].replace("kernel-routes", "route-costs")
    return {"kind": "route-costs", "name": name, "rows": rows, **rest}


def table(rows: Sequence[Row]) -> str:
    """How well the cost model chooses, in Markdown."""
    shares = {"chosen": "kernels_chosen", "wrong": "wrong"}
    shares |= {"slower": "slower_than_dense_without_masks"}
    percents = [{f"{k}_percent": 100 * row[v] for k, v in shares.items()} for row in rows]
    return formatted(COLUMNS, [{**row, **more} for row, more in zip(rows, percents, strict=True)])
