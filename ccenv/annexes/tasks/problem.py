"""What a task of the suite is made of: data, a network, what its masks are worth, and bounds."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ccenv.data.split import Split
from ccenv.mdp.dynamics import StepOutcome
from ccenv.networks.core.abilities import Bounds, Continues, Owns
from ccenv.networks.core.protocol import Abilities, Gate, GatedNetwork

SIZES = {"train": 2048, "validation": 512, "test": 1024}
"""Sequences of each split."""
BLOCK_MACS = 2**16
"""What a block of a task stands for: a linear map of 256 numbers to as many. It computes a few
products itself, than which choosing is always dearer."""
LEAST = 1e-6
"""Probability of an answer at least, so that its logarithm is finite."""


def as_logits(shares: Tensor) -> Tensor:
    """Probabilities of answers [rows, answers] -> logits [rows, answers]."""
    return shares.clamp(LEAST, 1 - LEAST).log()


def split_of_positions(inputs: NDArray[Any]) -> Split:
    """Sequences as positions one behind the other: [sequences, length, columns], labels of 1.

    The networks of tasks over time give the label 1 the probability of being right.
    """
    rows = torch.from_numpy(inputs).float().flatten(0, 1)
    labels = torch.ones(len(rows), dtype=torch.int64)
    return Split(rows, labels, 2, together=inputs.shape[1])


def settings_over_time(cost_weight: float, **prices: float) -> dict[str, Any]:
    """Settings of a task over time, whose reward is that probability less what is spent."""
    return {
        "episode": "sequence",
        "reward": "probability_minus_cost",
        "reward_kwargs": {"cost_weight": cost_weight, **prices},
    }


class Problem:
    """A network with weights set by hand, data for it, and what can be earned there at most."""

    cost_limit: float | None = None
    """on the mean compute cost, see `earned`; None where there is none."""

    @property
    def rule(self) -> str:
        """The reference in words: the best rule that sees no input."""
        raise NotImplementedError

    @property
    def phases(self) -> int:
        """Parts of the training data, one behind the other, each for as much of the budget."""
        return 1

    def settings(self) -> dict[str, Any]:
        """Settings of the environment, apart from data set and network."""
        raise NotImplementedError

    def split(self, split: str) -> Split:
        """The inputs of "train", "validation" or "test"."""
        raise NotImplementedError

    def network(self) -> Any:
        """The network, which nothing trains."""
        raise NotImplementedError

    def value(self, outcome: StepOutcome, cost_weight: Any) -> Tensor:
        """Expected reward of one step, given all that policies could know: float [batch].

        The cost weight is a number, or float [batch] where each episode has its own.
        """
        raise NotImplementedError

    def earned(self, value: float, cost: float) -> float:
        """What counts of episodes with a mean value, where the mean compute cost was lately so."""
        return value

    @property
    def price(self) -> float:
        """Of computing the dense network at one position; the mean where it is drawn."""
        return float(self.settings().get("reward_kwargs", {}).get("cost_weight", 1.0))

    def charge(self, share: float, cost: float) -> float:
        """What choosing costs of what counts, as if blocks had cost so much more everywhere.

        Args:
            share: MACs of choosing the masks of a position, over those of the dense network.
            cost: mean compute cost lately, as of `earned`; any number where nothing is limited.
        """
        above_limit = self.earned(0.0, cost) - self.earned(0.0, cost + share)
        return self.price * self.positions * share + above_limit

    @property
    def block_macs(self) -> int | None:
        """MACs of a block of the network that this one is a model of; None where it is none."""
        return BLOCK_MACS

    @property
    def positions(self) -> int:
        """Of an episode; each asks for an answer."""
        return 1

    def worst(self, cost_weight: Any) -> Any:
        """What an episode earns at least, whatever is chosen: all is computed, nothing right."""
        return -cost_weight * self.positions

    @property
    def bounds(self) -> tuple[float, float]:
        """Between which an episode counts, at any cost weight of the task and whatever is kept."""
        settings = self.settings()
        prices = settings.get("context", {}).get("cost_weight", [])
        price = max([settings.get("reward_kwargs", {}).get("cost_weight", 1.0), *prices])
        return self.earned(self.worst(price), 1.0), float(self.positions)

    def optimum(self) -> float:
        """Expected return of the best policy."""
        raise NotImplementedError

    def reference(self) -> float:
        """Expected return of the best rule that sees no input."""
        raise NotImplementedError


class OneGate(GatedNetwork):
    """A network of one gate of one weight for positions of sequences; its cost is one MAC.

    A subclass defines what goes on from position to position and what is seen of it.
    """

    abilities: Abilities = (Continues, Owns, Bounds)
    has_own_weights = True
    num_classes = 2
    dense_macs = 1

    def __init__(self, name: str, weight: float, look_size: int) -> None:
        """Sets the weight of the gate of this name, a linear layer without a bias."""
        super().__init__()
        self.gates = (Gate(name, 1, look_size, "identity"),)
        self.add_module(name, nn.Linear(1, 1, bias=False))
        nn.init.constant_(self.layer.weight, weight)

    @property
    def layer(self) -> nn.Linear:
        """The gate's one block."""
        block = self.get_submodule(self.gates[0].name)
        assert isinstance(block, nn.Linear)
        return block

    def empty_state(self, inputs: Tensor) -> Any:
        """See `Continues`."""
        raise NotImplementedError

    def start(self, inputs: Tensor) -> Any:
        """See `GatedNetwork.start`; alone, a position has nothing before it."""
        return self.read(inputs, self.empty_state(inputs))

    def read(self, inputs: Tensor, state: Any) -> Any:
        """See `Continues`."""
        raise NotImplementedError

    def macs(self, gate: int, hidden: Any, mask: Tensor) -> Tensor:
        """See `GatedNetwork.macs`: the block is one."""
        return mask[:, 0].long()

    def least_macs(self, gate: int) -> int:
        """See `Bounds`."""
        return 0

    def gate_parameters(self, gate: int) -> list[nn.Parameter]:
        """See `Owns`."""
        return list(self.layer.parameters())

    def unread_entries(self, off: Any) -> list[tuple[Tensor, Tensor]]:
        """See `Owns`."""
        return [(self.layer.weight, off[0].expand_as(self.layer.weight))]
