"""MNIST at one block of 16 in 16: (ways to train 64 x 16 with few kept) -> how low the error gets.

The author's thesis (Fig. 5.7) has a median of 2.2 % and a best run of 1.7 % at densities of 6 to
7 %; the paper's policy and training stand in `paper-mnist-density`, here are others.
"""

from runs.sweeps.cells import Cell, Sweep, dense
from runs.sweeps.equal_cost import Sizes, gated, training
from runs.sweeps.faithful import authors_training
from runs.sweeps.paper_figures import LEARNED, low_policy, three_times_faster
from runs.sweeps.paper_tables import MNIST

SIZES: Sizes = (64, 16, 4)
"""Blocks, units of a block, blocks kept: density 0.0625, 64 units an image."""
WAYS = (
    gated("rloo", SIZES),
    gated("rloo", SIZES, note="16 masks, bonus 0.3", group_size=16, diversity_weight=0.3),
    gated("rloo", SIZES, note="policy sees every pixel", observation="layer_input"),
    gated("topk", SIZES),
    gated("straight_through", SIZES),
    gated("block_dropout", SIZES),
)
MOVED = "runs.sweeps.shifted:mnist"
"""Images that are moved by up to two pixels."""
PAPERS_POLICY = {
    **{"num_blocks": (64,), "block_size": 16, "activation": "tanh"},
    **low_policy(*LEARNED[4]),
}


def shifted(epochs: int, *cells: Cell) -> tuple[Cell, ...]:
    """Rows trained for two or four times as many epochs on moved images."""
    settings = training(epochs * MNIST, 2e-3, dataset=MOVED)
    note = "shifted images" if epochs == 40 else f"shifted images, {epochs} epochs"
    return tuple(Cell(f"{c.label}, {note}", c.agent, {**settings, **c.settings}) for c in cells)


LOW_DENSITY_MNIST = Sweep(
    name="low-density-mnist",
    description=(
        "MNIST, 64 blocks of 16 at density 0.06: policy gradient with several masks an image, "
        "back-propagated gates and random blocks, 20 epochs of AdamW; the paper's policy for 60 "
        "epochs of AdamW and for 300 as in paper-mnist-density; dense networks of 64 and 1,024; "
        "shifted images for 40 and 80 epochs."
    ),
    settings=training(20 * MNIST, 2e-3, env="BlockSelectionMNIST-v0"),
    cells=(
        *dense(64, 1024),
        *WAYS,
        Cell(
            "condnet, 60 epochs of AdamW",
            "condnet",
            {**training(60 * MNIST, 1e-3), **PAPERS_POLICY},
        ),
        Cell(
            "condnet, 300 epochs",
            "condnet",
            {
                **three_times_faster(
                    authors_training("BlockSelectionMNIST-v0", 0.005, 300 * MNIST)
                ),
                **PAPERS_POLICY,
            },
        ),
        *shifted(40, *dense(64, 1024), gated("rloo", SIZES), gated("block_dropout", SIZES)),
        *shifted(80, *dense(64, 1024), gated("rloo", SIZES)),
    ),
    minutes=240,
    seeds=(0, 1, 2, 3, 4),
)
