"""The next byte after four times the training: do policies keep their lead over dense networks?

20.5 of 26.5 million places, each seen once; everything else as in `text-one-layer`.
"""

import dataclasses

from ccenv.runs.plan.sweep import with_seeds
from ccenv.runs.studies import text, text_one_layer

LONGER = 4 * text.PLACES
ROWS = (
    *("dense 192", "dense 384"),
    *("rloo 32 x 16, 1 kept", "rloo 32 x 16, 2 kept", "rloo 64 x 16, 2 kept"),
    *("hash 32 x 16, 1 kept", "hash 32 x 16, 2 kept", "hash 64 x 16, 2 kept"),
)
PLANNED = dataclasses.replace(
    text.TEXT,
    name="text-longer",
    description=(
        "The next byte of Python's standard library, 20.5 million places, four times those of "
        "text-one-layer: dense networks beside policies that choose blocks and hashing."
    ),
    settings={**text.TEXT.settings, "images": LONGER, "eval_every": LONGER},
    cells=tuple(cell for cell in text_one_layer.PLANNED.cells if cell.label in ROWS),
)
RUN = ("dense 384", "rloo 32 x 16, 1 kept", "hash 32 x 16, 1 kept")
TEXT_LONGER = with_seeds(PLANNED, {1: RUN, 0: set(ROWS) - set(RUN)}, minutes=25)
"""As far as it has been run."""
