"""Dense networks of the next byte, made and trained otherwise: does any come near the policies?

Other rates than those of `text`, larger embeddings, two layers; one seed each, beside those of
`text` with the same seed.
"""

import dataclasses

from ccenv.runs.studies import text

OTHER_RATES = ((48, 0.005), (48, 0.02), (192, 0.005), (768, 0.005))
"""Hidden units, and a rate beside that of all."""
TWO = ((128, 64), (256, 128))
"""Units of two layers."""
BESIDE = ("dense 48", "dense 192", "dense 768")
"""As they are in `text`."""
TEXT_DENSE = dataclasses.replace(
    text.PLANNED,
    name="text-dense",
    description=(
        "The next byte of Python's standard library, 5.12 million places: dense networks of other "
        "rates, larger embeddings and two layers, beside those of text."
    ),
    cells=(
        *(cell for cell in text.PLANNED.cells if cell.label in BESIDE),
        *(text.dense_text(width, f"rate {rate}", rate) for width, rate in OTHER_RATES),
        text.dense_text(192, "embeddings of 16", embedding_size=16),
        *(
            text.dense_text(first, f"then {then}", **text.two_layers(first, then))
            for first, then in TWO
        ),
    ),
    minutes=10,
    seeds=(0,),
)
