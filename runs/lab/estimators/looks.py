"""What better looks are worth: (tables, network, looks behind prefixes) -> share of the gap closed.

The learner is the best one of the study, a softmax over the best static masks by the exact gradient
(`fitted.MENU`); what it sees changes, and how many inputs it learns by. Looks that the network must
run for are not paid for here: they are ceilings. Beside it coins gate by gate (`gatewise`), which
see what the blocks that they kept made of an input.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccenv.data import Split
from ccenv.mask_table import MaskTable
from ccenv.mask_table.building.checks import batches
from ccenv.mask_table.evaluation.exact import FLOATS
from ccenv.mask_table.menus import Menu
from ccenv.mask_table.network import TableNetwork
from ccenv.mdp.observations import pool
from ccenv.networks.core.protocol import forward
from ccenv.runs.lab.estimators import fitted, gatewise
from ccenv.runs.lab.estimators.fitted import Data, data_of
from ccenv.runs.lab.table_studies import interval_of_each, main_parts

FIRST, COINS, BEHIND = "first look", "gate by gate: first look", "gate by gate: later looks"
MOST = 64
"""Columns of a look; of larger ones the largest principal components."""
FORWARD = 64
"""Inputs that a network answers at once."""


@dataclass(frozen=True)
class Sizes:
    """How much is learned."""

    budget: float = 0.5
    """mean compute cost."""
    fewer: int = 512
    """inputs of the row that learns by fewer."""
    choosing: int = 768
    """last inputs of the fitting table, which choose."""
    judging: int = 1280
    """first inputs of the other table, which judge."""
    learned: fitted.Sizes = field(default=fitted.Sizes(look_ups=512, updates=(75, 150, 300)))
    """of the softmax."""
    coins: gatewise.Sizes = field(default=gatewise.Sizes())
    """of coins gate by gate."""
    coin_seeds: int = 3
    """runs of these."""


@dataclass(frozen=True)
class Seen:
    """A look at some inputs."""

    columns: FLOATS
    """[n, columns]."""
    beforehand: float
    """share of the dense network's MACs that had to be run for it."""


@torch.no_grad()
def seen_of(network: Any, split: Split, table: MaskTable, masks: dict[str, int]) -> dict[str, Seen]:
    """Looks at a table's inputs.

    Args:
        network: that the table is of.
        split: whose first inputs are the table's.
        table: for what it holds, and the number of inputs.
        masks: names of looks -> the number of the mask whose answer is seen.
    """
    assert table.look is not None
    parts: dict[str, list[Tensor]] = {name: [] for name in ("image", "stem", *masks)}
    bits = Menu(table.header.num_units).bits()
    for inputs, _ in batches(split, table.header.num_images, FORWARD):
        parts["image"].append(pooled(inputs))
        parts["stem"].append(pooled(network.start(inputs).x))
        for name, number in masks.items():
            rows = torch.from_numpy(bits[number]).expand(len(inputs), -1)
            blocks = [count for _, count, _ in table.header.gates]
            answer = forward(network, inputs, [m.contiguous() for m in rows.split(blocks, dim=1)])
            parts[name].append(answer.log_softmax(dim=1))
    found = {FIRST: Seen(table.look.astype(np.float64), 0.0)}
    for name, tensors in parts.items():
        columns = torch.cat(tensors).double().numpy()
        share = table.macs[masks[name]] / table.header.dense_macs if name in masks else 0.0
        found[name] = Seen(columns, float(share))
    return found


def pooled(maps: Tensor) -> Tensor:
    """At most 8 x 8 places of maps [n, channels, height, width]; other features as they are."""
    return (pool(maps) if maps.ndim == 4 else maps).flatten(1)


def look_rows(
    fitting: MaskTable,
    judging: MaskTable,
    seen: Sequence[dict[str, Seen]],
    later: Sequence[NDArray[np.float16]] | None,
    sizes: Sizes,
) -> Iterator[dict[str, Any]]:
    """A row for each look, over seeds.

    Args:
        fitting: table whose inputs fit and choose.
        judging: table whose first inputs judge; the others fit in one row.
        seen: looks of both tables' inputs; of the second all of `FIRST`, else the first ones.
        later: looks behind prefixes of the inputs that fit, choose and judge, gates after the
            first; None: not looked at.
        sizes: of what is learned.
    """
    few = judging.first(sizes.judging)
    data, first = data_of(fitting, few, sizes.choosing), slice(0, -sizes.choosing)
    last = slice(-sizes.choosing, None)
    for name, own in seen[0].items():
        judged = seen[1][name].columns[: sizes.judging]
        fit, choose, judge = main_parts(MOST, own.columns[first], own.columns[last], judged)
        looked = dataclasses.replace(data, looks={"hidden": (fit, choose, judge)})
        yield row_of(name, len(data.fit.scores), own.beforehand, menu_points(looked, sizes))
    for label, more in (("fewer inputs", fewer(data, sizes)), more_of(judging, few, sizes)):
        yield row_of(f"{FIRST}, {label}", len(more.fit.scores), 0.0, menu_points(more, sizes))
    network = TableNetwork([fitting, few])
    ways = [(COINS, network)]
    if later is not None:
        ways.append((BEHIND, TableNetwork([fitting, few], later=later)))
    for name, one in ways:
        points = [
            gatewise.gatewise_point(one, data, sizes.budget, seed, sizes.coins)
            for seed in range(sizes.coin_seeds)
        ]
        yield row_of(name, len(data.fit.scores), 0.0, points)


def menu_points(data: Data, sizes: Sizes) -> list[Any]:
    """What each seed's softmax reaches."""
    return fitted.judged(data, sizes.learned, sizes.budget, "hidden", fitted.MENU)


def fewer(data: Data, sizes: Sizes) -> Data:
    """Learns by the first inputs alone."""
    fit, choose, judge = data.looks["hidden"]
    looks = {"hidden": (fit[: sizes.fewer], choose, judge)}
    return dataclasses.replace(data, fit=data.fit.of_images(slice(sizes.fewer)), looks=looks)


def more_of(judging: MaskTable, few: MaskTable, sizes: Sizes) -> tuple[str, Data]:
    """Learns by the judging table's other inputs: more of them than the other table has."""
    assert judging.nll is not None
    assert judging.look is not None
    count = few.header.num_images
    header = dataclasses.replace(
        judging.header, num_images=judging.header.num_images - count, data=""
    )
    rest = dataclasses.replace(
        judging,
        header=header,
        right=judging.right[count:],
        nll=judging.nll[count:],
        look=judging.look[count:],
    )
    return "more inputs", data_of(rest, few, sizes.choosing)


def row_of(name: str, inputs: int, beforehand: float, points: Sequence[Any]) -> dict[str, Any]:
    """One row."""
    numbers = interval_of_each([vars(point) for point in points])
    return {"look": name, "inputs": inputs, "beforehand": beforehand, **numbers}
