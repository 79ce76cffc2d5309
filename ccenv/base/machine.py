"""The machine: its memory, its processor, and the folder for what can be made again."""

import functools
import os
import platform
from pathlib import Path

FLOAT_BYTES = 4


def machine_memory() -> int:
    """Memory of this machine in bytes; 64 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 64 << 30


def check_fits(num_floats: int, what: str, advice: str) -> None:
    """Refuses more float32 numbers than this machine's memory holds (ValueError, with advice)."""
    wanted, limit = num_floats * FLOAT_BYTES, machine_memory()
    if wanted > limit:
        raise ValueError(
            f"expected {what} to fit in this machine's {limit / 2**30:.0f} GiB of memory, "
            f"got {wanted / 2**30:,.0f} GiB; {advice}"
        )


def user_cache() -> Path:
    """Folder for what can be made again: `CCENV_CACHE`, else `ccenv` in the user's cache folder.

    Raises:
        FileNotFoundError: if that is in a home folder, and the user has none.
    """
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    path = Path(os.environ.get("CCENV_CACHE") or Path(base) / "ccenv")
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(
            f"expected a home folder for {path}, got none of this user; give a folder that can be "
            "written in as CCENV_CACHE"
        ) from error


@functools.cache
def cpu_model() -> str:
    """Name of the processor's model; of its architecture where the system tells no more."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
