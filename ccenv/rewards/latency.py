"""Time as a price: blocks kept in a layer and before it -> seconds over the dense network's."""

import math

import torch
from torch import Tensor

from ccenv.mdp.dynamics import StepOutcome
from ccenv.networks.mlp import positive_ints
from ccenv.networks.training import check_at_least_zero
from ccenv.rewards.description import describe
from ccenv.rewards.stateful import StatefulReward, Surroundings
from ccenv.rewards.time_table import TimeTable, time_table


@describe(
    "correct - cost_weight * seconds of the masks / seconds of the dense network",
    low=-math.inf,
    high=1.0,
    deterministic=False,
    depends_on_machine=True,
)
class LatencyReward(StatefulReward):
    """Pays one for a right answer and charges each layer its time on this machine.

    The time comes from a table measured once on this machine and kept in the cache folder, so that
    one machine always charges the same; see `ccenv.rewards.time_table`. Choosing the masks is not
    in it. A batch of masks may take longer than the dense network: the charge may exceed
    `cost_weight`.
    """

    def __init__(self, cost_weight: float = 1.0, batch_size: int = 256) -> None:
        """Sets the price of the dense network's time, and at which batch size it is measured."""
        check_at_least_zero(cost_weight=cost_weight)
        positive_ints([batch_size], "batch_size")
        self.cost_weight, self.batch_size = cost_weight, batch_size
        self.table: TimeTable | None = None

    def prepare(self, surroundings: Surroundings) -> None:
        """Reads this machine's table, or measures it."""
        split = surroundings.training_split()
        inputs, _ = split.batch(torch.arange(self.batch_size) % len(split))
        self.table = time_table(surroundings.network, inputs.to(surroundings.device))

    def __call__(self, outcome: StepOutcome) -> dict[str, Tensor]:
        """Terms `accuracy` and `latency`."""
        if self.table is None:
            raise RuntimeError("expected prepare(...) before the first step; call it once")
        share = self.table.share(outcome.layer, outcome.before.mask, outcome.mask)
        return {"accuracy": outcome.correct, "latency": -self.cost_weight * share}
