"""The equal-cost sweeps on 32 x 32 colour images with more rows behind their first ones.

Rows of `ccenv.runs.studies.equal_cost.rows` stay as they are.
"""

from collections.abc import Callable
from functools import partial

from ccenv.runs.plan.sweep import Cell, Sweep, dense, with_seeds
from ccenv.runs.studies.equal_cost import rows as equal_cost
from ccenv.runs.studies.equal_cost import seeds
from ccenv.runs.studies.equal_cost.rows import Sizes, gated
from ccenv.runs.studies.equal_cost.ways import DECAYED, Ways, extended, halved, in_ways, taught

COLOUR_TEACHER = (256, 256)
DECAYS: Ways = {"weight decay 0.1": DECAYED}
TAUGHT: Ways = {"distilled": taught(COLOUR_TEACHER)}
COLOUR_WAYS: Ways = {**DECAYS, **TAUGHT}
DEEPER: Ways = {"weight decay 0.1, policy of 16 hidden units": {**DECAYED, "hidden_units": 16}}
"""For 32 blocks also cheaper than an affine policy: 16 x (192 + 32) MACs instead of 192 x 32."""
COLOUR_WIDTHS = (32, 48, 64)
"""Trained in these ways too."""
COLOUR_HEAD = 128
"""Units behind the first layer, as in most conditional rows."""
COLOUR_WITH_HEAD = (16, 24, 32, 48, 64)
COLOUR_HALF_WIDTHS = (24, 32, 48, 64, 96)
COLOUR_HALF: tuple[Sizes, ...] = ((16, 7, 3), (32, 7, 4), (16, 15, 4), (32, 15, 4))
"""Widths and sizes of networks that see images of half their size, 128 units behind them."""


def with_rows(sweep: Sweep, bonus: float, minutes: float, *more: Sizes) -> Sweep:
    """A sweep on colour images with rows of both kinds trained in other ways, and on halves.

    Args:
        sweep: whose rows stay first.
        bonus: of rloo, for diverse use of blocks.
        minutes: how long the new rows take on two cores.
        *more: sizes of conditional rows that this sweep alone has.
    """
    gate = partial(gated, "rloo", diversity_weight=bonus)
    head = partial(gate, head=COLOUR_HEAD)
    cells = (
        *in_ways(dense(*COLOUR_WIDTHS, num_layers=2), sweep, COLOUR_WAYS),
        *in_ways([head((16, 7, 3)), gate((32, 8, 8), 64), *map(head, more)], sweep, DECAYS),
        *in_ways([head((32, 7, 3))], sweep, TAUGHT),
        *in_ways([head((32, 7, 4))], sweep, COLOUR_WAYS),
        *dense(*COLOUR_WITH_HEAD, head=COLOUR_HEAD),
        *halved(half_size(sweep, head), sweep.settings["transforms"]),
    )
    return extended(sweep, cells, minutes)


def half_size(sweep: Sweep, head: Callable[[Sizes], Cell]) -> tuple[Cell, ...]:
    """Rows of both kinds for images of half the height and width, 128 units behind the first."""
    plain = dense(*COLOUR_HALF_WIDTHS, head=COLOUR_HEAD)
    return (
        *in_ways((*plain, *map(head, COLOUR_HALF)), sweep, DECAYS),
        *plain[-2:],
        *in_ways(plain[-2:], sweep, TAUGHT),
        *in_ways(map(head, COLOUR_HALF), sweep, DEEPER),
    )


EQUAL_COST_CIFAR10 = with_seeds(
    with_rows(equal_cost.EQUAL_COST_CIFAR10, 0.3, 140, (32, 15, 4)), seeds.CIFAR10, minutes=139
)
EQUAL_COST_SVHN = with_seeds(with_rows(equal_cost.EQUAL_COST_SVHN, 0.1, 85), seeds.SVHN, minutes=64)
EQUAL_COST_MIXED = with_seeds(
    with_rows(equal_cost.EQUAL_COST_MIXED, 0.1, 160), seeds.MIXED, minutes=163
)
