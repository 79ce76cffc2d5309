"""Vector code for the CPU kernels' gradients: sums of outer products, products with a transpose.

See `panels` for why it is written in LLVM's vectors.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ccenv.sparse.cpu.codegen.micro_kernels import LOWER_HALF
from ccenv.sparse.cpu.codegen.vectors import (
    F32,
    I64,
    counted_loop,
    function,
    load,
    multiply_add,
    pointer,
    store,
    tiles,
)


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


def make_dots(width: int) -> Any:
    """Makes y[k] += sum over c < width of z[c] * w[k, c], for k < num_k: z times w transposed.

    The function takes the addresses of z, w and y, the number of k and the row distance of w.
    """
    vec, offsets = tiles(width)

    @intrinsic
    def dots(typingctx: Any, z: Any, w: Any, y: Any, num_k: Any, ldw: Any) -> Any:
        signature = types.void(*[types.int64] * 5)

        def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            z, w, y, num_k, ldw = arguments
            z, w, y = (pointer(builder, address) for address in (z, w, y))
            vectors = [load(builder, z, offset, vec) for offset in offsets]
            name = f"llvm.vector.reduce.fadd.v{vec.count}f32"
            kind = ir.FunctionType(F32, [F32, vec])
            reduce = cgutils.get_or_insert_function(builder.module, kind, name)

            def body(k: Any, values: list[Any]) -> list[Any]:
                (at,) = values
                total = None
                for offset, vector in zip(offsets, vectors, strict=True):
                    weights = load(builder, at, offset, vec)
                    if total is None:
                        total = builder.fmul(vector, weights)
                    else:
                        fma = function(builder, "fma", vec, 3)
                        total = builder.call(fma, [vector, weights, total])
                # Any order of the lanes is right, so let it be the fast one.
                lanes = builder.call(reduce, [F32(0.0), total], fastmath=("reassoc",))
                to = builder.gep(y, [k])
                builder.store(builder.fadd(builder.load(to), lanes), to)
                return [builder.gep(at, [ldw])]

            counted_loop(builder, num_k, [w], body)
            return context.get_dummy_value()

        return signature, codegen

    return dots
