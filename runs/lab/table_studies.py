"""What studies of tables of masks share: components of looks, intervals over seeds, origins."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ccenv.mask_table.evaluation.exact import FLOATS
from ccenv.mask_table.table import MaskTable
from ccenv.runs.lab.mask_tables.learning import standardised
from ccenv.runs.stats.intervals import mean_interval


def main_parts(most: int, fitted: FLOATS, *others: FLOATS) -> list[FLOATS]:
    """At most so many columns that say most of some looks, and one of ones.

    Args:
        most: columns; of more the first principal components of the first looks.
        fitted: [n, columns]; what means, deviations and components are of.
        *others: looks of other inputs.

    Returns:
        All looks, of deviation 1 over the first ones: [n, at most `most` + 1] each.
    """
    parts = [part[:, :-1] for part in standardised(fitted, *others)]
    if fitted.shape[1] > most:
        _, _, directions = np.linalg.svd(parts[0].T @ parts[0])
        parts = [part @ directions[:most].T for part in parts]
    return standardised(*parts)


def interval_of_each(points: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """Of each number of some points the interval of its mean over them, as JSON holds it."""
    return {name: vars(mean_interval([point[name] for point in points])) for name in points[0]}


def said_of(table: MaskTable) -> dict[str, Any]:
    """Which table it was."""
    names = ("network", "settings", "dataset", "split", "num_images", "weights", "data")
    return {name: getattr(table.header, name) for name in names}
