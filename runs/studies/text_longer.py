"""The next byte after four times the training: do policies keep their lead over dense networks?

20.5 of 26.5 million places, each seen once; everything else as in `text`.
"""

import dataclasses

from ccenv.runs.studies import text

LONGER = 4 * text.PLACES
TEXT_LONGER = dataclasses.replace(
    text.TEXT,
    name="text-longer",
    description=(
        "The next byte of Python's standard library, 20.5 million places, four times those of "
        "text: dense networks beside policies that choose blocks, hashing and counting."
    ),
    settings={**text.TEXT.settings, "images": LONGER, "eval_every": LONGER},
    cells=(
        text.two_layers(256, 128, rate=0.005, **text.NEAR),
        text.two_layers(512, 256, rate=0.005, **text.NEAR),
        *(
            text.look_ups("rloo", sizes, "", text.NEAR, **text.CHOSEN)
            for sizes in (text.ONE_OF_32, text.TWO_OF_32)
        ),
        text.gated_text("hash", text.ONE_OF_32, text.TWO_LAST, text.NEAR, num_hashed=2),
        # The one row whose network text does not have: between its two dense ones.
        text.two_layers(384, 192, rate=0.005, **text.NEAR),
        *(text.counted(pairs, positions=LONGER) for pairs in (400_000, 2_000_000)),
    ),
    minutes=230,
)
