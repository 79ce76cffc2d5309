"""No search for cycles for a while: a block that makes millions of objects -> less time."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Switches Python's cyclic garbage collector off; also a decorator.

    For parsed JSON, which holds no cycles: each time that a quarter more objects are there, all
    of them are looked through, a third of the time of reading 10,000 runs. What is let go
    is freed as always.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
