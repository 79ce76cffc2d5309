"""The leaderboard of tables of all masks: (entries' files, tables) -> standings."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ccenv.mask_table.board import Standing, judge
from ccenv.mask_table.shipped import SHIPPED, shipped_table
from ccenv.mask_table.table import MaskTable, read_table


def judge_entries(
    paths: Sequence[Path], table: Path | None = None, choose: Path | None = None
) -> dict[str, Any]:
    """Ranks entries by their mean regret at three prices.

    Args:
        paths: of entries, see `ccenv.mask_table.answers.entry`.
        table: of inputs that no entry was made with; None for the package's test images.
        choose: of other inputs of the network, which choose the best static mask; None for the
            package's validation images.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: if a table is damaged, or the two are not of one network.
    """
    judging = read_table(table) if table else shipped_table(SHIPPED[0], "test")
    choosing = read_table(choose) if choose else shipped_table(SHIPPED[0], "validation")
    check_apart(judging, choosing)
    ranked, refused = judge(paths, judging, choosing)
    return {
        "header": dataclasses.asdict(judging.header),
        "num_images": judging.header.num_images,
        "standings": [plain(one) for one in ranked],
        "refused": [dataclasses.asdict(one) for one in refused],
    }


def check_apart(judging: MaskTable, choosing: MaskTable) -> None:
    """Refuses other networks, and to choose by the inputs that judge."""
    if judging.header.weights != choosing.header.weights:
        raise ValueError(
            f"expected two tables of one network, got weights {judging.header.weights} and "
            f"{choosing.header.weights}; give --choose a table of the same network"
        )
    if judging.header.data == choosing.header.data:
        raise ValueError("expected other inputs to choose by, got those that judge")


def plain(standing: Standing) -> dict[str, Any]:
    """A standing as plain values."""
    return dataclasses.asdict(standing) | {"regret": standing.regret}
