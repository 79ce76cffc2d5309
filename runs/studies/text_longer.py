"""The next byte after four times the training: do policies keep their lead over dense networks?

20.5 of 26.5 million places, each seen once; everything else as in `text`.
"""

import dataclasses

from ccenv.runs.plan.sweep import with_seeds
from ccenv.runs.studies.text import PLACES, PLANNED

LONGER = 4 * PLACES
ROWS = (
    *("dense 192", "dense 384", "dense 768"),
    *("rloo 32 x 16, 1 kept", "rloo 32 x 16, 2 kept", "rloo 64 x 16, 2 kept"),
    *("hash 32 x 16, 1 kept", "hash 32 x 16, 2 kept", "hash 64 x 16, 2 kept"),
)
ALL = dataclasses.replace(
    PLANNED,
    name="text-longer",
    description=(
        "The next byte of Python's standard library, 20.5 million places, four times those of "
        "text: dense networks beside policies that choose blocks and hashing."
    ),
    settings={**PLANNED.settings, "images": LONGER, "eval_every": LONGER},
    cells=tuple(cell for cell in PLANNED.cells if cell.label in ROWS),
)
TEXT_LONGER = with_seeds(ALL, {1: ROWS}, minutes=60)
