"""The next byte after four times the training: do policies keep their lead over dense networks?

20.5 of 26.5 million places, each seen once; everything else as in `text`.
"""

import dataclasses

from ccenv.runs.studies import text

LONGER = 4 * text.PLACES
FROM_TEXT = (
    "dense 256, then 128, context 8, rate 0.005",
    "dense 512, then 256, context 8, rate 0.005",
    "rloo 32,32 x 16, 1 kept, context 8",
    "rloo 32,32 x 16, 2 kept, context 8",
    "hash 32,32 x 16, 1 kept, by two symbols, context 8",
)
"""Rows of `text`; between its two dense networks a third is added."""
TEXT_LONGER = dataclasses.replace(
    text.TEXT,
    name="text-longer",
    description=(
        "The next byte of Python's standard library, 20.5 million places, four times those of "
        "text: dense networks beside policies that choose blocks, hashing and counting."
    ),
    settings={**text.TEXT.settings, "images": LONGER, "eval_every": LONGER},
    cells=(
        *(cell for cell in text.TEXT.cells if cell.label in FROM_TEXT),
        text.two_layers(384, 192, rate=0.005, **text.NEAR),
        *(text.counted(pairs, positions=LONGER) for pairs in (400_000, 2_000_000)),
    ),
    minutes=230,
)
