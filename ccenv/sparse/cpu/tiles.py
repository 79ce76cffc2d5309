"""Products of one tile: listed rows and a tile of weights -> sums, in the widest panels that fit.

All addresses are int64; `ldx` and `ldy` are distances between rows in bytes, `ldw` in floats.

Gradient of one tile of weights: listed rows of inputs and of slopes -> their outer products.

All addresses are int64, all distances are in floats.
"""

from typing import Any

import numpy as np

from ccenv.sparse.cpu.codegen.compiled import ROWS_OF_32, ROWS_OF_64, WIDE, compiled
from ccenv.sparse.cpu.codegen.floats import copy_floats
from ccenv.sparse.cpu.codegen.micro_kernels import (
    LOWER_HALF,
    ask_for,
    make_narrow,
    make_outer,
    make_product,
)
from ccenv.sparse.cpu.elementwise_kernels import transpose_floats
from ccenv.sparse.cpu.row_lists import (
    eight,
    eight_sums,
    four,
    four_sums,
    six,
    six_sums,
    two,
    two_sums,
)

# Inner length and columns of a weight tile that stays in the first-level cache when it is copied,
# and floats of a narrow one that leaves room there for the rows.
TILE_K, TILE_COLUMNS, NARROW_FLOATS = 128, 64, 4096
# Rows of the highest panel of 16 columns whose sums stay in registers.
MANY = 8 if WIDE else 6
# Floats of a line of the cache.
LINE = 16
# So many rows share a tile before copying it together pays.
PACK_ROWS = 12
# From so many rows on, inputs of the next panel are asked for ahead: these come from the
# third-level cache, and which rows are listed no prefetcher can know.
MANY_ROWS = 32

product_1x64, product_2x64, product_4x64 = (make_product(n, 64) for n in (1, 2, 4))
product_1x32, product_2x32, product_4x32 = (make_product(n, 32) for n in (1, 2, 4))
product_1x16, product_2x16, product_4x16 = (make_product(n, 16) for n in (1, 2, 4))
product_6x16, product_8x16 = make_product(6, 16), make_product(8, 16)
product_1x8, product_2x8, product_4x8, product_8x8 = (make_product(n, 8) for n in (1, 2, 4, 8))
product_1x4, product_8x4 = make_product(1, 4), make_product(8, 4)
narrow_1, narrow_2, narrow_4, narrow_8 = (make_narrow(n, together=True) for n in (1, 2, 4, 8))
apart_1, apart_2, apart_4, apart_8 = (make_narrow(n, together=False) for n in (1, 2, 4, 8))
product_1x1, product_4x1 = make_product(1, 1), make_product(4, 1)


@compiled
def times_narrow(
    pairs: Any, n: int, x: int, ldx: int, w: int, ldw: int, y: int, ldy: int, k: int
) -> None:
    """`times_tile` for 4 columns that lie together, k a multiple of 4."""
    r = 0
    while WIDE and n - r >= 8:
        narrow_8(eight(pairs, r, x, ldx), w, eight_sums(pairs, r, y, ldy), k, ldw)
        r += 8
    while n - r >= 4:
        narrow_4(four(pairs, r, x, ldx), w, four_sums(pairs, r, y, ldy), k, ldw)
        r += 4
    if n - r >= 2:
        narrow_2(two(pairs, r, x, ldx), w, two_sums(pairs, r, y, ldy), k, ldw)
        r += 2
    if r < n:
        source, target = x + (pairs[r] & LOWER_HALF) * ldx, y + (pairs[r] >> 32) * ldy
        narrow_1((source,), w, (target,), k, ldw)


@compiled
def times_apart(
    pairs: Any, n: int, x: int, ldx: int, w: int, ldw: int, y: int, ldy: int, k: int
) -> None:
    """The same for 4 columns of a wider matrix, with the same result bit for bit."""
    r = 0
    while WIDE and n - r >= 8:
        apart_8(eight(pairs, r, x, ldx), w, eight_sums(pairs, r, y, ldy), k, ldw)
        r += 8
    while n - r >= 4:
        apart_4(four(pairs, r, x, ldx), w, four_sums(pairs, r, y, ldy), k, ldw)
        r += 4
    if n - r >= 2:
        apart_2(two(pairs, r, x, ldx), w, two_sums(pairs, r, y, ldy), k, ldw)
        r += 2
    if r < n:
        source, target = x + (pairs[r] & LOWER_HALF) * ldx, y + (pairs[r] >> 32) * ldy
        apart_1((source,), w, (target,), k, ldw)


@compiled
def ask_for_rows(pairs: Any, first: int, last: int, x: int, ldx: int, k: int) -> None:
    """Fetches the inputs of listed rows, without waiting for them."""
    for r in range(first, last):
        at = x + (pairs[r] & LOWER_HALF) * ldx
        for line in range(0, 4 * k, 4 * LINE):
            ask_for(at + line)


@compiled
def times_tile(
    pairs: Any, n: int, x: int, ldx: int, w: int, ldw: int, y: int, ldy: int, k: int, width: int
) -> None:
    """y[place, :width] += x[row, :k] @ w[:k, :width] for n listed pairs of a row and its place.

    A pair is int64, the row in its lower half. ldx and ldy in bytes, ldw in floats.
    """
    if width == 4 and k % 4 == 0:
        if ldw == 4:
            times_narrow(pairs, n, x, ldx, w, ldw, y, ldy, k)
        else:
            times_apart(pairs, n, x, ldx, w, ldw, y, ldy, k)
        return
    c = 0
    while c < width:
        left, to, at = width - c, y + 4 * c, w + 4 * c
        r = 0
        if left >= 64 and n <= ROWS_OF_64:
            while n - r >= 4:
                if n >= MANY_ROWS:
                    ask_for_rows(pairs, r + 4, min(n, r + 8), x, ldx, k)
                product_4x64(four(pairs, r, x, ldx), at, four_sums(pairs, r, to, ldy), k, ldw)
                r += 4
            if n - r >= 2:
                product_2x64(two(pairs, r, x, ldx), at, two_sums(pairs, r, to, ldy), k, ldw)
                r += 2
            if r < n:
                source, target = x + (pairs[r] & LOWER_HALF) * ldx, to + (pairs[r] >> 32) * ldy
                product_1x64((source,), at, (target,), k, ldw)
            c += 64
        elif left >= 32 and n <= ROWS_OF_32:
            while n - r >= 4:
                if n >= MANY_ROWS:
                    ask_for_rows(pairs, r + 4, min(n, r + 8), x, ldx, k)
                product_4x32(four(pairs, r, x, ldx), at, four_sums(pairs, r, to, ldy), k, ldw)
                r += 4
            if n - r >= 2:
                product_2x32(two(pairs, r, x, ldx), at, two_sums(pairs, r, to, ldy), k, ldw)
                r += 2
            if r < n:
                source, target = x + (pairs[r] & LOWER_HALF) * ldx, to + (pairs[r] >> 32) * ldy
                product_1x32((source,), at, (target,), k, ldw)
            c += 32
        elif left >= 16:
            while n - r >= MANY:
                if WIDE:
                    product_8x16(eight(pairs, r, x, ldx), at, eight_sums(pairs, r, to, ldy), k, ldw)
                else:
                    product_6x16(six(pairs, r, x, ldx), at, six_sums(pairs, r, to, ldy), k, ldw)
                r += MANY
            if n - r >= 4:
                product_4x16(four(pairs, r, x, ldx), at, four_sums(pairs, r, to, ldy), k, ldw)
                r += 4
            if n - r >= 2:
                product_2x16(two(pairs, r, x, ldx), at, two_sums(pairs, r, to, ldy), k, ldw)
                r += 2
            if r < n:
                source, target = x + (pairs[r] & LOWER_HALF) * ldx, to + (pairs[r] >> 32) * ldy
                product_1x16((source,), at, (target,), k, ldw)
            c += 16
        elif left >= 8:
            while n - r >= 8:
                product_8x8(eight(pairs, r, x, ldx), at, eight_sums(pairs, r, to, ldy), k, ldw)
                r += 8
            if n - r >= 4:
                product_4x8(four(pairs, r, x, ldx), at, four_sums(pairs, r, to, ldy), k, ldw)
                r += 4
            if n - r >= 2:
                product_2x8(two(pairs, r, x, ldx), at, two_sums(pairs, r, to, ldy), k, ldw)
                r += 2
            if r < n:
                source, target = x + (pairs[r] & LOWER_HALF) * ldx, to + (pairs[r] >> 32) * ldy
                product_1x8((source,), at, (target,), k, ldw)
            c += 8
        elif left >= 4:
            while n - r >= 8:
                product_8x4(eight(pairs, r, x, ldx), at, eight_sums(pairs, r, to, ldy), k, ldw)
                r += 8
            while r < n:
                source, target = x + (pairs[r] & LOWER_HALF) * ldx, to + (pairs[r] >> 32) * ldy
                product_1x4((source,), at, (target,), k, ldw)
                r += 1
            c += 4
        else:
            while n - r >= 4:
                product_4x1(four(pairs, r, x, ldx), at, four_sums(pairs, r, to, ldy), k, ldw)
                r += 4
            while r < n:
                source, target = x + (pairs[r] & LOWER_HALF) * ldx, to + (pairs[r] >> 32) * ldy
                product_1x1((source,), at, (target,), k, ldw)
                r += 1
            c += 1


@compiled
def longest_tile(width: int) -> int:
    """Inner length of the tiles that a block is walked in.

    A narrow one is longer: each begins by reading sums and ends by writing them.
    """
    return max(TILE_K, NARROW_FLOATS // width)


@compiled
def times_block(
    pairs: Any,
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
        times_tile(pairs, n, x, ldx, w, ldw, y, ldy, num_k, width)
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
                transpose_floats(at, ldc, packed, columns, columns, length)
                at, row = packed, columns
            elif n >= PACK_ROWS and ldw > columns:
                packed = np.int64(tile.ctypes.data)
                for i in range(length):
                    copy_floats(at + 4 * i * ldw, packed + 4 * i * columns, columns)
                at, row = packed, columns
            times_tile(pairs, n, x + 4 * k, ldx, at, row, y + 4 * c, ldy, length, columns)
            c += columns
        k += length


outer_1x64, outer_4x64 = make_outer(1, 64), make_outer(4, 64)
outer_1x32, outer_8x32 = make_outer(1, 32), make_outer(8, 32)
outer_1x16, outer_4x16, outer_8x16 = (make_outer(n, 16) for n in (1, 4, 8))
outer_1x8, outer_8x8 = make_outer(1, 8), make_outer(8, 8)
outer_1x4, outer_4x4 = make_outer(1, 4), make_outer(4, 4)
outer_1x1, outer_4x1 = make_outer(1, 1), make_outer(4, 1)


@compiled
def outer_tile(
    items: int, n: int, x: int, ldx: int, z: int, ldz: int, g: int, ldg: int, num_k: int, width: int
) -> None:
    """g[:num_k, :width] = sum over n listed pairs of x[row, :num_k] outer z[place, :width].

    Items: address of int64 [n], the place in its upper half, the row in its lower half.
    """
    c = 0
    while c < width:
        left = width - c
        from_z, to = z + 4 * c, g + 4 * c
        k = 0
        if WIDE and left >= 64:
            while num_k - k >= 4:
                outer_4x64(x + 4 * k, ldx, from_z, ldz, items, n, to + 4 * k * ldg, ldg)
                k += 4
            while k < num_k:
                outer_1x64(x + 4 * k, ldx, from_z, ldz, items, n, to + 4 * k * ldg, ldg)
                k += 1
            c += 64
        elif WIDE and left >= 32:
            while num_k - k >= 8:
                outer_8x32(x + 4 * k, ldx, from_z, ldz, items, n, to + 4 * k * ldg, ldg)
                k += 8
            while k < num_k:
                outer_1x32(x + 4 * k, ldx, from_z, ldz, items, n, to + 4 * k * ldg, ldg)
                k += 1
            c += 32
        elif left >= 16:
            while WIDE and num_k - k >= 8:
                outer_8x16(x + 4 * k, ldx, from_z, ldz, items, n, to + 4 * k * ldg, ldg)
                k += 8
            while num_k - k >= 4:
                outer_4x16(x + 4 * k, ldx, from_z, ldz, items, n, to + 4 * k * ldg, ldg)
                k += 4
            while k < num_k:
                outer_1x16(x + 4 * k, ldx, from_z, ldz, items, n, to + 4 * k * ldg, ldg)
                k += 1
            c += 16
        elif left >= 8:
            while num_k - k >= 8:
                outer_8x8(x + 4 * k, ldx, from_z, ldz, items, n, to + 4 * k * ldg, ldg)
                k += 8
            while k < num_k:
                outer_1x8(x + 4 * k, ldx, from_z, ldz, items, n, to + 4 * k * ldg, ldg)
                k += 1
            c += 8
        elif left >= 4:
            while num_k - k >= 4:
                outer_4x4(x + 4 * k, ldx, from_z, ldz, items, n, to + 4 * k * ldg, ldg)
                k += 4
            while k < num_k:
                outer_1x4(x + 4 * k, ldx, from_z, ldz, items, n, to + 4 * k * ldg, ldg)
                k += 1
            c += 4
        else:
            while num_k - k >= 4:
                outer_4x1(x + 4 * k, ldx, from_z, ldz, items, n, to + 4 * k * ldg, ldg)
                k += 4
            while k < num_k:
                outer_1x1(x + 4 * k, ldx, from_z, ldz, items, n, to + 4 * k * ldg, ldg)
                k += 1
            c += 1
