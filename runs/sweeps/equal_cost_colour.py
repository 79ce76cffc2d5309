"""The equal-cost sweeps on 32 x 32 colour images with more rows behind their first ones.

Rows of `runs.sweeps.equal_cost` stay as they are.
"""

from runs.sweeps import equal_cost
from runs.sweeps.cells import Sweep, dense
from runs.sweeps.equal_cost import Sizes, gated
from runs.sweeps.ways import DECAYED, DROPPED, Ways, extended, halved, in_ways, taught

COLOUR_TEACHER = (256, 256)
COLOUR_BEST: tuple[tuple[Sizes, int], ...] = (
    ((16, 7, 3), 128),
    ((32, 7, 3), 128),
    ((32, 7, 4), 128),
    ((32, 8, 8), 64),
)
COLOUR_WIDTHS = (24, 32, 48, 64)
COLOUR_WAYS: Ways = {"weight decay 0.1": DECAYED, "distilled": taught(COLOUR_TEACHER)}
COLOUR_HEAD = 128
"""Units behind the first layer, as in most conditional rows."""
COLOUR_WITH_HEAD = (16, 24, 32, 48, 64)
COLOUR_HALF_WIDTHS = (24, 32, 48, 64, 96)
COLOUR_HALF: tuple[Sizes, ...] = ((16, 7, 3), (32, 7, 4), (32, 15, 4))
"""Widths and sizes of networks that see images of half their size, 128 units behind them."""


def with_colour_rows(sweep: Sweep, bonus: float, minutes: float) -> Sweep:
    """A sweep on colour images with rows of both kinds trained in other ways."""
    conditional = [gated("rloo", s, head, diversity_weight=bonus) for s, head in COLOUR_BEST]
    plain = dense(*COLOUR_WIDTHS, num_layers=2)
    cells = (
        *in_ways(plain, sweep, {**COLOUR_WAYS, "dropout 0.2": DROPPED}),
        *in_ways(conditional, sweep, COLOUR_WAYS),
    )
    return extended(sweep, cells, minutes)


CIFAR10_FEW: tuple[tuple[Sizes, int], ...] = (((32, 7, 4), 128), ((32, 15, 4), 128))
"""An eighth of the blocks kept, at 0.1 and at 0.2 million MACs."""


def with_fast_rows(sweep: Sweep, bonus: float, minutes: float) -> Sweep:
    """Rows of both kinds at twice the rate, and conditional ones of which an eighth is kept."""
    faster = {"learning_rate": 2e-3}
    ways: Ways = {
        "rate 0.002": {"weights_kwargs": faster},
        "distilled, rate 0.002": taught(COLOUR_TEACHER, **faster),
    }
    few = [gated("rloo", s, head, diversity_weight=bonus) for s, head in CIFAR10_FEW]
    cells = (
        *in_ways(dense(*COLOUR_WIDTHS, 96, num_layers=2), sweep, ways),
        *in_ways(dense(96, num_layers=2), sweep, {"distilled": taught(COLOUR_TEACHER)}),
        *in_ways(few, sweep, ways),
        *in_ways(few[1:], sweep, COLOUR_WAYS),
    )
    return extended(sweep, cells, minutes)


def with_heads(sweep: Sweep, minutes: float) -> Sweep:
    """A narrow first layer and a wide second one for dense networks too."""
    plain = dense(*COLOUR_WITH_HEAD, head=COLOUR_HEAD)
    return extended(sweep, (*plain, *in_ways(plain, sweep, COLOUR_WAYS)), minutes)


def with_halves(sweep: Sweep, dataset: str, bonus: float, minutes: float) -> Sweep:
    """Rows of both kinds on images of half the height and width."""
    plain = dense(*COLOUR_HALF_WIDTHS, head=COLOUR_HEAD)
    few = [gated("rloo", s, COLOUR_HEAD, diversity_weight=bonus) for s in COLOUR_HALF]
    decayed: Ways = {"weight decay 0.1": DECAYED}
    cells = (
        *in_ways((*plain, *few), sweep, decayed),
        *plain[-2:],
        *in_ways(plain[-2:], sweep, {"distilled": taught(COLOUR_TEACHER)}),
    )
    return extended(sweep, halved(cells, dataset), minutes)


EQUAL_COST_CIFAR10 = with_halves(
    with_heads(
        with_fast_rows(
            with_colour_rows(equal_cost.EQUAL_COST_CIFAR10, 0.3, minutes=85), 0.3, minutes=120
        ),
        minutes=50,
    ),
    "cifar10",
    0.3,
    minutes=80,
)
EQUAL_COST_SVHN = with_halves(
    with_heads(with_colour_rows(equal_cost.EQUAL_COST_SVHN, 0.1, minutes=60), minutes=40),
    "svhn",
    0.1,
    minutes=40,
)
EQUAL_COST_MIXED = with_halves(
    with_heads(with_colour_rows(equal_cost.EQUAL_COST_MIXED, 0.1, minutes=120), minutes=85),
    "mixed",
    0.1,
    minutes=80,
)
