"""The next byte after four times the training: do policies keep their lead over dense networks?

20.5 of 26.5 million places, each seen once; everything else as in `text`.
"""

import dataclasses

from ccenv.runs.plan.sweep import with_seeds
from ccenv.runs.studies import text

LONGER = 4 * text.PLACES
ONE = (
    "dense 256, then 128, context 8, rate 0.005",
    "rloo 32,32 x 16, 1 kept, context 8",
    "hash 32,32 x 16, 1 kept, by two symbols, context 8",
)
"""One of 32 blocks in each layer, and the dense network beside it."""
TWO = ("dense 512, then 256, context 8, rate 0.005", "rloo 32,32 x 16, 2 kept, context 8")
PLANNED = dataclasses.replace(
    text.TEXT,
    name="text-longer",
    description=(
        "The next byte of Python's standard library, 20.5 million places, four times those of "
        "text: dense networks beside policies that choose blocks and hashing."
    ),
    settings={**text.TEXT.settings, "images": LONGER, "eval_every": LONGER},
    cells=tuple(cell for cell in text.TEXT.cells if cell.label in (*ONE, *TWO)),
)
TEXT_LONGER = with_seeds(PLANNED, {3: ONE, 1: TWO}, minutes=110)
"""As far as it has been run."""
