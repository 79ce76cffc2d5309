"""Networks of the next byte in the ways that were tried: rates, layers, sizes, what they read.

One seed each. Those that had the fewest bits on validation text for their MACs are run with more
seeds, in `text`.
"""

import dataclasses

from ccenv.runs.plan.sweep import Cell
from ccenv.runs.studies import text
from ccenv.runs.studies.text import (
    CHOSEN,
    GATED,
    NEAR,
    ONE_OF_32,
    SLOWER,
    TABLES,
    TWO_LAST,
    TWO_OF_32,
    cascade_text,
    dense_text,
    gated_text,
    look_ups,
    own_policy,
    pruned_text,
    trained,
    two_layers,
)

WHOLE: tuple[Cell, ...] = (
    *(dense_text(48, rate=rate) for rate in (0.005, 0.01, 0.02)),
    *(dense_text(units, rate=rate) for units in (192, 384, 768) for rate in (0.005, 0.01)),
    dense_text(192, "embeddings of 16", embedding_size=16),
    *(two_layers(128, 64), two_layers(256, 128), two_layers(512, 256, rate=0.005)),
)
"""Dense networks that read the whole window."""
SHORT: tuple[Cell, ...] = (
    dense_text(349, context=6),
    *(dense_text(units, context=8) for units in (40, 80)),
    *(dense_text(320, rate=rate, context=8) for rate in (0.005, 0.01, 0.02)),
    *(dense_text(units, rate=0.005, context=8) for units in (1280, 2133)),
    *(dense_text(units, rate=0.005, context=12) for units in (274, 1097)),
    *(two_layers(*units, context=8) for units in ((48, 32), (96, 64), (160, 96))),
    two_layers(160, 96, rate=0.005, context=8),
    *(two_layers(256, 128, rate=rate, context=8) for rate in (0.0025, 0.005, 0.01)),
    *(two_layers(512, 256, rate=rate, context=8) for rate in (0.0025, 0.005)),
    two_layers(768, 384, rate=0.005, context=8),
    *(two_layers(*units, rate=0.005, context=12) for units in ((256, 128), (512, 256))),
)
"""Dense networks that read its last symbols."""
POLICIES: tuple[Cell, ...] = (
    *(own_policy("rloo", (32, 16, kept), "", NEAR, **SLOWER) for kept in (1, 2)),
    own_policy("rloo", (32, 16, 2), "rate 0.005", NEAR, **SLOWER, **trained(0.005)),
    *(own_policy("rloo", sizes, "embeddings of 8", NEAR, **SLOWER) for sizes in GATED),
    gated_text(
        "rloo", TWO_OF_32, "embeddings of 4", NEAR, embedding_size=4, **text.SYMBOLS, **SLOWER
    ),
    gated_text("hash", ((32, 32), 16, 3), "", NEAR),
)
"""Blocks of one layer and of two; policies with embeddings of their own."""
LOOKING_UP: tuple[Cell, ...] = (
    *(look_ups("rloo", sizes, "policy's rate 0.01", NEAR, **SLOWER) for sizes in GATED),
    look_ups("rloo", ONE_OF_32, "eight symbols", NEAR | {"look_tokens": 8}, **SLOWER),
    look_ups("rloo", ONE_OF_32, "four masks", NEAR, **SLOWER | {"group_size": 4}),
    look_ups(
        "rloo", ONE_OF_32, "four masks, policy's rate 0.03", NEAR, **CHOSEN | {"group_size": 4}
    ),
    look_ups("rloo", ONE_OF_32, "policy's rate 0.1", NEAR, **CHOSEN | {"learning_rate": 0.1}),
    look_ups("rloo", ONE_OF_32, "", NEAR, **CHOSEN),
    *(
        look_ups("topk", TWO_OF_32, f"policy's rate {rate:g}", NEAR, learning_rate=rate)
        for rate in (0.003, 0.005, 0.01)
    ),
    *(
        two_layers(first, then, f"tables {TABLES}", rate, tables=TABLES, **NEAR)
        for first, then, rate in ((48, 32, 0.01), (256, 128, 0.005))
    ),
    *(gated_text("hash", sizes, "", NEAR) for sizes in GATED),
    gated_text("hash", TWO_OF_32, TWO_LAST, NEAR, num_hashed=2),
    gated_text("hash", TWO_OF_32, f"{TWO_LAST}, balanced", NEAR, num_hashed=2, balanced=True),
    gated_text("hash", TWO_OF_32, "by three symbols", NEAR, num_hashed=3),
    gated_text("hash", TWO_OF_32, "by three symbols, balanced", NEAR, num_hashed=3, balanced=True),
)
"""Policies and networks that look symbols up, and tables that are drawn."""
RIVALS: tuple[Cell, ...] = (
    *(pruned_text(7_168, units, rate) for units, rate in (((96, 64), 0.01), ((256, 128), 0.005))),
    pruned_text(7_168, (512, 256)),
    *(pruned_text(20_480, (256, 128), rate) for rate in (0.005, 0.01)),
    *(pruned_text(65_536, (512, 256), rate) for rate in (0.005, 0.01)),
    *(cascade_text((48, 32), (512, 256), share) for share in (0.94, 0.71)),
    # What two of 32 in each layer cost.
    look_ups("rloo_budget", TWO_OF_32, "in the mean", NEAR, cost_limit=0.01989, **CHOSEN),
)
"""Pruned networks, cascades, and blocks as many as each window needs."""
TEXT_SETTINGS = dataclasses.replace(
    text.TEXT,
    name="text-settings",
    description=(
        "The next byte of Python's standard library, 5.12 million places: dense networks, "
        "policies and rivals of other rates, layers, sizes and contexts than those of text, one "
        "seed each."
    ),
    cells=(*WHOLE, *SHORT, *POLICIES, *LOOKING_UP, *RIVALS),
    minutes=148,
    seeds=(0,),
)
