"""Vector code for the CPU kernels' gradients: sums of outer products.

See `panels` for why it is written in LLVM's vectors.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ccenv.sparse.cpu.codegen.micro_kernels import LOWER_HALF
from ccenv.sparse.cpu.codegen.vectors import (
    I64,
    counted_loop,
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
