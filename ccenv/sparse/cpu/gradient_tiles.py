"""Gradient of one tile of weights: listed rows of inputs and of slopes -> their outer products.

All addresses are int64, all distances are in floats.
"""

from ccenv.sparse.cpu.codegen.compiled import compiled
from ccenv.sparse.cpu.codegen.gradient_micro_kernels import make_outer
from ccenv.sparse.cpu.codegen.registers import WIDE

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
