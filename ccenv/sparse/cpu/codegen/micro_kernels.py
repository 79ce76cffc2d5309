"""Vector code of the CPU kernels, in LLVM's vectors: products of a few rows, and outer products.

A panel keeps `rows x width` sums in vector registers while it walks the inner dimension. Plain
numba loops do not: LLVM cannot know that numpy arrays do not overlap, so it stores every sum in
every round, and it prefers vectors of half the width that AVX-512 has. `compiled` says how many
sums fit.

Weights that lie output by output are multiplied as dot products along inputs: every output unit has
a vector of partial sums, and vectors are added up over their lanes once, after the last run of
inputs, for all units together. Gradients are sums of outer products.

Addresses are int64, because passing arrays to a compiled function costs more than a small layer.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from ccenv.sparse.cpu.codegen.compiled import FOLD, LANES, emitted
from ccenv.sparse.cpu.codegen.vectors import (
    BUSY,
    F32,
    I8,
    I64,
    add_up,
    all_lanes,
    alternate,
    counted_loop,
    fma,
    halves,
    in_pieces,
    lanes_repeated,
    load,
    load_first,
    multiply_add,
    pointer,
    prefetch,
    side_by_side,
    store,
    tiles,
)

LOWER_HALF = (1 << 32) - 1


Heights = dict[int, tuple[int, ...]]
"""Columns of a panel, falling to 1 -> rows of it, falling to 1: as many as fit, then the next."""
Panel = Callable[[Any, int, list[Any], list[Any], Any, Any, Any], None]
"""Emits one panel: builder, columns, pointers to rows of x and y, pointer to w, num_k, ldw."""


def over_tile(heights: Heights, panel: Panel) -> Any:
    """Makes a function that multiplies listed rows with a tile of weights, in panels that fit.

    It takes the address of the list and its length, address and row distance in bytes of x,
    address and row distance in floats of w, address and row distance in bytes of y, the number of
    k and that of columns. A listed pair is int64: the row of x in its lower half, that of y in its
    upper one.
    """

    @emitted()
    def product(
        builder: Any, pairs: Any, n: Any, x: Any, ldx: Any, w: Any, ldw: Any, y: Any, ldy: Any,
        num_k: Any, width: Any,
    ) -> None:  # fmt: skip
        pairs, w = pointer(builder, pairs, I64), pointer(builder, w)

        def columns(column: Any, wide: int) -> None:
            at, sums = builder.gep(w, [column]), builder.add(y, builder.mul(column, I64(4)))

            def rows(first: Any, count: int) -> None:
                xs, ys = [], []
                for r in range(count):
                    pair = builder.load(builder.gep(pairs, [builder.add(first, I64(r))]))
                    row = builder.and_(pair, I64(LOWER_HALF))
                    place = builder.lshr(pair, I64(32))
                    xs.append(pointer(builder, builder.add(x, builder.mul(row, ldx))))
                    ys.append(pointer(builder, builder.add(sums, builder.mul(place, ldy))))
                panel(builder, wide, xs, ys, at, num_k, ldw)

            in_pieces(builder, n, heights[wide], rows)

        in_pieces(builder, width, tuple(heights), columns)

    return product


def make_product(heights: Heights) -> Any:
    """Makes y[place, :width] += sum over k of x[row, k] * w[k, :width], see `over_tile`."""

    def panel(
        builder: Any, width: int, x: list[Any], y: list[Any], w: Any, num_k: Any, ldw: Any
    ) -> None:
        vec, offsets = tiles(width)
        # An addition waits for the one before it: so many independent sums keep the unit busy.
        unroll = max(1, BUSY // (len(x) * len(offsets)))
        places = [(row, offset) for row in y for offset in offsets]

        def accumulate(k: Any, at: Any, sums: list[Any]) -> list[Any]:
            weights = [load(builder, at, offset, vec) for offset in offsets]
            scales = [builder.load(builder.gep(row, [k])) for row in x]
            return multiply_add(builder, scales, weights, sums)

        def one(k: Any, values: list[Any]) -> list[Any]:
            *sums, at = values
            return [*accumulate(k, at, sums), builder.gep(at, [ldw])]

        def several(step: Any, values: list[Any]) -> list[Any]:
            *sums, at = values
            new = []
            for part in range(unroll):
                k = builder.add(builder.mul(step, I64(unroll)), I64(part))
                new += accumulate(k, at, sums[part * len(places) : (part + 1) * len(places)])
                at = builder.gep(at, [ldw])
            return [*new, at]

        sums = [load(builder, row, offset, vec) for row, offset in places]
        if unroll > 1:
            zeros = [all_lanes(vec, 0.0)] * (len(places) * (unroll - 1))
            steps = builder.sdiv(num_k, I64(unroll))
            *sums, w = counted_loop(builder, steps, [*sums, *zeros, w], several)
            sums = add_up(builder, sums, len(places))
            done = builder.mul(steps, I64(unroll))
            x = [builder.gep(row, [done]) for row in x]
            num_k = builder.sub(num_k, done)
        *sums, _ = counted_loop(builder, num_k, [*sums, w], one)
        for (row, offset), value in zip(places, sums, strict=True):
            store(builder, row, offset, value)

    return over_tile(heights, panel)


def make_narrow(heights: tuple[int, ...], *, together: bool) -> Any:
    """Makes the function of `make_product` for 4 columns; num_k is a multiple of 4.

    A vector of weights then holds four k: it is loaded at once where rows of w lie `together`
    (ldw = 4), else put together, and sums are the same bit for bit. Each input is repeated over
    the lanes of its k by a shuffle, and the lanes of a column are added up at the end. With 8
    columns the shuffles take longer than the loads that they spare.
    """
    few, vec = ir.VectorType(F32, 4), ir.VectorType(F32, 16)
    # The same for any number of rows, so that a row's sum does not depend on its neighbours.
    unroll = FOLD

    def panel(
        builder: Any, width: int, x: list[Any], y: list[Any], w: Any, num_k: Any, ldw: Any
    ) -> None:
        def four_k(k: Any) -> Any:
            if together:
                return load(builder, builder.gep(w, [builder.mul(k, I64(4))]), 0, vec)
            first = builder.gep(w, [builder.mul(k, ldw)])
            parts = []
            for _ in range(4):
                parts.append(load(builder, first, 0, few))
                first = builder.gep(first, [ldw])
            a, b, c, d = parts
            return side_by_side(builder, side_by_side(builder, a, b), side_by_side(builder, c, d))

        def accumulate(k: Any, sums: list[Any]) -> list[Any]:
            weights, new = four_k(k), []
            for row, total in zip(x, sums, strict=True):
                inputs = load(builder, builder.gep(row, [k]), 0, few)
                scales = lanes_repeated(builder, inputs, 4)
                new.append(fma(builder, scales, weights, total))
            return new

        def several(step: Any, sums: list[Any]) -> list[Any]:
            new = []
            for part in range(unroll):
                k = builder.add(builder.mul(step, I64(4 * unroll)), I64(4 * part))
                new += accumulate(k, sums[part * len(x) : (part + 1) * len(x)])
            return new

        sums = [all_lanes(vec, 0.0)] * (len(x) * unroll)
        steps = builder.sdiv(num_k, I64(4 * unroll))
        sums = add_up(builder, counted_loop(builder, steps, sums, several), len(x))
        done = builder.mul(steps, I64(4 * unroll))
        rest = builder.sdiv(builder.sub(num_k, done), I64(4))
        sums = counted_loop(
            builder,
            rest,
            sums,
            lambda n, part_sums: accumulate(builder.add(done, builder.mul(n, I64(4))), part_sums),
        )
        for row, total in zip(y, sums, strict=True):
            while total.type.count > 4:
                total = builder.fadd(*halves(builder, total))
            old = load(builder, row, 0, total.type)
            store(builder, row, 0, builder.fadd(old, total))

    return over_tile({4: heights}, panel)


@emitted()
def sum_blocks(
    builder: Any, xs: Any, ws: Any, num: Any, num_k: Any, ldw: Any, start: Any, y: Any, width: Any
) -> None:
    """y[:width] = start[:width] + sum over listed blocks of x block @ w block, for one row.

    The sums of up to 64 columns stay in registers from the first block to the last. Takes the
    addresses of two int64 lists, where the row's blocks of x lie and where the blocks of w, their
    length, the number of k in a block, the distance between rows of w in floats, the addresses of
    start and y, and the width.
    """
    xs, ws = pointer(builder, xs, I64), pointer(builder, ws, I64)
    start, y = pointer(builder, start), pointer(builder, y)

    def columns(column: Any, wide: int) -> None:
        vec, offsets = tiles(wide)
        unroll = max(1, BUSY // len(offsets))
        zero = all_lanes(vec, 0.0)
        steps = builder.sdiv(num_k, I64(unroll))
        rest = builder.sub(num_k, builder.mul(steps, I64(unroll)))

        def accumulate(values: list[Any], parts: int) -> list[Any]:
            *sums, x, w = values
            new = []
            for part in range(parts):
                weights = [load(builder, w, offset, vec) for offset in offsets]
                scale = builder.load(builder.gep(x, [I64(part)]))
                part_sums = sums[part * len(offsets) : (part + 1) * len(offsets)]
                new += multiply_add(builder, [scale], weights, part_sums)
                w = builder.gep(w, [ldw])
            return [*new, *sums[len(new) :], builder.gep(x, [I64(parts)]), w]

        def block(q: Any, sums: list[Any]) -> list[Any]:
            x = pointer(builder, builder.load(builder.gep(xs, [q])))
            w = pointer(builder, builder.load(builder.gep(ws, [q])))
            values = [*sums, x, builder.gep(w, [column])]
            values = counted_loop(builder, steps, values, lambda _, v: accumulate(v, unroll))
            values = counted_loop(builder, rest, values, lambda _, v: accumulate(v, 1))
            return values[:-2]

        sums = counted_loop(builder, num, [zero] * (unroll * len(offsets)), block)
        totals = add_up(builder, sums, len(offsets))
        first, to = builder.gep(start, [column]), builder.gep(y, [column])
        for offset, total in zip(offsets, totals, strict=True):
            store(builder, to, offset, builder.fadd(load(builder, first, offset, vec), total))

    in_pieces(builder, width, (64, 32, 16, 8, 4, 1), columns)


def make_walk(
    of: Callable[[Any, Any, Any], Any], widths: tuple[int, ...] = (64, 16, 8, 4, 1)
) -> Any:
    """Makes target[:size] = of(builder, source[:size], target[:size]), in vectors of any of widths.

    The function takes two addresses, which may be the same, and the size.
    """

    @emitted()
    def walk(builder: Any, source: Any, target: Any, size: Any) -> None:
        source, target = pointer(builder, source), pointer(builder, target)

        def several(first: Any, count: int) -> None:
            vec, offsets = tiles(count)
            x, y = builder.gep(source, [first]), builder.gep(target, [first])
            for offset in offsets:
                new, old = load(builder, x, offset, vec), load(builder, y, offset, vec)
                store(builder, y, offset, of(builder, new, old))

        in_pieces(builder, size, widths, several)

    return walk


@emitted()
def split(builder: Any, source: Any, even: Any, odd: Any, size: Any) -> None:
    """Copies floats at even places of 2 `size` to one address and the others to another."""
    source, even, odd = (pointer(builder, address) for address in (source, even, odd))

    def several(first: Any, count: int) -> None:
        at = builder.gep(source, [builder.mul(first, I64(2))])
        parts = alternate(builder, load(builder, at, 0, ir.VectorType(F32, 2 * count)))
        for to, part in zip((even, odd), parts, strict=True):
            store(builder, builder.gep(to, [first]), 0, part)

    in_pieces(builder, size, (16, 4, 1), several)


@emitted()
def ask_for(builder: Any, address: Any) -> None:
    """Fetches the line of the cache at an int64 address, without waiting for it."""
    prefetch(builder, pointer(builder, address, I8))


def lane_sums(builder: Any, vectors: list[Any]) -> Any:
    """One vector of the sums of a power of two of vectors, in their order."""
    count = len(vectors)
    while len(vectors) > 1:
        pairs = [
            side_by_side(builder, a, b) for a, b in zip(vectors[::2], vectors[1::2], strict=True)
        ]
        vectors = [builder.fadd(*alternate(builder, pair)) for pair in pairs]
    (total,) = vectors
    while total.type.count > count:
        total = builder.fadd(*alternate(builder, total))
    return total


@emitted()
def sum_runs(
    builder: Any, xs: Any, ws: Any, lengths: Any, num: Any, ldc: Any, start: Any, y: Any, width: Any
) -> None:
    """y[:width] = start[:width] + sum over listed runs of w run @ x run, for one row.

    Takes the addresses of three int64 lists, where the row's runs of x lie, where those of w, and
    their lengths in floats, the number of runs, the distance in floats from one output's weights to
    the next one's, the addresses of start and y, and the width. Nothing behind the end of a run is
    read.
    """
    vec = ir.VectorType(F32, LANES)
    widths = (16, 8, 4, 1) if LANES == 16 else (8, 4, 1)
    xs, ws, lengths = (pointer(builder, at, I64) for at in (xs, ws, lengths))
    start, y = pointer(builder, start), pointer(builder, y)

    def add_products(x: Any, w: Any, sums: list[Any], count: Any | None) -> list[Any]:
        def read(at: Any) -> Any:
            if count is None:
                return load(builder, at, 0, vec)
            return load_first(builder, at, count, vec)

        inputs, new = read(x), []
        for total in sums:
            new.append(fma(builder, inputs, read(w), total))
            w = builder.gep(w, [ldc])
        return new

    def step(_: Any, values: list[Any]) -> list[Any]:
        *sums, x, w = values
        new = add_products(x, w, sums, None)
        return [*new, *(builder.gep(end, [I64(LANES)]) for end in (x, w))]

    def outputs(first: Any, count: int) -> None:
        def run(q: Any, sums: list[Any]) -> list[Any]:
            x = pointer(builder, builder.load(builder.gep(xs, [q])))
            w = pointer(builder, builder.load(builder.gep(ws, [q])))
            w = builder.gep(w, [builder.mul(first, ldc)])
            length = builder.load(builder.gep(lengths, [q]))
            steps = builder.sdiv(length, I64(LANES))
            *sums, x, w = counted_loop(builder, steps, [*sums, x, w], step)
            rest = builder.srem(length, I64(LANES))
            # Once, or not at all.
            is_rest = builder.zext(builder.icmp_signed(">", rest, I64(0)), I64)
            return counted_loop(
                builder, is_rest, sums, lambda _, part_sums: add_products(x, w, part_sums, rest)
            )

        zeros = [all_lanes(vec, 0.0)] * count
        total = lane_sums(builder, counted_loop(builder, num, zeros, run))
        begin = load(builder, builder.gep(start, [first]), 0, total.type)
        store(builder, builder.gep(y, [first]), 0, builder.fadd(begin, total))

    in_pieces(builder, width, widths, outputs)


def make_outer(heights: Heights) -> Any:
    """Makes g[k, :width] = sum over listed t of x[row, k] * z[place, :width]: a weight gradient.

    The function takes addresses and row distances in floats of x and z, the address of the list
    and its length, address and row distance of g, the number of k, of which as many as `heights`
    says share what they load, and the width. Items are int64: a place in the upper half, a row in
    the lower. An empty list gives zeros.
    """

    @emitted()
    def outer(
        builder: Any, x: Any, ldx: Any, z: Any, ldz: Any, items: Any, num: Any, g: Any, ldg: Any,
        num_k: Any, width: Any,
    ) -> None:  # fmt: skip
        x, z, g = (pointer(builder, address) for address in (x, z, g))
        items = pointer(builder, items, I64)

        def columns(column: Any, wide: int) -> None:
            vec, offsets = tiles(wide)
            from_column, to_column = builder.gep(z, [column]), builder.gep(g, [column])

            def rows(first: Any, count: int) -> None:
                inputs = builder.gep(x, [first])

                def body(t: Any, sums: list[Any]) -> list[Any]:
                    item = builder.load(builder.gep(items, [t]))
                    row = builder.and_(item, I64(LOWER_HALF))
                    place = builder.lshr(item, I64(32))
                    from_x = builder.gep(inputs, [builder.mul(row, ldx)])
                    from_z = builder.gep(from_column, [builder.mul(place, ldz)])
                    vectors = [load(builder, from_z, offset, vec) for offset in offsets]
                    scales = [builder.load(builder.gep(from_x, [I64(r)])) for r in range(count)]
                    return multiply_add(builder, scales, vectors, sums)

                zeros = [all_lanes(vec, 0.0)] * (count * len(offsets))
                sums = iter(counted_loop(builder, num, zeros, body))
                for r in range(count):
                    at = builder.mul(builder.add(first, I64(r)), ldg)
                    for offset in offsets:
                        store(builder, builder.gep(to_column, [at]), offset, next(sums))

            in_pieces(builder, num_k, heights[wide], rows)

        in_pieces(builder, width, tuple(heights), columns)

    return outer
