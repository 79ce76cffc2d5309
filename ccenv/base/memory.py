"""Memory check: a number of floats -> nothing, or an error before they are allocated."""

import os

FLOAT_BYTES = 4


def memory_bytes() -> int:
    """Memory of this machine in bytes; 64 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 64 << 30


def check_fits(num_floats: int, what: str, advice: str) -> None:
    """Refuses more float32 numbers than this machine's memory holds (ValueError, with advice)."""
    wanted, limit = num_floats * FLOAT_BYTES, memory_bytes()
    if wanted > limit:
        raise ValueError(
            f"expected {what} to fit in this machine's {limit / 2**30:.0f} GiB of memory, "
            f"got {wanted / 2**30:,.0f} GiB; {advice}"
        )
