"""Why rloo gains: one thing at a time is changed from the network that `mnist-rloo` trains."""

from typing import Any

from ccenv.runs.plan.sweep import Cell, Sweep, with_seeds
from ccenv.runs.studies.equal_cost.rows import Sizes, gated, training

BASE: Sizes = (32, 8, 2)
"""32 blocks of 8 units of which 2 are kept; 8 masks an image, bonus 0.1, pooled image."""


def changed(note: str, sizes: Sizes = BASE, **settings: Any) -> Cell:
    """The base with one thing changed; masks of 16 units always, unless k is what changes."""
    cell = gated("rloo", sizes, **settings)
    return Cell(note, cell.agent, cell.settings)


THRICE = (
    *(f"{n} masks" for n in (2, 4, 16, 32)),
    *(f"bonus {weight}" for weight in (0.0, 0.01, 0.3)),
    *("blocks of 2", "blocks of 16", "4 kept", "8 kept"),
)
"""Rows of three seeds."""

RLOO_WHY = with_seeds(
    Sweep(
        name="rloo-why",
        description=(
            "MNIST, 20 epochs, which part of rloo carries its gain: masks an image, bonus, block "
            "size at equal units kept, observation, k."
        ),
        settings=training(20 * 50_000, 2e-3, env="BlockSelectionMNIST-v0"),
        cells=(
            changed("base: 8 masks, bonus 0.1, 32 x 8, 2 kept"),
            *(changed(f"{n} masks", group_size=n) for n in (2, 4, 16, 32)),
            *(changed(f"bonus {weight}", diversity_weight=weight) for weight in (0.0, 0.01, 0.3)),
            *(
                changed(f"blocks of {size}", (blocks, size, kept))
                for blocks, size, kept in ((128, 2, 8), (64, 4, 4), (16, 16, 1))
            ),
            changed("policy sees every pixel", observation="layer_input"),
            *(changed(f"{kept} kept", (32, 8, kept)) for kept in (1, 4, 8)),
        ),
        minutes=90,
        seeds=(0, 1, 2, 3, 4),
    ),
    {1: ("policy sees every pixel",), 3: THRICE},
    minutes=72,
)
