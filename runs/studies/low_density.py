"""MNIST at one block of 16 in 16: (ways to train 64 x 16 with few kept) -> how low the error gets.

The author's thesis (Fig. 5.7) has a median of 2.2 % and a best run of 1.7 % at densities of 6 to
7 %; the paper's policy and training stand in `paper-mnist-density`, here are others.
"""

from ccenv.runs.plan.sweep import Cell, Sweep, dense, with_seeds
from ccenv.runs.studies.equal_cost.rows import SHIFTED, Sizes, gated, training
from ccenv.runs.studies.paper.tables import MNIST

SIZES: Sizes = (64, 16, 4)
"""Blocks, units of a block, blocks kept: density 0.0625, 64 units an image."""
WAYS = (
    gated("rloo", SIZES),
    gated("rloo", SIZES, note="16 masks, bonus 0.3", group_size=16, diversity_weight=0.3),
    gated("rloo", SIZES, note="policy sees every pixel", observation="layer_input"),
)


def shifted(epochs: int, *cells: Cell) -> tuple[Cell, ...]:
    """Rows trained for two or four times as many epochs on moved images."""
    settings = training(epochs * MNIST, 2e-3, dataset="mnist", transforms=SHIFTED)
    note = "shifted images" if epochs == 40 else f"shifted images, {epochs} epochs"
    return tuple(Cell(f"{c.label}, {note}", c.agent, {**settings, **c.settings}) for c in cells)


ONCE = (
    "rloo 64 x 16, 4 kept, 16 masks, bonus 0.3",
    "rloo 64 x 16, 4 kept, policy sees every pixel",
    "rloo 64 x 16, 4 kept, shifted images",
)
"""Rows of one seed: how far the runs had come; the first of them is on the front."""

LOW_DENSITY_MNIST = with_seeds(
    Sweep(
        name="low-density-mnist",
        description=(
            "MNIST, 64 blocks of 16 at density 0.06: policy gradient with several masks an image, "
            "20 epochs of AdamW, beside a dense network of as many units; shifted images for 40 "
            "and 80 epochs."
        ),
        settings=training(20 * MNIST, 2e-3, env="BlockSelectionMNIST-v0"),
        cells=(
            *dense(64),
            *WAYS,
            *shifted(40, gated("rloo", SIZES)),
            *shifted(80, *dense(64), gated("rloo", SIZES)),
        ),
        minutes=100,
        seeds=(0, 1, 2, 3, 4),
    ),
    {1: ONCE, 3: ("dense 64, shifted images, 80 epochs",)},
    minutes=61,
)
