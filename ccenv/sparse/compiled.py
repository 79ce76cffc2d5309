"""How kernels are compiled: numba's options, and a cache that notices when any of them changes."""

import contextlib
import hashlib
from pathlib import Path

from numba import njit

compiled = njit(cache=True, nogil=True, error_model="numpy")
inlined = njit(inline="always", error_model="numpy")


def forget_stale(folder: Path) -> None:
    """Deletes compiled functions of a folder that were made from other sources than are there now.

    Numba compares a function with its own file only, so what calls or inlines a kernel of another
    file would keep the old one. Where the folder cannot be written numba keeps its cache elsewhere.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    cache = folder / "__pycache__"
    stamp = cache / "kernels.sha256"
    with contextlib.suppress(OSError):
        if stamp.exists() and stamp.read_text() == digest.hexdigest():
            return
        for path in cache.glob("*.nb[ic]"):
            path.unlink(missing_ok=True)
        cache.mkdir(exist_ok=True)
        stamp.write_text(digest.hexdigest())


forget_stale(Path(__file__).parent)
