"""CPU kernels in numba: addresses of tensors and masks -> block-sparse products in place.

One schedule serves all cases. For each output block the rows that keep it are bucketed by the
input blocks they keep; then each pair of blocks is multiplied for just these rows, a few of which
share every weight they load. No pair is computed that a row does not keep, no weight of such a pair
is read, and one loop owns each output, so results do not depend on other rows or on the run.

A layer without a mask on one side is a layer of one block there. Weights lie as [in_features,
out_features], `ldw` floats from row to row; activations as [batch, features], contiguous.
"""

from typing import Any

import numpy as np
from numba import carray, njit

from ccenv.sparse.panels import (
    as_pointer,
    load_word,
    lowest_bit,
    make_copy,
    make_dots,
    make_in_place,
    make_outer,
    make_product,
    relu_of,
    tanh_of,
)

compiled = njit(cache=True, nogil=True, error_model="numpy")
inlined = njit(inline="always", error_model="numpy")

# Inner length and columns of a weight tile that stays in the first-level cache when it is copied.
TILE_K, TILE_COLUMNS = 128, 64
# Sums of one pass: as many rows of a block as stay in the fast caches, side by side.
CHUNK_SUMS = 16384
# So many rows share a tile before copying it together pays.
PACK_ROWS = 12
# From so many rows on, and so many output blocks a row, inputs are gathered first.
GATHER_ROWS, GATHER_USES = 128, 3

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
tanh_16, tanh_1 = make_in_place(tanh_of, 16), make_in_place(tanh_of, 1)
relu_16, relu_1 = make_in_place(relu_of, 16), make_in_place(relu_of, 1)

copy_64, copy_16, copy_4, copy_1 = make_copy(64), make_copy(16), make_copy(4), make_copy(1)

NONE, TANH, RELU = 0, 1, 2


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
def rows_of_blocks(mask: int, batch: int, num_blocks: int, rows: Any, counts: Any) -> None:
    """Lists who keeps each block: rows int32 [num_blocks, batch], counts int64 [num_blocks].

    `mask` is the address of bool [batch, num_blocks], or 0 where everybody keeps the one block.
    """
    counts[:] = 0
    if mask == 0:
        for b in range(batch):
            rows[0, b] = b
        counts[0] = batch
        return
    bits = carray(as_pointer(mask), (batch * num_blocks,), np.uint8)
    words = num_blocks // 8 * 8
    for b in range(batch):
        for start in range(0, words, 8):
            word = load_word(mask + b * num_blocks + start)
            while word != np.uint64(0):
                j = start + (lowest_bit(word) >> 3)
                rows[j, counts[j]] = b
                counts[j] += 1
                word &= word - np.uint64(1)
        for j in range(words, num_blocks):
            if bits[b * num_blocks + j]:
                rows[j, counts[j]] = b
                counts[j] += 1


@compiled
def blocks_of_rows(mask: int, batch: int, num_blocks: int, blocks: Any, counts: Any) -> None:
    """Lists which blocks each row keeps: blocks int32 [batch, num_blocks], counts int64 [batch]."""
    if mask == 0:
        blocks[:, 0] = 0
        counts[:] = 1
        return
    bits = carray(as_pointer(mask), (batch * num_blocks,), np.uint8)
    words = num_blocks // 8 * 8
    for b in range(batch):
        n = 0
        for start in range(0, words, 8):
            word = load_word(mask + b * num_blocks + start)
            while word != np.uint64(0):
                blocks[b, n] = start + (lowest_bit(word) >> 3)
                n += 1
                word &= word - np.uint64(1)
        for i in range(words, num_blocks):
            if bits[b * num_blocks + i]:
                blocks[b, n] = i
                n += 1
        counts[b] = n


@compiled
def bucket(
    rows: Any,
    first: int,
    last: int,
    blocks: Any,
    slots: Any,
    counts: Any,
    pairs: Any,
    places: Any,
    sizes: Any,
) -> None:
    """Sorts rows[first:last] by the input blocks they keep.

    For each input block: `pairs` int32 [in_blocks, chunk] lists where the rows' inputs lie (their
    `slots`), `places` the rows' numbers within the chunk, `sizes` how many there are.
    """
    sizes[:] = 0
    for r in range(first, last):
        b = rows[r]
        for q in range(counts[b]):
            i = blocks[b, q]
            pairs[i, sizes[i]] = slots[b, q]
            places[i, sizes[i]] = r - first
            sizes[i] += 1


@compiled
def gather_inputs(
    x: int, batch: int, in_size: int, ldx: int, blocks: Any, counts: Any, slots: Any, starts: Any
) -> Any:
    """Copies the kept blocks of x together, block by block; slots become numbers within a block.

    Rows whose distance is a power of two fall on the same few lines of the cache, and so do their
    blocks; side by side they do not, and the processor sees the next one coming.
    """
    starts[:] = 0
    for b in range(batch):
        for q in range(counts[b]):
            slots[b, q] = starts[blocks[b, q]]
            starts[blocks[b, q]] += 1
    total = 0
    for i in range(len(starts)):
        here = starts[i]
        starts[i] = total
        total += here
    gathered = np.empty(max(1, total * in_size), np.float32)
    base = np.int64(gathered.ctypes.data)
    for b in range(batch):
        for q in range(counts[b]):
            i = np.int64(blocks[b, q])
            to = base + 4 * in_size * (starts[i] + slots[b, q])
            copy_floats(x + b * ldx + 4 * i * in_size, to, in_size)
    return gathered


@compiled
def start_sums(sums: Any, n: int, bias: int, width: int) -> None:
    """Sets n rows of sums to the bias, or to zero where its address is 0."""
    if bias == 0:
        sums[: n * width] = 0
        return
    base = np.int64(sums.ctypes.data)
    for r in range(n):
        copy_floats(bias, base + 4 * r * width, width)


@compiled
def finish_sums(
    rows: Any, first: int, last: int, sums: Any, y: int, ldy: int, width: int, activation: int
) -> None:
    """Applies the activation to the sums of rows[first:last] and writes them where they belong."""
    base = np.int64(sums.ctypes.data)
    n = last - first
    size = n * width
    c = 0
    if activation == TANH:
        while size - c >= 16:
            tanh_16(base + 4 * c)
            c += 16
        while c < size:
            tanh_1(base + 4 * c)
            c += 1
    elif activation == RELU:
        while size - c >= 16:
            relu_16(base + 4 * c)
            c += 16
        while c < size:
            relu_1(base + 4 * c)
            c += 1
    for r in range(n):
        copy_floats(base + 4 * r * width, y + np.int64(rows[first + r]) * ldy, width)


@compiled
def forward(
    x: int,
    w: int,
    ldw: int,
    panel: int,
    bias: int,
    in_mask: int,
    out_mask: int,
    y: int,
    batch: int,
    in_blocks: int,
    in_size: int,
    out_blocks: int,
    out_size: int,
    activation: int,
) -> None:
    """Writes activation(x w + bias) on kept blocks, zero elsewhere; masks and bias 0 for none.

    `panel` is the distance in floats from one output block's weights to the next one's.
    """
    ldx = 4 * in_blocks * in_size
    rows = np.empty((out_blocks, batch), np.int32)
    counts = np.empty(out_blocks, np.int64)
    rows_of_blocks(out_mask, batch, out_blocks, rows, counts)
    blocks = np.empty((batch, in_blocks), np.int32)
    slots = np.empty((batch, in_blocks), np.int32)
    kept = np.empty(batch, np.int64)
    blocks_of_rows(in_mask, batch, in_blocks, blocks, kept)
    for b in range(batch):
        slots[b, : kept[b]] = b
    if out_mask != 0:
        carray(as_pointer(y), (batch * out_blocks * out_size,), np.float32)[:] = 0
    starts = np.arange(in_blocks)
    inputs, base = np.empty(0, np.float32), x
    # Each block of x is read once for each output block that its row keeps.
    if in_mask != 0 and batch >= GATHER_ROWS and counts.sum() >= GATHER_USES * batch:
        inputs = gather_inputs(x, batch, in_size, ldx, blocks, kept, slots, starts)
        base, ldx = np.int64(inputs.ctypes.data), 4 * in_size
    multiply_blocks(
        inputs,
        base,
        ldx,
        in_size,
        blocks,
        slots,
        kept,
        starts,
        w,
        ldw,
        panel,
        bias,
        rows,
        counts,
        y,
        out_size,
        activation,
    )


@compiled
def multiply_blocks(
    inputs: Any,
    x: int,
    ldx: int,
    in_size: int,
    blocks: Any,
    slots: Any,
    kept: Any,
    starts: Any,
    w: int,
    ldw: int,
    panel: int,
    bias: int,
    rows: Any,
    counts: Any,
    y: int,
    out_size: int,
    activation: int,
) -> None:
    """The products of `forward`, one output block and one chunk of its rows after the other.

    `inputs` is only held, so that the memory x points to lives on while it is read.
    """
    out_blocks, batch = rows.shape
    in_blocks = len(starts)
    chunk = max(1, min(batch, max(16, CHUNK_SUMS // out_size)))
    pairs = np.empty((in_blocks, chunk), np.int32)
    places = np.empty((in_blocks, chunk), np.int32)
    sizes = np.empty(in_blocks, np.int64)
    tile = np.empty(TILE_K * TILE_COLUMNS, np.float32)
    sums = np.empty(chunk * out_size, np.float32)
    to, ld = np.int64(sums.ctypes.data), 4 * out_size
    for j in range(out_blocks):
        column, own_bias = w + 4 * j * panel, 0 if bias == 0 else bias + j * ld
        for first in range(0, counts[j], chunk):
            last = min(first + chunk, counts[j])
            start_sums(sums, last - first, own_bias, out_size)
            bucket(rows[j], first, last, blocks, slots, kept, pairs, places, sizes)
            for i in range(in_blocks):
                if sizes[i] > 0:
                    source = x + 4 * in_size * starts[i]
                    times_block(
                        pairs[i],
                        places[i],
                        sizes[i],
                        source,
                        ldx,
                        column + 4 * i * in_size * ldw,
                        ldw,
                        to,
                        ld,
                        in_size,
                        out_size,
                        tile,
                    )
            at = y + j * ld
            finish_sums(rows[j], first, last, sums, at, out_blocks * ld, out_size, activation)


@compiled
def slope_rows(
    rows: Any, n: int, y: int, grad_y: int, grad_z: int, ld: int, width: int, activation: int
) -> None:
    """grad_z = grad_y times the activation's slope, told from its output, on the rows' block."""
    for r in range(n):
        offset = np.int64(rows[r]) * ld
        value = carray(as_pointer(y + offset), (width,), np.float32)
        source = carray(as_pointer(grad_y + offset), (width,), np.float32)
        to = carray(as_pointer(grad_z + offset), (width,), np.float32)
        for c in range(width):
            if activation == TANH:
                to[c] = source[c] * (np.float32(1) - value[c] * value[c])
            elif activation == RELU:
                to[c] = source[c] if value[c] > 0 else np.float32(0)
            else:
                to[c] = source[c]


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


@compiled
def backward(
    x: int,
    w: int,
    ldw: int,
    in_mask: int,
    out_mask: int,
    y: int,
    grad_y: int,
    grad_z: int,
    grad_x: int,
    grad_w: int,
    grad_b: int,
    batch: int,
    in_blocks: int,
    in_size: int,
    out_blocks: int,
    out_size: int,
    activation: int,
) -> None:
    """Gradients of `forward`; grad_z is scratch of y's shape, unwanted gradients have address 0.

    grad_w is written whole, as [in_features, out_features] without gaps; so is grad_b.
    """
    in_width, out_width = in_blocks * in_size, out_blocks * out_size
    rows = np.empty((out_blocks, batch), np.int32)
    counts = np.empty(out_blocks, np.int64)
    rows_of_blocks(out_mask, batch, out_blocks, rows, counts)
    blocks = np.empty((batch, in_blocks), np.int32)
    kept = np.empty(batch, np.int64)
    blocks_of_rows(in_mask, batch, in_blocks, blocks, kept)
    pairs = np.empty((in_blocks, batch), np.int32)
    places = np.empty((in_blocks, batch), np.int32)
    sizes = np.empty(in_blocks, np.int64)
    slots = np.empty((batch, in_blocks), np.int32)
    for b in range(batch):
        slots[b, : kept[b]] = b
    if grad_x != 0:
        carray(as_pointer(grad_x), (batch * in_width,), np.float32)[:] = 0
    for j in range(out_blocks):
        n, shift = counts[j], 4 * j * out_size
        z = grad_z + shift
        slope_rows(rows[j], n, y + shift, grad_y + shift, z, 4 * out_width, out_size, activation)
        bucket(rows[j], 0, n, blocks, slots, kept, pairs, places, sizes)
        if grad_b != 0:
            total = carray(as_pointer(grad_b + shift), (out_size,), np.float32)
            total[:] = 0
            for r in range(n):
                at = z + 4 * np.int64(rows[j, r]) * out_width
                part = carray(as_pointer(at), (out_size,), np.float32)
                for c in range(out_size):
                    total[c] += part[c]
        for i in range(in_blocks):
            source = x + 4 * i * in_size
            if grad_w != 0:
                to = grad_w + shift + 4 * i * in_size * out_width
                outer_tile(
                    pairs[i],
                    sizes[i],
                    source,
                    in_width,
                    z,
                    out_width,
                    to,
                    out_width,
                    in_size,
                    out_size,
                )
            if grad_x != 0:
                at = w + shift + 4 * i * in_size * ldw
                for r in range(sizes[i]):
                    b = np.int64(pairs[i, r])
                    to = grad_x + 4 * (b * in_width + i * in_size)
                    transposed_row(z + 4 * b * out_width, at, ldw, to, in_size, out_size)
