"""Matrices turned on their side: floats at an address -> their transpose at another."""

from ccenv.sparse.cpu.codegen.compiled import compiled
from ccenv.sparse.cpu.codegen.micro_kernels import make_copy
from ccenv.sparse.cpu.codegen.registers import LANES
from ccenv.sparse.cpu.codegen.transposes import make_transpose

square, small_square, copy_one = make_transpose(LANES), make_transpose(4), make_copy(1)


@compiled
def transpose_floats(
    source: int, from_row: int, to: int, to_row: int, rows: int, width: int
) -> None:
    """to[k, r] = source[r, k] for r < rows, k < width; distances between rows in floats."""
    r = 0
    while r < rows:
        size = LANES if rows - r >= LANES else 4 if rows - r >= 4 else 1
        k = 0
        while k < width:
            at, target = source + 4 * (r * from_row + k), to + 4 * (k * to_row + r)
            if size == LANES and width - k >= LANES:
                square(at, from_row, target, to_row)
                k += LANES
            elif size >= 4 and width - k >= 4:
                for down in range(0, size, 4):
                    small_square(at + 4 * down * from_row, from_row, target + 4 * down, to_row)
                k += 4
            else:
                for down in range(size):
                    copy_one(at + 4 * down * from_row, target + 4 * down)
                k += 1
        r += size
