"""Shards: (runs of a sweep, "2/5") -> those that one of five machines is to run.

A run's shard follows from its place in the sweep alone, not from what is missing: machines that
look at different times never share a run, and together they run all.
"""

import argparse
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ccenv.runs.engine.jobs import Job


@dataclass(frozen=True)
class Shard:
    """One of several equal shares of a sweep."""

    number: int
    """from 1 on."""
    of: int
    """how many there are."""

    def share(self, jobs: Sequence[Job], todo: Iterable[Job]) -> list[Job]:
        """Those of `todo` that are this shard's.

        Neighbouring runs go to different shards: seeds of a row take equally long. Rows that are
        the same run under two names go to one shard.

        Args:
            jobs: all runs of the sweep, in its order.
            todo: some of them.
        """
        keys = dict.fromkeys(job.plan.key() for job in jobs)
        own = {key for n, key in enumerate(keys) if n % self.of == self.number - 1}
        return [job for job in todo if job.plan.key() in own]

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def read_shard(text: str) -> Shard:
    """Reads a shard of the command line.

    Raises:
        ArgumentTypeError: if it is none, or out of range.

    >>> read_shard("2/5")
    Shard(number=2, of=5)
    """
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(
            f"expected i/n with i from 1 to n, as 2/5 for the second of five, got {text!r}"
        )
    return Shard(int(found[1]), int(found[2]))
