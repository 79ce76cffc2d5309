"""Vector code for the CPU kernels: products of a few rows with a block, in LLVM's vectors.

A panel keeps `rows x width` sums in vector registers while it walks the inner dimension. Plain
numba loops do not get there: LLVM cannot know that numpy arrays do not overlap, so it stores every
sum in every round, and it prefers vectors of half the width that AVX-512 has. How many sums fit,
`registers` says.

Addresses are int64, because passing arrays to a compiled function costs more than a small layer.

Vector code for weights that lie output by output: a row's sums as dot products along inputs.

Every output unit has a vector of partial sums; vectors are added up over their lanes once, behind
the last run of inputs, for all units together.

Vector code for the CPU kernels' gradients: sums of outer products.

See `panels` for why it is written in LLVM's vectors.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ccenv.sparse.cpu.codegen.compiled import FOLD, LANES
from ccenv.sparse.cpu.codegen.vectors import (
    BUSY,
    F32,
    I8,
    I64,
    add_up,
    alternate,
    counted_loop,
    function,
    halves,
    joined,
    lanes_repeated,
    load,
    load_first,
    multiply_add,
    pointer,
    prefetch,
    store,
    tiles,
)

LOWER_HALF = (1 << 32) - 1


def make_product(num_rows: int, width: int) -> Any:
    """Makes y[r, :width] += sum over k of x[r, k] * w[k, :width], for rows anywhere in memory.

    The function takes the rows' addresses (xs), the address of w, the rows' addresses (ys), the
    number of k, and the distance between rows of w in floats.
    """
    vec, offsets = tiles(width)
    # An addition waits for the one before it: so many independent sums keep the unit busy.
    unroll = max(1, BUSY // (num_rows * len(offsets)))

    @intrinsic
    def product(typingctx: Any, xs: Any, w: Any, ys: Any, num_k: Any, ldw: Any) -> Any:
        rows = types.UniTuple(types.int64, num_rows)
        signature = types.void(rows, types.int64, rows, types.int64, types.int64)

        def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            xs, w, ys, num_k, ldw = arguments
            x = [pointer(builder, builder.extract_value(xs, r)) for r in range(num_rows)]
            y = [pointer(builder, builder.extract_value(ys, r)) for r in range(num_rows)]
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
                    own = sums[part * len(places) : (part + 1) * len(places)]
                    new += accumulate(k, at, own)
                    at = builder.gep(at, [ldw])
                return [*new, at]

            sums = [load(builder, row, offset, vec) for row, offset in places]
            at = pointer(builder, w)
            if unroll > 1:
                zeros = [ir.Constant(vec, [0.0] * vec.count)] * (len(places) * (unroll - 1))
                steps = builder.sdiv(num_k, I64(unroll))
                *sums, at = counted_loop(builder, steps, [*sums, *zeros, at], several)
                sums = add_up(builder, sums, len(places))
                done = builder.mul(steps, I64(unroll))
                x = [builder.gep(row, [done]) for row in x]
                num_k = builder.sub(num_k, done)
            *sums, _ = counted_loop(builder, num_k, [*sums, at], one)
            for (row, offset), value in zip(places, sums, strict=True):
                store(builder, row, offset, value)
            return context.get_dummy_value()

        return signature, codegen

    return product


def make_narrow(num_rows: int, *, together: bool) -> Any:
    """Makes the function of `make_product` for 4 columns; num_k is a multiple of 4.

    A vector of weights then holds four k: it is loaded at once where rows of w lie `together`
    (ldw = 4), else put together, and sums are the same bit for bit. Each input is repeated over
    the lanes of its k by a shuffle, and the lanes of a column are added up at the end. With 8
    columns the shuffles take longer than the loads that they spare.
    """
    few, vec = ir.VectorType(F32, 4), ir.VectorType(F32, 16)
    # The same for any number of rows, so that a row's sum does not depend on its neighbours.
    unroll = FOLD

    @intrinsic
    def product(typingctx: Any, xs: Any, w: Any, ys: Any, num_k: Any, ldw: Any) -> Any:
        rows = types.UniTuple(types.int64, num_rows)
        signature = types.void(rows, types.int64, rows, types.int64, types.int64)

        def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            xs, w, ys, num_k, ldw = arguments
            x = [pointer(builder, builder.extract_value(xs, r)) for r in range(num_rows)]
            y = [pointer(builder, builder.extract_value(ys, r)) for r in range(num_rows)]
            at = pointer(builder, w)

            def four_k(k: Any) -> Any:
                if together:
                    return load(builder, builder.gep(at, [builder.mul(k, I64(4))]), 0, vec)
                first = builder.gep(at, [builder.mul(k, ldw)])
                parts = []
                for _ in range(4):
                    parts.append(load(builder, first, 0, few))
                    first = builder.gep(first, [ldw])
                a, b, c, d = parts
                return joined(builder, joined(builder, a, b), joined(builder, c, d))

            def accumulate(k: Any, sums: list[Any]) -> list[Any]:
                weights, new = four_k(k), []
                fma = function(builder, "fma", vec, 3)
                for row, total in zip(x, sums, strict=True):
                    inputs = load(builder, builder.gep(row, [k]), 0, few)
                    scales = lanes_repeated(builder, inputs, 4)
                    new.append(builder.call(fma, [scales, weights, total]))
                return new

            def several(step: Any, sums: list[Any]) -> list[Any]:
                new = []
                for part in range(unroll):
                    k = builder.add(builder.mul(step, I64(4 * unroll)), I64(4 * part))
                    new += accumulate(k, sums[part * num_rows : (part + 1) * num_rows])
                return new

            sums = [ir.Constant(vec, [0.0] * vec.count)] * (num_rows * unroll)
            steps = builder.sdiv(num_k, I64(4 * unroll))
            sums = add_up(builder, counted_loop(builder, steps, sums, several), num_rows)
            done = builder.mul(steps, I64(4 * unroll))
            rest = builder.sdiv(builder.sub(num_k, done), I64(4))
            sums = counted_loop(
                builder,
                rest,
                sums,
                lambda n, own: accumulate(builder.add(done, builder.mul(n, I64(4))), own),
            )
            for row, total in zip(y, sums, strict=True):
                while total.type.count > 4:
                    total = builder.fadd(*halves(builder, total))
                old = load(builder, row, 0, total.type)
                store(builder, row, 0, builder.fadd(old, total))
            return context.get_dummy_value()

        return signature, codegen

    return product


def make_row(width: int) -> Any:
    """Makes y[:width] = start[:width] + sum over listed blocks of x block @ w block, for one row.

    The sums stay in registers from the first block to the last. The function takes the addresses
    of two int64 lists, where the row's blocks of x lie and where the blocks of w, their length,
    the number of k in a block, the distance between rows of w in floats, and the addresses of
    start and y.
    """
    vec, offsets = tiles(width)
    unroll = max(1, BUSY // len(offsets))

    @intrinsic
    def row(
        typingctx: Any, xs: Any, ws: Any, num: Any, num_k: Any, ldw: Any, start: Any, y: Any
    ) -> Any:
        signature = types.void(*[types.int64] * 7)

        def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            xs, ws, num, num_k, ldw, start, y = arguments
            xs, ws = pointer(builder, xs, I64), pointer(builder, ws, I64)
            zero = ir.Constant(vec, [0.0] * vec.count)
            steps = builder.sdiv(num_k, I64(unroll))
            rest = builder.sub(num_k, builder.mul(steps, I64(unroll)))

            def accumulate(values: list[Any], parts: int) -> list[Any]:
                *sums, x, w = values
                new = []
                for part in range(parts):
                    weights = [load(builder, w, offset, vec) for offset in offsets]
                    scale = builder.load(builder.gep(x, [I64(part)]))
                    own = sums[part * len(offsets) : (part + 1) * len(offsets)]
                    new += multiply_add(builder, [scale], weights, own)
                    w = builder.gep(w, [ldw])
                return [*new, *sums[len(new) :], builder.gep(x, [I64(parts)]), w]

            def block(q: Any, sums: list[Any]) -> list[Any]:
                x = pointer(builder, builder.load(builder.gep(xs, [q])))
                w = pointer(builder, builder.load(builder.gep(ws, [q])))
                values = [*sums, x, w]
                values = counted_loop(builder, steps, values, lambda _, v: accumulate(v, unroll))
                values = counted_loop(builder, rest, values, lambda _, v: accumulate(v, 1))
                return values[:-2]

            sums = counted_loop(builder, num, [zero] * (unroll * len(offsets)), block)
            totals = add_up(builder, sums, len(offsets))
            for offset, total in zip(offsets, totals, strict=True):
                first = load(builder, pointer(builder, start), offset, vec)
                store(builder, pointer(builder, y), offset, builder.fadd(first, total))
            return context.get_dummy_value()

        return signature, codegen

    return row


def make_in_place(of: Callable[[Any, Any], Any], width: int) -> Any:
    """Makes a function of an address that replaces `width` floats by a function of them."""
    vec, offsets = tiles(width)

    @intrinsic
    def in_place(typingctx: Any, y: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            y = pointer(builder, arguments[0])
            for offset in offsets:
                store(builder, y, offset, of(builder, load(builder, y, offset, vec)))
            return context.get_dummy_value()

        return types.void(types.int64), codegen

    return in_place


def make_copy(width: int) -> Any:
    """Makes a function of two addresses that copies `width` floats from the first to the second."""
    vec, offsets = tiles(width)

    @intrinsic
    def copy(typingctx: Any, source: Any, target: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            source, target = (pointer(builder, address) for address in arguments)
            for offset in offsets:
                store(builder, target, offset, load(builder, source, offset, vec))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    return copy


def make_add(width: int) -> Any:
    """Makes a function of two addresses that adds `width` floats from the first to the second."""
    vec, offsets = tiles(width)

    @intrinsic
    def add(typingctx: Any, source: Any, target: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            source, target = (pointer(builder, address) for address in arguments)
            for offset in offsets:
                new, old = (load(builder, at, offset, vec) for at in (source, target))
                store(builder, target, offset, builder.fadd(old, new))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    return add


def make_split(width: int) -> Any:
    """Makes a function of three addresses that splits 2 `width` floats at the first.

    Those at even places go to the second address, the others to the third.
    """
    lanes = ir.VectorType(F32, 2 * width)

    @intrinsic
    def split(typingctx: Any, source: Any, even: Any, odd: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            source, even, odd = (pointer(builder, address) for address in arguments)
            parts = alternate(builder, load(builder, source, 0, lanes))
            for to, part in zip((even, odd), parts, strict=True):
                store(builder, to, 0, part)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 3), codegen

    return split


@intrinsic
def ask_for(typingctx: Any, address: Any) -> Any:
    """Fetches the line of the cache at an int64 address, without waiting for it."""

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        prefetch(builder, pointer(builder, arguments[0], I8))
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def as_pointer(typingctx: Any, address: Any) -> Any:
    """int64 address -> void pointer, for numba's carray."""

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return pointer(builder, arguments[0], I8)

    return types.voidptr(types.int64), codegen


def lane_sums(builder: Any, vectors: list[Any]) -> Any:
    """One vector of the sums of a power of two of vectors, in their order."""
    count = len(vectors)
    while len(vectors) > 1:
        pairs = [joined(builder, a, b) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
        vectors = [builder.fadd(*alternate(builder, pair)) for pair in pairs]
    (total,) = vectors
    while total.type.count > count:
        total = builder.fadd(*alternate(builder, total))
    return total


def make_row_across(width: int) -> Any:
    """Makes y[:width] = start[:width] + sum over listed runs of w run @ x run, for one row.

    The function takes the addresses of three int64 lists, where the row's runs of x lie, where
    those of w, and their lengths in floats, the number of runs, the distance in floats from one
    output's weights to the next one's, and the addresses of start and y. `width` is a power of two
    up to LANES. Nothing behind the end of a run is read.
    """
    vec = ir.VectorType(F32, LANES)

    @intrinsic
    def row(
        typingctx: Any, xs: Any, ws: Any, lengths: Any, num: Any, ldc: Any, start: Any, y: Any
    ) -> Any:
        signature = types.void(*[types.int64] * 7)

        def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            xs, ws, lengths, num, ldc, start, y = arguments
            xs, ws, lengths = (pointer(builder, at, I64) for at in (xs, ws, lengths))
            fma = function(builder, "fma", vec, 3)

            def add_products(x: Any, w: Any, sums: list[Any], count: Any | None) -> list[Any]:
                def read(at: Any) -> Any:
                    if count is None:
                        return load(builder, at, 0, vec)
                    return load_first(builder, at, count, vec)

                inputs, new = read(x), []
                for total in sums:
                    new.append(builder.call(fma, [inputs, read(w), total]))
                    w = builder.gep(w, [ldc])
                return new

            def step(_: Any, values: list[Any]) -> list[Any]:
                *sums, x, w = values
                new = add_products(x, w, sums, None)
                return [*new, *(builder.gep(end, [I64(LANES)]) for end in (x, w))]

            def run(q: Any, sums: list[Any]) -> list[Any]:
                x = pointer(builder, builder.load(builder.gep(xs, [q])))
                w = pointer(builder, builder.load(builder.gep(ws, [q])))
                length = builder.load(builder.gep(lengths, [q]))
                steps = builder.sdiv(length, I64(LANES))
                *sums, x, w = counted_loop(builder, steps, [*sums, x, w], step)
                rest = builder.srem(length, I64(LANES))
                # Once, or not at all.
                is_rest = builder.zext(builder.icmp_signed(">", rest, I64(0)), I64)
                return counted_loop(
                    builder, is_rest, sums, lambda _, own: add_products(x, w, own, rest)
                )

            zeros = [ir.Constant(vec, [0.0] * LANES)] * width
            total = lane_sums(builder, counted_loop(builder, num, zeros, run))
            first = load(builder, pointer(builder, start), 0, total.type)
            store(builder, pointer(builder, y), 0, builder.fadd(first, total))
            return context.get_dummy_value()

        return signature, codegen

    return row


def make_outer(num_rows: int, width: int) -> Any:
    """Makes g[r, :width] = sum over listed t of x[row, r] * z[place, :width]: a weight gradient.

    The function takes addresses and row distances in floats of x and z, the address of the list
    and its length, and address and row distance of g. Items are int64: a place in the upper half,
    a row in the lower. An empty list gives zeros.
    """
    vec, offsets = tiles(width)

    @intrinsic
    def outer(
        typingctx: Any, x: Any, ldx: Any, z: Any, ldz: Any, items: Any, num: Any, g: Any, ldg: Any
    ) -> Any:
        signature = types.void(*[types.int64] * 8)

        def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            x, ldx, z, ldz, items, num, g, ldg = arguments
            x, z, g = (pointer(builder, address) for address in (x, z, g))
            items = pointer(builder, items, I64)

            def body(t: Any, sums: list[Any]) -> list[Any]:
                item = builder.load(builder.gep(items, [t]))
                row, place = builder.and_(item, I64(LOWER_HALF)), builder.lshr(item, I64(32))
                from_x = builder.gep(x, [builder.mul(row, ldx)])
                from_z = builder.gep(z, [builder.mul(place, ldz)])
                vectors = [load(builder, from_z, offset, vec) for offset in offsets]
                scales = [builder.load(builder.gep(from_x, [I64(r)])) for r in range(num_rows)]
                return multiply_add(builder, scales, vectors, sums)

            zeros = [ir.Constant(vec, [0.0] * vec.count)] * (num_rows * len(offsets))
            sums = iter(counted_loop(builder, num, zeros, body))
            for r in range(num_rows):
                to = builder.gep(g, [builder.mul(I64(r), ldg)])
                for offset in offsets:
                    store(builder, to, offset, next(sums))
            return context.get_dummy_value()

        return signature, codegen

    return outer
