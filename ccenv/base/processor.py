"""The processor's name, as the system reports it."""

import functools
import platform
from pathlib import Path


@functools.cache
def cpu_model() -> str:
    """Name of the processor's model; of its architecture where the system tells no more."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
