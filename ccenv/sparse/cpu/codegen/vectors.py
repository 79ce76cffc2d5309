"""Vector instructions for numba: small pieces of LLVM code that panels are made of.

At the end: whole numbers in vectors and words, the highest of many and the bits of masks.
"""

from collections.abc import Callable, Iterable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from ccenv.sparse.cpu.codegen.compiled import LANES, emitted

F32, I8, I32, I64 = ir.FloatType(), ir.IntType(8), ir.IntType(32), ir.IntType(64)

# So many independent sums keep a unit busy whose additions take four cycles, two at a time.
BUSY = 8
SQRT_HALF_BITS = 0x3F3504F3
"""The word that is the float sqrt(1/2)."""
LN2_HIGH, LN2_LOW, LOG2_E = 0.693359375, -2.12194440e-4, 1.44269504
# Where float32's tanh has reached 1.
TANH_SATURATES = 9.02


def pointer(builder: Any, address: Any, element: Any = F32) -> Any:
    """int64 address -> typed pointer."""
    return builder.inttoptr(address, element.as_pointer())


def load(builder: Any, base: Any, offset: int, vec: Any) -> Any:
    """Loads a vector from `offset` floats behind a pointer, aligned to a float only."""
    at = builder.gep(base, [I64(offset)])
    values = builder.load(builder.bitcast(at, vec.as_pointer()))
    values.align = 4
    return values


def load_first(builder: Any, at: Any, count: Any, vec: Any) -> Any:
    """Loads the first `count` lanes of a vector, zero in the others, and reads nothing else."""
    ints = ir.VectorType(I64, vec.count)
    lanes = ir.Constant(ints, list(range(vec.count)))
    wanted = builder.icmp_signed("<", lanes, splat(builder, count, ints))
    kind = ir.FunctionType(
        vec, [vec.as_pointer(), I32, ir.VectorType(ir.IntType(1), vec.count), vec]
    )
    name = f"llvm.masked.load.v{vec.count}f32.p0v{vec.count}f32"
    read = cgutils.get_or_insert_function(builder.module, kind, name)
    pointed = builder.bitcast(at, vec.as_pointer())
    return builder.call(read, [pointed, I32(4), wanted, all_lanes(vec, 0.0)])


def store(builder: Any, base: Any, offset: int, value: Any) -> None:
    """Stores a vector `offset` floats behind a pointer."""
    at = builder.gep(base, [I64(offset)])
    done = builder.store(value, builder.bitcast(at, value.type.as_pointer()))
    done.align = 4


def prefetch(builder: Any, at: Any) -> None:
    """Asks for the line of the cache that an address lies in; nothing waits for it."""
    kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
    ask = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
    is_read, keep, is_data = I32(0), I32(3), I32(1)
    builder.call(ask, [builder.bitcast(at, I8.as_pointer()), is_read, keep, is_data])


def shuffled(builder: Any, vector: Any, lanes: Iterable[int], second: Any = None) -> Any:
    """Some lanes of a vector, those of a second one counted on from its own."""
    chosen = list(lanes)
    mask = ir.Constant(ir.VectorType(I32, len(chosen)), chosen)
    second = ir.Constant(vector.type, ir.Undefined) if second is None else second
    return builder.shuffle_vector(vector, second, mask)


def splat(builder: Any, scalar: Any, vec: Any) -> Any:
    """Repeats a scalar in all lanes."""
    one = builder.insert_element(ir.Constant(vec, ir.Undefined), scalar, I32(0))
    return shuffled(builder, one, [0] * vec.count)


def lanes_repeated(builder: Any, vector: Any, times: int) -> Any:
    """Each lane of a vector `times` times: a, a, b, b and so on."""
    lanes = range(vector.type.count)
    return shuffled(builder, vector, [lane for lane in lanes for _ in range(times)])


def side_by_side(builder: Any, first: Any, second: Any) -> Any:
    """The lanes of one vector and then those of the other."""
    return shuffled(builder, first, range(2 * first.type.count), second)


def halves(builder: Any, vector: Any) -> tuple[Any, Any]:
    """The first half of the lanes and the second one."""
    count = vector.type.count
    lanes = range(count // 2), range(count // 2, count)
    return shuffled(builder, vector, lanes[0]), shuffled(builder, vector, lanes[1])


def alternate(builder: Any, vector: Any) -> tuple[Any, Any]:
    """The lanes 0, 2, 4 and so on, and the lanes 1, 3, 5."""
    count = vector.type.count
    lanes = range(0, count, 2), range(1, count, 2)
    return shuffled(builder, vector, lanes[0]), shuffled(builder, vector, lanes[1])


def all_lanes(vec: Any, value: float) -> Any:
    """A constant vector of one value."""
    return ir.Constant(vec, [value] * vec.count)


def function(builder: Any, name: str, *vectors: Any) -> Any:
    """What LLVM's own function gives for vectors of floats, such as their absolute values."""
    vec = vectors[0].type
    kind = ir.FunctionType(vec, [vec] * len(vectors))
    name = f"llvm.{name}.v{vec.count}f32"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), vectors)


def fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """The fused multiply-add a * b + c of vectors."""
    return function(builder, "fma", a, b, c)


def counted_loop(
    builder: Any, count: Any, carried: list[Any], body: Callable[[Any, list[Any]], list[Any]]
) -> list[Any]:
    """Emits a loop: body(index, values) -> values, `count` times; returns the values after it."""
    before = builder.block
    loop, after = builder.append_basic_block("loop"), builder.append_basic_block("after")
    builder.cbranch(builder.icmp_signed(">", count, I64(0)), loop, after)
    builder.position_at_end(loop)
    index = builder.phi(I64)
    index.add_incoming(I64(0), before)
    values = [builder.phi(value.type) for value in carried]
    new = body(index, values)
    following, end = builder.add(index, I64(1)), builder.block
    index.add_incoming(following, end)
    for value, first, now in zip(values, carried, new, strict=True):
        value.add_incoming(first, before)
        value.add_incoming(now, end)
    builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
    builder.position_at_end(after)
    results = [builder.phi(value.type) for value in carried]
    for result, first, now in zip(results, carried, new, strict=True):
        result.add_incoming(first, before)
        result.add_incoming(now, end)
    return results


def in_pieces(
    builder: Any, size: Any, pieces: tuple[int, ...], body: Callable[[Any, int], None]
) -> None:
    """Emits body(first, count) for all of a size: as often as the first count fits, then the next.

    The last count divides the size.
    """
    done: Any = I64(0)
    for count in pieces:
        before = builder.block
        check, loop, after = (builder.append_basic_block(n) for n in ("check", "piece", "after"))
        builder.branch(check)
        builder.position_at_end(check)
        first = builder.phi(I64)
        first.add_incoming(done, before)
        done = builder.add(first, I64(count))
        builder.cbranch(builder.icmp_signed("<=", done, size), loop, after)
        builder.position_at_end(loop)
        body(first, count)
        first.add_incoming(done, builder.block)
        builder.branch(check)
        builder.position_at_end(after)
        done = first


def multiply_add(builder: Any, scales: list[Any], vectors: list[Any], sums: list[Any]) -> list[Any]:
    """sums[r][v] += scales[r] * vectors[v], as a flat list of vectors."""
    wide = [splat(builder, scale, vectors[0].type) for scale in scales]
    pairs = [(scale, vector) for scale in wide for vector in vectors]
    return [fma(builder, s, v, old) for (s, v), old in zip(pairs, sums, strict=True)]


def tiles(width: int) -> tuple[Any, range]:
    """Vector type and the offsets of the vectors that cover a width of 1, 4, 8, 16, 32 or 64."""
    lanes = min(width, LANES)
    return ir.VectorType(F32, lanes), range(0, width, lanes)


def add_up(builder: Any, sums: list[Any], count: int) -> list[Any]:
    """Adds several sets of `count` partial sums into one, in pairs."""
    sets = [sums[start : start + count] for start in range(0, len(sums), count)]
    while len(sets) > 1:
        left, right, rest = sets[0], sets[1], sets[2:]
        both = [builder.fadd(a, b) for a, b in zip(left, right, strict=True)]
        sets = [*rest, both]
    return sets[0]


def tanh_of(builder: Any, x: Any) -> Any:
    """Hyperbolic tangent of a vector, precise to the last bits near 0 too: from exp(2|x|) - 1.

    exp(r) - 1 by its Taylor series on |r| <= ln(2) / 2; NaN stays NaN.
    """
    vec, ints = x.type, ir.VectorType(I32, x.type.count)
    size, limit = function(builder, "fabs", x), all_lanes(vec, TANH_SATURATES)
    size = builder.select(builder.fcmp_ordered(">", size, limit), limit, size)
    twice = builder.fadd(size, size)
    power = function(builder, "rint", builder.fmul(twice, all_lanes(vec, LOG2_E)))
    rest = fma(builder, power, all_lanes(vec, -LN2_HIGH), twice)
    rest = fma(builder, power, all_lanes(vec, -LN2_LOW), rest)
    series = all_lanes(vec, 1 / 5040)
    for factorial in (720, 120, 24, 6, 2, 1):
        series = fma(builder, series, rest, all_lanes(vec, 1 / factorial))
    series = builder.fmul(series, rest)
    exponent = builder.add(builder.fptosi(power, ints), all_lanes(ints, 127))
    two_to = builder.bitcast(builder.shl(exponent, all_lanes(ints, 23)), vec)
    grown = fma(builder, two_to, series, builder.fsub(two_to, all_lanes(vec, 1.0)))
    value = builder.fdiv(grown, builder.fadd(grown, all_lanes(vec, 2.0)))
    return function(builder, "copysign", value, x)


def log_of(builder: Any, x: Any) -> Any:
    """Natural logarithm of a vector of normal positive numbers, precise to the last bits.

    Of x = 2^k m with m from sqrt(1/2) to sqrt(2): k ln(2) + 2 artanh((m - 1) / (m + 1)).
    """
    vec, ints = x.type, ir.VectorType(I32, x.type.count)
    one, bits, places = all_lanes(vec, 1.0), builder.bitcast(x, ints), all_lanes(ints, 23)
    beyond = builder.sub(bits, all_lanes(ints, SQRT_HALF_BITS))
    whole = builder.ashr(beyond, places)
    power = builder.sitofp(whole, vec)
    m = builder.bitcast(builder.sub(bits, builder.shl(whole, places)), vec)
    s = builder.fdiv(builder.fsub(m, one), builder.fadd(m, one))
    square = builder.fmul(s, s)
    series = all_lanes(vec, 2 / 9)
    for odd in (7, 5, 3):
        series = fma(builder, series, square, all_lanes(vec, 2 / odd))
    # What is small is added first.
    small = builder.fmul(builder.fmul(series, square), s)
    rest = fma(builder, power, all_lanes(vec, LN2_LOW), small)
    rest = builder.fadd(rest, builder.fadd(s, s))
    return fma(builder, power, all_lanes(vec, LN2_HIGH), rest)


def relu_of(builder: Any, x: Any) -> Any:
    """max(x, 0) of a vector; NaN stays NaN."""
    zero = all_lanes(x.type, 0.0)
    return builder.select(builder.fcmp_ordered("<", x, zero), zero, x)


@emitted(types.int64)
def highest_below(builder: Any, address: Any, num_vectors: Any, limit: Any) -> Any:
    """The highest of int64 numbers below a limit, 16 at an address for each vector.

    The lowest int64 where there is none.
    """
    vec, at = ir.VectorType(I64, 16), pointer(builder, address, I64)

    def higher(a: Any, b: Any) -> Any:
        return builder.select(builder.icmp_signed(">", a, b), a, b)

    lowest = all_lanes(vec, -(2**63))
    limits = splat(builder, limit, vec)

    def one(index: Any, values: list[Any]) -> list[Any]:
        lanes = load(builder, builder.gep(at, [builder.mul(index, I64(16))]), 0, vec)
        is_below = builder.icmp_signed("<", lanes, limits)
        return [higher(values[0], builder.select(is_below, lanes, lowest))]

    (best,) = counted_loop(builder, num_vectors, [lowest], one)
    while best.type.count > 1:
        best = higher(*halves(builder, best))
    return builder.extract_element(best, I64(0))


@emitted()
def sort_keys(builder: Any, scores: Any, num_vectors: Any, count: Any, keys: Any) -> None:
    """Whole numbers in the order of `count` floats, the first of equal ones highest.

    Sixteen floats at an address for each vector -> int64 at another. NaN counts as highest; the
    lower half of a key is minus its number; beyond `count` keys are the lowest int64.
    """
    vec, ints = ir.VectorType(F32, 16), ir.VectorType(I32, 16)
    wide = ir.VectorType(I64, 16)
    scores, keys = pointer(builder, scores), pointer(builder, keys, I64)
    counts = splat(builder, count, wide)
    thirty_one, lower = all_lanes(ints, 31), all_lanes(ints, 2**31 - 1)

    def one(index: Any, values: list[Any]) -> list[Any]:
        start = builder.mul(index, I64(16))
        # Of the zeros only the positive one is left.
        floats = load(builder, builder.gep(scores, [start]), 0, vec)
        floats = builder.fadd(floats, all_lanes(vec, 0.0))
        word = builder.bitcast(floats, ints)
        # A float's bits below its sign are in order; of negative numbers in the other one.
        is_negative = builder.ashr(word, thirty_one)
        order = builder.xor(word, builder.and_(is_negative, lower))
        order = builder.select(builder.fcmp_unordered("uno", floats, floats), lower, order)
        lanes = ir.Constant(wide, list(range(16)))
        number = builder.add(splat(builder, start, wide), lanes)
        upper = builder.shl(builder.sext(order, wide), all_lanes(wide, 32))
        key = builder.sub(upper, number)
        is_one = builder.icmp_signed("<", number, counts)
        key = builder.select(is_one, key, all_lanes(wide, -(2**63)))
        store(builder, builder.gep(keys, [start]), 0, key)
        return values

    counted_loop(builder, num_vectors, [], one)


def make_load_bits(count: int) -> Any:
    """Makes the bits of a number from `count` bytes at an address, the first as the lowest.

    A byte that is not 0 is a 1.
    """
    vec = ir.VectorType(I8, count)

    @emitted(types.uint64)
    def load_bits(builder: Any, address: Any) -> Any:
        lanes = builder.load(pointer(builder, address, vec))
        lanes.align = 1
        is_set = builder.icmp_unsigned("!=", lanes, all_lanes(vec, 0))
        return builder.zext(builder.bitcast(is_set, ir.IntType(count)), I64)

    return load_bits


@emitted(types.int64, types.uint64)
def lowest_bit(builder: Any, word: Any) -> Any:
    """Number of the lowest bit that is set."""
    return builder.cttz(word, ir.IntType(1)(0))


@emitted(types.int64, types.uint64)
def count_bits(builder: Any, word: Any) -> Any:
    """How many bits are set."""
    return builder.ctpop(word)
