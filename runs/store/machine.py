"""What a result was measured with: the versions of the libraries, and the machine."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ccenv.base.processor import cpu_model

LIBRARIES = ("ccenv", "torch", "gymnasium", "stable-baselines3", "numpy", "numba")


def versions() -> dict[str, str]:
    """Version of Python and of each library that is installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, floats of the kernels' vectors, torch's threads.

    A processor's name need not tell how wide its vectors are.
    """
    import torch

    from ccenv.sparse.cpu.codegen.registers import LANES

    return {
        "cpu": cpu_model(),
        "cores": num_cores(),
        "lanes": LANES,
        "threads": torch.get_num_threads(),
    }


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def most_threads() -> int:
    """Most threads that a setting may ask for: torch crashes when the system has no more.

    At least 64, so that settings of a larger machine's results can be read on a small one.
    """
    return max(64, 8 * (os.cpu_count() or 1))


def tuned() -> dict[str, str]:
    """Environment variables that change speed and are set: threads and the allocator's habits."""
    return {k: v for k, v in sorted(os.environ.items()) if k.startswith(("OMP_", "MALLOC_"))}


def load_average() -> float | None:
    """Processes that wanted to run over the last minute; None where the system does not say."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
