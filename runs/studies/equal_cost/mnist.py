"""The equal-cost sweep on MNIST with more rows, longer, and on shifted images.

Rows of `rows` stay as they are; dense networks have a second layer too, larger rates and more
weight decay, as conditional ones have.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from ccenv.runs.plan.sweep import Cell, Sweep, dense, with_seeds
from ccenv.runs.studies.equal_cost import rows as equal_cost
from ccenv.runs.studies.equal_cost import seeds
from ccenv.runs.studies.equal_cost.rows import SHIFTED, Sizes, gated, training
from ccenv.runs.studies.equal_cost.ways import (
    DECAYED,
    DROPPED,
    Ways,
    extended,
    halved,
    in_ways,
    taught,
)


def many_masks(masks: int, sizes: Sizes, hidden: int = 0, **settings: Any) -> Cell:
    """Rloo with so many masks of an image and a hidden layer in its policy or none."""
    note = f"{hidden} hidden, {masks} masks" if hidden else f"{masks} masks"
    own = {"group_size": masks, **({"hidden_units": hidden} if hidden else {})}
    return gated("rloo", sizes, note=note, **own, **settings)


sixteen_masks = partial(many_masks, 16)


MNIST_TEACHER = (256,)
MNIST_BASE: Sizes = (32, 8, 2)
"""On which ways to train are tried."""
MNIST_THIRDS: tuple[Sizes, ...] = ((32, 3, 2), (40, 4, 2), (32, 7, 2), (32, 7, 3))
"""Of at most a third of the MACs of 24, 32 and 48 dense units, and 0.4 of those of 64."""
MNIST_HIDDEN: tuple[tuple[Sizes, int], ...] = (
    *(((48, 7, 1), 8), ((64, 9, 1), 8), ((64, 4, 2), 8), ((64, 4, 2), 16), ((96, 4, 2), 12)),
    *(((64, 3, 3), 8), ((32, 15, 1), 8), ((64, 5, 3), 6), ((64, 7, 2), 12)),
    *(((32, 8, 3), 8), ((64, 4, 6), 8)),
)
"""Sizes and hidden units of a policy that costs less so, for more units of the network."""
ONE_OF_48, TWO_OF_96 = ((48, 7, 1), 8), ((96, 4, 2), 12)
TWO_OF_32, THREE_OF_32 = ((32, 7, 2), 0), ((32, 7, 3), 0)
"""Sizes and hidden units (0 for none) that are trained in more ways than others."""
MNIST_FASTER: tuple[tuple[Sizes, int], ...] = (
    *(ONE_OF_48, ((64, 4, 2), 8), ((128, 3, 2), 8), TWO_OF_96, TWO_OF_32, THREE_OF_32),
)
"""Also trained at twice the network's rate."""
MNIST_WIDTHS = (24, 32, 48, 64, 96)
MNIST_HEAD = 64
"""Units of a dense layer behind the first one, of either kind."""
MNIST_WITH_HEAD = (8, 12, 16, 24, 32, 48)
MNIST_HALF_WIDTHS = (8, 16, 24, 48, 96)
MNIST_HALF_WITH_HEAD = (8, 12, 16, 24, 32, 48, 64, 96, 128)
MNIST_HALF: tuple[tuple[Sizes, int], ...] = (
    *(((48, 7, 1), 8), ((32, 8, 2), 0), ((32, 8, 4), 0)),
    *(((32, 15, 3), 0), ((32, 15, 4), 0), ((32, 15, 6), 0)),
)
"""Sizes and hidden units (0 for none) of networks that see images of half their size."""
FASTER: Ways = {"rate 0.004": {"weights_kwargs": {"learning_rate": 4e-3}}}
DIVERSE: Ways = {"bonus 0.3": {"diversity_weight": 0.3}}
DIVERSE_FASTER: Ways = {
    "bonus 0.3, rate 0.004": {**FASTER["rate 0.004"], **DIVERSE["bonus 0.3"]},
}


def decays(*rates: float, bonus: float = 0.0) -> Ways:
    """Twice the network's rate, with weight decays of these rates; a bonus is rloo's.

    >>> list(decays(0.1, bonus=0.3))
    ['bonus 0.3, rate 0.004, weight decay 0.1']
    """
    note = f"bonus {bonus}, " if bonus else ""
    own = {"diversity_weight": bonus} if bonus else {}
    return {
        f"{note}rate 0.004, weight decay {decay}": {
            "weights_kwargs": {"learning_rate": 4e-3, "weight_decay": decay},
            **own,
        }
        for decay in rates
    }


WARM: Mapping[str, Any] = {
    "weights_kwargs": {"teacher_units": MNIST_TEACHER, "warm_start": True},
}
TAUGHT: Ways = {"distilled": taught(MNIST_TEACHER)}


def mnist_ways(cells: Iterable[Cell], ways: Ways) -> tuple[Cell, ...]:
    """Rows of the MNIST sweep trained in each way."""
    return in_ways(cells, equal_cost.EQUAL_COST_MNIST, ways)


WITH_HEAD = dense(*MNIST_WITH_HEAD, head=MNIST_HEAD)
HALF_DENSE = (*dense(*MNIST_HALF_WIDTHS), *dense(*MNIST_HALF_WITH_HEAD, head=MNIST_HEAD))
HALF_CONDITIONAL = (
    *(sixteen_masks(*sizes) for sizes in MNIST_HALF),
    *(sixteen_masks((32, 8, kept), head=MNIST_HEAD) for kept in (4, 2)),
    sixteen_masks((48, 7, 1), 8, head=MNIST_HEAD),
    sixteen_masks((32, 15, 4), head=MNIST_HEAD),
)

EQUAL_COST_MNIST = with_seeds(
    extended(
        equal_cost.EQUAL_COST_MNIST,
        (
            *mnist_ways(dense(48), {"weight decay 0.1": DECAYED, "dropout 0.2": DROPPED}),
            *mnist_ways(dense(48, 64), TAUGHT),
            *mnist_ways(
                [gated("rloo", MNIST_BASE)],
                {
                    "weight decay 0.1": DECAYED,
                    "dropout 0.2": DROPPED,
                    **TAUGHT,
                    "warm start": WARM,
                    "warm start, distilled": taught(MNIST_TEACHER, warm_start=True),
                },
            ),
            *(gated("rloo", sizes) for sizes in MNIST_THIRDS),
            *mnist_ways((gated("rloo", sizes) for sizes in MNIST_THIRDS[2:]), TAUGHT),
            sixteen_masks(*TWO_OF_32),
            *(sixteen_masks(*sizes) for sizes in MNIST_HIDDEN),
            *mnist_ways(dense(8, 16, *MNIST_WIDTHS), FASTER),
            *mnist_ways((sixteen_masks(*sizes) for sizes in MNIST_FASTER), FASTER),
            *mnist_ways((sixteen_masks(*sizes) for sizes in (ONE_OF_48, TWO_OF_32)), DIVERSE),
            *mnist_ways(
                (sixteen_masks(*s) for s in (ONE_OF_48, TWO_OF_96, TWO_OF_32, THREE_OF_32)),
                DIVERSE_FASTER,
            ),
            *mnist_ways(WITH_HEAD, FASTER),
            *mnist_ways((*dense(*MNIST_WIDTHS), *WITH_HEAD), decays(0.1)),
            *mnist_ways(
                (many_masks(32, *sizes) for sizes in (ONE_OF_48, TWO_OF_32, THREE_OF_32)),
                decays(0.1, bonus=0.3),
            ),
            *halved(mnist_ways(HALF_DENSE, decays(0.1))),
            *halved(mnist_ways(HALF_CONDITIONAL, decays(0.1, bonus=0.3))),
        ),
        minutes=360,
    ),
    seeds.MNIST,
    minutes=290,
)

LONGER = Sweep(
    name="equal-cost-mnist-longer",
    description=(
        "MNIST, 60 epochs instead of 20: dense networks of 24 and 48 units beside a conditional "
        "one of a third of the MACs of 48, also with more weight decay."
    ),
    settings=training(60 * 50_000, 2e-3, env="BlockSelectionMNIST-v0"),
    cells=(*dense(24, 48), sixteen_masks(*TWO_OF_32)),
    minutes=20,
    seeds=(0, 1, 2, 3, 4),
)
EQUAL_COST_MNIST_LONGER = with_seeds(
    extended(
        LONGER,
        (
            *in_ways(dense(48), LONGER, decays(0.1, 0.2)),
            *in_ways([sixteen_masks(*TWO_OF_32)], LONGER, decays(0.1, 0.2, bonus=0.3)),
            *in_ways([many_masks(32, *TWO_OF_32)], LONGER, decays(0.1, bonus=0.3)),
        ),
        minutes=75,
    ),
    seeds.MNIST_LONGER,
    minutes=21,
)

EQUAL_COST_MNIST_SHIFTED = Sweep(
    name="equal-cost-mnist-shifted",
    description=(
        "MNIST with shifts, 40 epochs: dense networks of 24 and 48 units beside conditional ones "
        "of a third of their total MACs, the policy's own included; bonus 0.3."
    ),
    settings=training(40 * 50_000, 4e-3, dataset="mnist", transforms=SHIFTED),
    cells=(
        *dense(24, 48),
        *(sixteen_masks(*sizes, diversity_weight=0.3) for sizes in (ONE_OF_48, TWO_OF_32)),
    ),
    minutes=5,
    seeds=(0,),
)
