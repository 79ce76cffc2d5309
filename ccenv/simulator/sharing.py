"""A batch shared by ranks: (a simulator, ranks) -> each walks its own rows, all see all of them."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ccenv.base.ranks import ALONE, OneProcess, Ranks, gradients_averaged
from ccenv.mdp.dynamics import StepOutcome

BY_ROW = ("mask", "layer_cost", "compute_cost", "macs", "labels", "logits", "answers", "targets")
"""Fields of an outcome that have a row for each row of the batch, or are None."""


def of_all_rows(
    outcome: StepOutcome, terms: dict[str, Tensor], total: Tensor, ranks: OneProcess
) -> tuple[StepOutcome, dict[str, Tensor], Tensor]:
    """Outcome, terms of the reward and their sum for the rows of all ranks.

    Rewards are paid on the rank that has a row; `before` and `after` stay those of the own rows.
    """
    if ranks.size == 1:
        return outcome, terms, total
    own = {n: value for n in BY_ROW if (value := getattr(outcome, n)) is not None}
    found = ranks.gathered(*own.values(), *terms.values(), total)
    fields: dict[str, Any] = dict(zip(own, found, strict=False))
    all_terms = dict(zip(terms, found[len(own) : -1], strict=True))
    return replace(outcome, **fields), all_terms, found[-1]


def check_shareable(simulator: Any, ranks: OneProcess) -> None:
    """Refuses what ranks cannot do as one process would (ValueError, saying what to give)."""
    alone = [extension.name for extension in simulator.extensions if not extension.by_ranks]
    if alone:
        raise ValueError(
            f"expected neither context nor concurrent with {ranks.size} ranks, got "
            f"{' and '.join(alone)}; leave it out, or run it in one process"
        )
    images = simulator.num_images // simulator.group_size
    if images % ranks.size:
        raise ValueError(
            f"expected batch_size to be a multiple of the {ranks.size} ranks, which share its "
            f"images equally, got {images}"
        )
    kinds = nn.modules.dropout._DropoutNd
    drops = [m for m in simulator.network.modules() if isinstance(m, kinds) and m.p]
    if simulator.weights == "cotrain" and (drops or getattr(simulator.network, "dropout", 0)):
        raise ValueError(
            f"expected a network without dropout with {ranks.size} ranks, which would all drop "
            "the same of different rows; run it in one process"
        )


@contextlib.contextmanager
def batch_shared(simulator: Any, ranks: Ranks) -> Iterator[None]:
    """Shares the rows of every batch between ranks, for a while; see `check_shareable`.

    All ranks walk and update the simulator, the same on each, at the same moments.
    """
    check_shareable(simulator, ranks)
    learning = [simulator.trainer.optimizer] if simulator.weights == "cotrain" else []
    simulator.ranks = ranks
    try:
        with gradients_averaged(learning, ranks):
            yield
    finally:
        simulator.ranks, simulator.state = ALONE, None
