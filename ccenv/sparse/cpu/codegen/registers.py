"""How much the processor's vector registers hold: its features -> lanes, and panels that fit.

AVX-512 has 32 registers of 16 floats, AVX2 has 16 of 8: a panel made for the first spills most of
its sums on the second, and then takes twice as long. So panels are as large as the sums that the
machine keeps in registers, and a machine that is neither is taken for one with AVX2.
"""

from numba.core import config
from numba.core.codegen import get_host_cpu_features


def has_avx512(features: str) -> bool:
    """Whether kernels may use vectors of 16 floats, by LLVM's list of features.

    >>> has_avx512("+avx2,+avx512f"), has_avx512("+avx2,-avx512f")
    (True, False)
    """
    named = [name for name in features.split(",") if name.lstrip("+-") == "avx512f"]
    return bool(named) and named[-1].startswith("+")


# As numba compiles: for this machine, unless NUMBA_CPU_FEATURES says otherwise.
WIDE = has_avx512(vars(config).get("CPU_FEATURES") or get_host_cpu_features())
LANES = 16 if WIDE else 8
"""Floats of a vector."""
ROWS_OF_64, ROWS_OF_32 = (2**31, 2**31) if WIDE else (1, 3)
"""Up to so many rows share weights in panels of 64 and 32 columns, more in panels of 16."""
FOLD = 2 if WIDE else 1
"""Sets of partial sums of a panel of four columns."""
