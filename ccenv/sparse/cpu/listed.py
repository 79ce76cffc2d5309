"""Addresses of listed rows: (pairs of a row and its place, first of them) -> tuples of addresses.

A pair is int64, the row in its lower half, the place of its sums in the upper one. Distances
between rows are in bytes.
"""

from typing import Any

from ccenv.sparse.cpu.codegen.compiled import inlined
from ccenv.sparse.cpu.codegen.micro_kernels import LOWER_HALF


@inlined
def two(pairs: Any, r: int, x: int, ldx: int) -> Any:
    """Addresses of the inputs of two listed rows."""
    return (x + (pairs[r] & LOWER_HALF) * ldx, x + (pairs[r + 1] & LOWER_HALF) * ldx)


@inlined
def two_sums(pairs: Any, r: int, y: int, ldy: int) -> Any:
    """Addresses of the sums of two listed rows."""
    return (y + (pairs[r] >> 32) * ldy, y + (pairs[r + 1] >> 32) * ldy)


@inlined
def four(pairs: Any, r: int, x: int, ldx: int) -> Any:
    """Addresses of the inputs of four listed rows."""
    a, b = two(pairs, r, x, ldx)
    c, d = two(pairs, r + 2, x, ldx)
    return (a, b, c, d)


@inlined
def four_sums(pairs: Any, r: int, y: int, ldy: int) -> Any:
    """Addresses of the sums of four listed rows."""
    a, b = two_sums(pairs, r, y, ldy)
    c, d = two_sums(pairs, r + 2, y, ldy)
    return (a, b, c, d)


@inlined
def six(pairs: Any, r: int, x: int, ldx: int) -> Any:
    """Addresses of the inputs of six listed rows."""
    a, b, c, d = four(pairs, r, x, ldx)
    e, f = two(pairs, r + 4, x, ldx)
    return (a, b, c, d, e, f)


@inlined
def six_sums(pairs: Any, r: int, y: int, ldy: int) -> Any:
    """Addresses of the sums of six listed rows."""
    a, b, c, d = four_sums(pairs, r, y, ldy)
    e, f = two_sums(pairs, r + 4, y, ldy)
    return (a, b, c, d, e, f)


@inlined
def eight(pairs: Any, r: int, x: int, ldx: int) -> Any:
    """Addresses of the inputs of eight listed rows."""
    a, b, c, d = four(pairs, r, x, ldx)
    e, f, g, h = four(pairs, r + 4, x, ldx)
    return (a, b, c, d, e, f, g, h)


@inlined
def eight_sums(pairs: Any, r: int, y: int, ldy: int) -> Any:
    """Addresses of the sums of eight listed rows."""
    a, b, c, d = four_sums(pairs, r, y, ldy)
    e, f, g, h = four_sums(pairs, r + 4, y, ldy)
    return (a, b, c, d, e, f, g, h)
