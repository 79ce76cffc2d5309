"""`auto` on machines that are not here: (times of this one, kernels so much slower) -> its times.

The kernels' times of the probes and of a cell are multiplied by factors that change with the rows,
prices are fitted to the probes anew, and `auto` goes by them, or by the shipped ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ccenv.runs.speed.kernels import Row
from ccenv.sparse.calibration import Timed, fit
from ccenv.sparse.cost_model import Costs, between, costs, most_pairs
from ccenv.sparse.layer_costs import Layer
from ccenv.sparse.machine_prices import CAUTION, LEAST_MACS

SLOWER = ((1.2, 1.8), (1.5, 2.5), (0.6, 0.6))
"""By how much the kernels take longer beside a dense product than here: of few rows, of many. The
first is about what a Cascade Lake Xeon was seen to do."""


@dataclass(frozen=True)
class Elsewhere:
    """A machine that is not here."""

    few: float
    """see `SLOWER`."""
    many: float
    """see `SLOWER`."""
    known: Costs
    """what it would find out about itself."""

    @property
    def name(self) -> str:
        """For tables."""
        few, many = f"{self.few:g}", f"{self.many:g}"
        return f"kernels take {few if few == many else f'{few} to {many}'} times as long"


def machines(timed: Sequence[Timed]) -> list[Elsewhere]:
    """What machines of `SLOWER` would find out, by the times that probes took here."""
    found = []
    for few, many in SLOWER:
        rows = [
            replace(row, kernels=row.kernels * between(few, many, row.probe.layer.batch))
            for row in timed
        ]
        found.append(Elsewhere(few, many, costs().on(fit(rows, costs()), CAUTION)))
    return found


def times(
    machine: Elsewhere, layer: Layer, pairs: float, seconds: dict[str, float], *, training: bool
) -> Row:
    """What a cell would take there, by shipped and by measured prices.

    Args:
        machine: where.
        layer: sizes of the cell.
        pairs: kept pairs of blocks of its rows together.
        seconds: here, of the kernels and of dense products between masks and without.
        training: whether gradients are made.
    """
    kernels = seconds["kernels"] * between(machine.few, machine.many, layer.batch)
    is_large = layer.batch * layer.weights >= LEAST_MACS
    chosen = {"shipped": None, "measured": machine.known if is_large else None}
    taken = {
        way: kernels
        if pairs <= most_pairs(layer, is_training=training, known=known)
        else seconds["masked_dense"]
        for way, known in chosen.items()
    }
    return {
        "dense_seconds": seconds["dense"],
        "kernels_seconds": kernels,
        "masked_dense_seconds": seconds["masked_dense"],
        **{f"{way}_seconds": took for way, took in taken.items()},
    }
