"""Steps of exact pairs of blocks, in plain Python: (shape, card) -> how work is cut, and prices.

Nothing here looks at a mask or at a clock; prices are calculated times (`gpu_roofline`).
"""

import math
from dataclasses import dataclass

from ccenv.sparse.gpu_plan import PAIR_ENTRIES, SMALLEST_TILE, Cut, Tile, power_of_two
from ccenv.sparse.gpu_roofline import SHORTEST, SMALL_SHARE, TILE_SHARE, Card, operations

# Fewest rows of a batch for which steps are listed: below, weights are read for hardly any rows.
STEPPED_ROWS = 512
# Rows of a chunk: the more, the fewer times weights are read, and the fewer programs there are.
CHUNKS = (256, 128, 64)
# Programs that keep a card of some 130 multiprocessors busy.
BUSY_PROGRAMS = 256
# The density that chunks are cut for where the output side has a mask.
CHUNK_DENSITY = 1 / 16
# At one of these densities steps have to save more than it takes to list them and to start.
TRIED_DENSITIES = (1 / 8, 1 / 16, 1 / 32)
LISTING_SECONDS = 2 * SHORTEST
# Widest tile of summed units of a step and its rows, by bytes of a number. Float32 without tensor
# cores pays for each padded row; with them, reading weights costs more than some padding.
STEP_UNITS = {2: 128, 4: 64}
STEP_ROWS = {2: 32, 4: 16}


@dataclass(frozen=True)
class StepPlan:
    """How a layer is cut into steps; prices are calculated times, see `gpu_roofline`."""

    inner: Cut
    """the side that is summed over, each block by itself."""
    chunk: int
    """rows of a chunk, a power of two that tiles divide."""
    rows: int
    """most rows of a step, a power of two."""
    capacity: int
    """most steps of a chunk; more are never worth it, or would take too much memory."""
    step_price: int
    """of a step, in picoseconds of the whole card."""
    row_price: int
    """of a row of a step."""
    tile_price: int
    """of a tile of rows times a group of input blocks."""


def cut_step(width: int, num_blocks: int, itemsize: int) -> Cut:
    """Cuts the side that is summed over, so that a tile never holds two blocks.

    Blocks that share a tile would share rows: a row would meet weights of blocks that it skips.

    >>> cut_step(40, 8, itemsize=2)
    Cut(width=40, block=5, merged=1, pieces=1, step=16)
    """
    block = width // num_blocks
    step = min(STEP_UNITS[itemsize], max(SMALLEST_TILE, power_of_two(block)))
    return Cut(width, block, 1, math.ceil(block / step), step)


def plan_steps(
    batch: int,
    in_blocks: int,
    inner: Cut,
    outer: Cut,
    tile: Tile,
    itemsize: int,
    card: Card,
    *,
    is_listed: bool,
    is_tf32: bool,
) -> StepPlan | None:
    """How a layer would be cut into steps; None where they are not worth being listed.

    Args:
        batch: number of rows.
        in_blocks: input blocks.
        inner: how tiles cut the side that is summed over.
        outer: how both cut the side of the results.
        tile: of the product by tiles.
        itemsize: bytes of a number, 2 or 4.
        card: whose rates the prices follow.
        is_listed: whether the output side has a mask; without, every chunk is everybody's.
        is_tf32: whether float32 is multiplied in tf32.
    """
    if batch < STEPPED_ROWS:
        return None
    own = cut_step(inner.width, in_blocks, itemsize)
    rows = STEP_ROWS[itemsize]
    share = CHUNK_DENSITY if is_listed else 1.0
    programs = [share * batch * outer.num_tiles / chunk for chunk in CHUNKS]
    chunk = next(
        (c for c, n in zip(CHUNKS, programs, strict=True) if n >= BUSY_PROGRAMS), CHUNKS[-1]
    )
    chunk = max(chunk, tile.rows, rows)
    step_price, row_price, tile_price = prices(
        own, inner, outer, tile.rows, rows, itemsize, card, is_tf32=is_tf32
    )
    most = in_blocks * (chunk // rows)
    tiles = inner.num_groups * (chunk // tile.rows)
    worth = tiles * tile_price // max(1, step_price + row_price)
    chunks = math.ceil(batch / chunk) * (outer.num_blocks if is_listed else 1)
    entries = max(PAIR_ENTRIES, batch * outer.width // 8)
    capacity = min(most, worth, entries // (chunks * rows))
    plan = StepPlan(own, chunk, rows, capacity, step_price, row_price, tile_price)
    products = math.ceil(batch / chunk) * outer.num_tiles
    saved = max(
        products * (density if is_listed else 1.0) * saved_seconds(plan, inner, tile, density)
        for density in TRIED_DENSITIES
    )
    return plan if capacity > 0 and saved > LISTING_SECONDS else None


def saved_seconds(plan: StepPlan, inner: Cut, tile: Tile, density: float) -> float:
    """Calculated seconds that steps save in a full chunk of rows that keep so many blocks."""
    used = 1 - (1 - density) ** (tile.rows * inner.merged)
    by_tiles = inner.num_groups * used * (plan.chunk // tile.rows) * plan.tile_price
    rows = plan.chunk * density
    # The last step of a block is half full on average.
    steps = min(rows, rows / plan.rows + 0.5)
    by_steps = plan.inner.num_blocks * (steps * plan.step_price + rows * plan.row_price)
    return 1e-12 * (by_tiles - by_steps)


def prices(
    own: Cut,
    inner: Cut,
    outer: Cut,
    tile_rows: int,
    step_rows: int,
    itemsize: int,
    card: Card,
    *,
    is_tf32: bool,
) -> tuple[int, int, int]:
    """Picoseconds of the whole card for a step, for a row of one, and for a tile and a group.

    A step reads the weights of a block and multiplies padded rows; each of its rows is read, and
    its sums are read and written. A tile reads weights and multiplies all its rows.

    >>> from ccenv.sparse.gpu_plan import cut_inner, cut_outer
    >>> from ccenv.sparse.gpu_roofline import H100
    >>> cuts = cut_step(4096, 64, 2), cut_inner(4096, 64, 2), cut_outer(4096, 64, 128)
    >>> prices(*cuts, 128, 32, 2, H100, is_tf32=False)
    (1489, 116, 2120)
    """
    small = operations(card, itemsize, is_tf32=is_tf32, share=SMALL_SHARE)
    large = operations(card, itemsize, is_tf32=is_tf32, share=TILE_SHARE)
    own_units, units = own.pieces * own.step, inner.pieces * inner.step
    step = max(
        2 * step_rows * own_units * outer.step / small,
        itemsize * own_units * outer.step / card.cache,
    )
    row = (itemsize * own_units + 8 * own.pieces * outer.step) / card.cache
    tile = max(
        2 * tile_rows * units * outer.step / large,
        itemsize * units * outer.step / card.cache,
    )
    return round(1e12 * step), round(1e12 * row), round(1e12 * tile)
