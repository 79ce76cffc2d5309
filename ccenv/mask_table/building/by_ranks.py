"""Chunks of a table by several processes: rank 0 gives them out, all do one each, rank 0 keeps."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from ccenv.base.ranks import Ranks
from ccenv.data import Split
from ccenv.mask_table.building.chunks import Answers, Job


def given_out(
    job: Job, split: Split, left: Sequence[tuple[int, Tensor]], ranks: Ranks
) -> Iterator[tuple[int, Answers]]:
    """On rank 0: chunks, done by all ranks in rounds of one each.

    Args:
        job: the same on all ranks.
        split: likewise.
        left: numbers and inputs of the chunks.
        ranks: the others call `assist` meanwhile.

    Raises:
        RanksError: if another rank ends; what was yielded before is sound.
    """
    for first in range(0, len(left), ranks.size):
        part = left[first : first + ranks.size]
        places = ranks.tell([rows.cpu() for _, rows in part])
        answers = ranks.brought(own_answers(job, split, places, ranks))
        yield from zip((number for number, _ in part), answers, strict=False)
    ranks.tell(None)


def assist(job: Job, split: Split, ranks: Ranks) -> None:
    """On the others: does a chunk a round until there are no more."""
    while (places := ranks.tell()) is not None:
        ranks.brought(own_answers(job, split, places, ranks))


def own_answers(job: Job, split: Split, places: Sequence[Tensor], ranks: Ranks) -> Any:
    """Answers of this rank's chunk of a round, None where a last round has none for it."""
    if ranks.number >= len(places):
        return None
    return job(*split.batch(places[ranks.number].to(split.labels.device)))
