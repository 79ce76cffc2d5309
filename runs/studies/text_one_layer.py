"""The next byte by one hidden layer that reads all 24 symbols: agents alike, look-up tables.

Everything else as in `text`, whose networks are better for their MACs. Policies have embeddings of
their own, of 8 numbers for each of the last four symbols.
"""

import dataclasses

from ccenv.runs.plan.sweep import with_seeds
from ccenv.runs.studies import text
from ccenv.runs.studies.text import SLOWER, TABLES, Sizes, dense_text, gated_text, own_policy

ONE_OF_32: Sizes = (32, 16, 1)
TWO_OF_32: Sizes = (32, 16, 2)
TWO_OF_64: Sizes = (64, 16, 2)
GATED = (ONE_OF_32, TWO_OF_32, TWO_OF_64)
TABLED = (
    *(dense_text(width, f"tables {TABLES}", tables=TABLES) for width in (24, 48, 192)),
    own_policy("rloo", TWO_OF_32, f"tables {TABLES}", {"tables": TABLES}, **SLOWER),
    gated_text("hash", TWO_OF_32, f"tables {TABLES}", {"tables": TABLES}),
)
PLANNED = dataclasses.replace(
    text.TEXT,
    name="text-one-layer",
    description=(
        "The next byte of Python's standard library, 5.12 million places, by one hidden layer that "
        "reads all 24 symbols: policies, hashing, gates from the loss, random masks, tables."
    ),
    cells=(
        *(dense_text(width) for width in (192, 384)),
        *(own_policy("rloo", sizes, **SLOWER) for sizes in GATED),
        *(gated_text("hash", sizes) for sizes in GATED),
        gated_text("block_dropout", TWO_OF_32),
        own_policy("topk", TWO_OF_32),
        *TABLED,
    ),
)
TEXT_ONE_LAYER = with_seeds(PLANNED, {2: {cell.label for cell in TABLED}}, minutes=150)
"""As far as it has been run."""
