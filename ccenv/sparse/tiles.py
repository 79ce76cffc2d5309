"""Products of one tile: listed rows and a tile of weights -> sums, in the widest panels that fit.

All addresses are int64; `ldx` and `ldy` are distances between rows in bytes, `ldw` in floats.
"""

from typing import Any

import numpy as np
from numba import njit

from ccenv.sparse.panels import make_copy, make_dots, make_outer, make_product

compiled = njit(cache=True, nogil=True, error_model="numpy")
inlined = njit(inline="always", error_model="numpy")

# Inner length and columns of a weight tile that stays in the first-level cache when it is copied.
TILE_K, TILE_COLUMNS = 128, 64
# So many rows share a tile before copying it together pays.
PACK_ROWS = 12

product_1x64, product_4x64 = make_product(1, 64), make_product(4, 64)
product_1x32, product_4x32 = make_product(1, 32), make_product(4, 32)
product_1x16, product_8x16 = make_product(1, 16), make_product(8, 16)
product_1x8, product_8x8 = make_product(1, 8), make_product(8, 8)
product_1x4, product_8x4 = make_product(1, 4), make_product(8, 4)
product_1x1, product_4x1 = make_product(1, 1), make_product(4, 1)
outer_1x64, outer_4x64 = make_outer(1, 64), make_outer(4, 64)
outer_1x16, outer_8x16 = make_outer(1, 16), make_outer(8, 16)
outer_1x8, outer_8x8 = make_outer(1, 8), make_outer(8, 8)
outer_1x4, outer_4x4 = make_outer(1, 4), make_outer(4, 4)
outer_1x1, outer_4x1 = make_outer(1, 1), make_outer(4, 1)
dots_64, dots_16, dots_4, dots_1 = make_dots(64), make_dots(16), make_dots(4), make_dots(1)
copy_64, copy_16, copy_4, copy_1 = make_copy(64), make_copy(16), make_copy(4), make_copy(1)


@inlined
def four(rows: Any, r: int, base: int, ld: int) -> Any:
    """Addresses of four listed rows; `ld` in bytes."""
    return (
        base + np.int64(rows[r]) * ld,
        base + np.int64(rows[r + 1]) * ld,
        base + np.int64(rows[r + 2]) * ld,
        base + np.int64(rows[r + 3]) * ld,
    )


@inlined
def eight(rows: Any, r: int, base: int, ld: int) -> Any:
    """Addresses of eight listed rows."""
    a, b, c, d = four(rows, r, base, ld)
    e, f, g, h = four(rows, r + 4, base, ld)
    return (a, b, c, d, e, f, g, h)


@compiled
def copy_floats(source: int, target: int, width: int) -> None:
    """Copies `width` floats between two addresses."""
    c = 0
    while width - c >= 64:
        copy_64(source + 4 * c, target + 4 * c)
        c += 64
    while width - c >= 16:
        copy_16(source + 4 * c, target + 4 * c)
        c += 16
    while width - c >= 4:
        copy_4(source + 4 * c, target + 4 * c)
        c += 4
    while c < width:
        copy_1(source + 4 * c, target + 4 * c)
        c += 1


@compiled
def times_tile(
    rows: Any,
    places: Any,
    n: int,
    x: int,
    ldx: int,
    w: int,
    ldw: int,
    y: int,
    ldy: int,
    k: int,
    width: int,
) -> None:
    """y[place, :width] += x[row, :k] @ w[:k, :width] for n listed rows and their places.

    ldx and ldy in bytes, ldw in floats.
    """
    c = 0
    while c < width:
        left, to, at = width - c, y + 4 * c, w + 4 * c
        r = 0
        if left >= 64:
            while n - r >= 4:
                product_4x64(four(rows, r, x, ldx), at, four(places, r, to, ldy), k, ldw)
                r += 4
            while r < n:
                b = np.int64(rows[r])
                product_1x64((x + b * ldx,), at, (to + np.int64(places[r]) * ldy,), k, ldw)
                r += 1
            c += 64
        elif left >= 32:
            while n - r >= 4:
                product_4x32(four(rows, r, x, ldx), at, four(places, r, to, ldy), k, ldw)
                r += 4
            while r < n:
                b = np.int64(rows[r])
                product_1x32((x + b * ldx,), at, (to + np.int64(places[r]) * ldy,), k, ldw)
                r += 1
            c += 32
        elif left >= 16:
            while n - r >= 8:
                product_8x16(eight(rows, r, x, ldx), at, eight(places, r, to, ldy), k, ldw)
                r += 8
            while r < n:
                b = np.int64(rows[r])
                product_1x16((x + b * ldx,), at, (to + np.int64(places[r]) * ldy,), k, ldw)
                r += 1
            c += 16
        elif left >= 8:
            while n - r >= 8:
                product_8x8(eight(rows, r, x, ldx), at, eight(places, r, to, ldy), k, ldw)
                r += 8
            while r < n:
                b = np.int64(rows[r])
                product_1x8((x + b * ldx,), at, (to + np.int64(places[r]) * ldy,), k, ldw)
                r += 1
            c += 8
        elif left >= 4:
            while n - r >= 8:
                product_8x4(eight(rows, r, x, ldx), at, eight(places, r, to, ldy), k, ldw)
                r += 8
            while r < n:
                b = np.int64(rows[r])
                product_1x4((x + b * ldx,), at, (to + np.int64(places[r]) * ldy,), k, ldw)
                r += 1
            c += 4
        else:
            while n - r >= 4:
                product_4x1(four(rows, r, x, ldx), at, four(places, r, to, ldy), k, ldw)
                r += 4
            while r < n:
                b = np.int64(rows[r])
                product_1x1((x + b * ldx,), at, (to + np.int64(places[r]) * ldy,), k, ldw)
                r += 1
            c += 1


@compiled
def times_block(
    rows: Any,
    places: Any,
    n: int,
    x: int,
    ldx: int,
    w: int,
    ldw: int,
    y: int,
    ldy: int,
    num_k: int,
    width: int,
    tile: Any,
) -> None:
    """The same for a block of any size, walked in tiles that stay in cache."""
    k = 0
    while k < num_k:
        length = min(TILE_K, num_k - k)
        c = 0
        while c < width:
            columns = min(TILE_COLUMNS, width - c)
            at = w + 4 * (k * ldw + c)
            if n >= PACK_ROWS and ldw > columns:
                packed = np.int64(tile.ctypes.data)
                for i in range(length):
                    copy_floats(at + 4 * i * ldw, packed + 4 * i * columns, columns)
                times_tile(
                    rows,
                    places,
                    n,
                    x + 4 * k,
                    ldx,
                    packed,
                    columns,
                    y + 4 * c,
                    ldy,
                    length,
                    columns,
                )
            else:
                times_tile(
                    rows, places, n, x + 4 * k, ldx, at, ldw, y + 4 * c, ldy, length, columns
                )
            c += columns
        k += length


@compiled
def outer_tile(
    rows: Any, n: int, x: int, ldx: int, z: int, ldz: int, g: int, ldg: int, num_k: int, width: int
) -> None:
    """g[:num_k, :width] = sum over listed rows of x[row, :num_k] outer z[row, :width].

    All distances in floats.
    """
    items = np.int64(rows.ctypes.data)
    c = 0
    while c < width:
        left = width - c
        from_z, to = z + 4 * c, g + 4 * c
        k = 0
        if left >= 64:
            while num_k - k >= 4:
                outer_4x64(x + 4 * k, ldx, from_z, ldz, items, n, to + 4 * k * ldg, ldg)
                k += 4
            while k < num_k:
                outer_1x64(x + 4 * k, ldx, from_z, ldz, items, n, to + 4 * k * ldg, ldg)
                k += 1
            c += 64
        elif left >= 16:
            while num_k - k >= 8:
                outer_8x16(x + 4 * k, ldx, from_z, ldz, items, n, to + 4 * k * ldg, ldg)
                k += 8
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


@compiled
def transposed_row(z: int, w: int, ldw: int, y: int, num_k: int, width: int) -> None:
    """y[:num_k] += w[:num_k, :width] @ z[:width]."""
    c = 0
    while width - c >= 64:
        dots_64(z + 4 * c, w + 4 * c, y, num_k, ldw)
        c += 64
    while width - c >= 16:
        dots_16(z + 4 * c, w + 4 * c, y, num_k, ldw)
        c += 16
    while width - c >= 4:
        dots_4(z + 4 * c, w + 4 * c, y, num_k, ldw)
        c += 4
    while c < width:
        dots_1(z + 4 * c, w + 4 * c, y, num_k, ldw)
        c += 1
