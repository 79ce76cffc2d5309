"""Products of a tile, and the gradient of one: listed rows and a tile of weights -> sums.

All addresses are int64. Of products `ldx` and `ldy`, distances between rows, are in bytes and `ldw`
is in floats; of gradients all distances are in floats.
"""

from typing import Any

import numpy as np

from ccenv.sparse.cpu.codegen.compiled import ROWS_OF_32, ROWS_OF_64, WIDE, called_by_name, compiled
from ccenv.sparse.cpu.codegen.floats import copy_floats
from ccenv.sparse.cpu.codegen.micro_kernels import make_narrow, make_outer, make_product
from ccenv.sparse.cpu.elementwise_kernels import call_transpose

# Inner length and columns of a weight tile that stays in the first-level cache when it is copied,
# and floats of a narrow one that leaves room there for the rows.
TILE_K, TILE_COLUMNS, NARROW_FLOATS = 128, 64, 4096
# Floats of a line of the cache.
LINE = 16
# So many rows share a tile before copying it together pays.
PACK_ROWS = 12

# As many rows as have all their sums in registers.
NARROWER = {16: (8 if WIDE else 6, 4, 2, 1), 8: (8, 4, 2, 1), 4: (8, 1), 1: (4, 1)}
product_16 = make_product(NARROWER)
product_32 = make_product({32: (4, 2, 1)} | NARROWER)
product_64 = make_product({64: (4, 2, 1), 32: (4, 2, 1)} | NARROWER)
NARROW_ROWS = (8, 4, 2, 1) if WIDE else (4, 2, 1)
narrow, narrow_apart = (make_narrow(NARROW_ROWS, together=t) for t in (True, False))


@compiled
def times_tile(
    pairs: int, n: int, x: int, ldx: int, w: int, ldw: int, y: int, ldy: int, k: int, width: int
) -> None:
    """y[place, :width] += x[row, :k] @ w[:k, :width] for n listed pairs of a row and its place.

    Pairs: address of int64 [n], the row in its lower half, the place in its upper half.
    """
    if width == 4 and k % 4 == 0:
        if ldw == 4:
            narrow(pairs, n, x, ldx, w, ldw, y, ldy, k, 4)
        else:
            narrow_apart(pairs, n, x, ldx, w, ldw, y, ldy, k, 4)
    elif WIDE or n <= ROWS_OF_64:
        product_64(pairs, n, x, ldx, w, ldw, y, ldy, k, width)
    elif n <= ROWS_OF_32:
        product_32(pairs, n, x, ldx, w, ldw, y, ldy, k, width)
    else:
        product_16(pairs, n, x, ldx, w, ldw, y, ldy, k, width)


call_tile = called_by_name(times_tile)


@compiled
def longest_tile(width: int) -> int:
    """Inner length of the tiles that a block is walked in.

    A narrow one is longer: each begins by reading sums and ends by writing them.
    """
    return max(TILE_K, NARROW_FLOATS // width)


@compiled
def times_block(
    pairs: int,
    n: int,
    x: int,
    ldx: int,
    w: int,
    ldw: int,
    ldc: int,
    y: int,
    ldy: int,
    num_k: int,
    width: int,
    tile: Any,
) -> None:
    """The same for a block of any size, walked in tiles that stay in cache.

    Weights of an input lie side by side (ldc = 1), or those of an output do (ldw = 1, and ldc
    floats from output to output): then every tile is turned on its side first.
    """
    longest = longest_tile(width)
    if ldc == 1 and num_k <= longest and width <= TILE_COLUMNS and (n < PACK_ROWS or ldw == width):
        call_tile(pairs, n, x, ldx, w, ldw, y, ldy, num_k, width)
        return
    k = 0
    while k < num_k:
        length = min(longest, num_k - k)
        c = 0
        while c < width:
            columns = min(TILE_COLUMNS, width - c)
            at, row = w + 4 * (k * ldw + c * ldc), ldw
            if ldc != 1:
                packed = np.int64(tile.ctypes.data)
                call_transpose(at, ldc, packed, columns, columns, length)
                at, row = packed, columns
            elif n >= PACK_ROWS and ldw > columns:
                packed = np.int64(tile.ctypes.data)
                for i in range(length):
                    copy_floats(at + 4 * i * ldw, packed + 4 * i * columns, columns)
                at, row = packed, columns
            call_tile(pairs, n, x + 4 * k, ldx, at, row, y + 4 * c, ldy, length, columns)
            c += columns
        k += length


outer = make_outer(
    {64: (4, 1), 32: (8, 1), 16: (8, 4, 1), 8: (8, 1), 4: (4, 1), 1: (4, 1)}
    if WIDE
    else {16: (4, 1), 8: (8, 1), 4: (4, 1), 1: (4, 1)}
)


@compiled
def outer_tile(
    items: int, n: int, x: int, ldx: int, z: int, ldz: int, g: int, ldg: int, num_k: int, width: int
) -> None:
    """g[:num_k, :width] = sum over n listed pairs of x[row, :num_k] outer z[place, :width].

    Items: address of int64 [n], the place in its upper half, the row in its lower half.
    """
    outer(x, ldx, z, ldz, items, n, g, ldg, num_k, width)
