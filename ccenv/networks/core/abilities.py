"""What only some networks can do: abilities, each a list of parts, asked for with `ability`.

A network names its abilities in `GatedNetwork.abilities` and has their parts; it is no subclass.

>>> from ccenv.networks.core.mlp import GatedMLP
>>> network = GatedMLP(4, num_blocks=(2,), block_size=3)
>>> ability(network, Exits) is None, ability(network, Norms).block_macs(0)
(True, 24)
"""

from collections.abc import Sequence
from typing import Any, TypeGuard, TypeVar

from torch import Tensor, nn

from ccenv.networks.core.protocol import GatedNetwork, Rule, Unread

Kind = TypeVar("Kind")


def ability(network: GatedNetwork, kind: type[Kind]) -> Kind | None:
    """A network as one with an ability of this file; None if it does not have it."""
    return network if has_ability(network, kind) else None


def has_ability(network: GatedNetwork, kind: type[Kind]) -> TypeGuard[Kind]:
    """Whether a network names an ability, and so has its parts: `check_parts` refuses others."""
    return kind in network.abilities


def parts_of(kind: type) -> list[str]:
    """Names of what a network with an ability has.

    >>> parts_of(PlaysWindows), parts_of(Doubts)
    (['played', 'read'], [])
    """
    names = [*vars(kind), *vars(kind).get("__annotations__", {})]
    return [name for name in names if not name.startswith("_")]


class Exits:
    """Rows may stop at some gates, those whose `skipped` is "stop", and answer there."""

    def early_answer(self, gate: int, hidden: Any) -> tuple[Tensor, float]:
        """What an exit would answer the rows that run, and the weight of its loss in training.

        Returns:
            Logits [running, num_classes], and a number.

        Raises:
            ValueError: if this gate is no exit, or not the next one.
        """
        raise NotImplementedError


class Continues:
    """A sequence goes on: what a position leaves, its state, is read by the next one."""

    def empty_state(self, inputs: Tensor) -> Any:
        """Returns the state before the first position of each input's own sequence.

        Args:
            inputs: [rows, ...]; each begins a sequence, with room for as many positions as a window
                has.
        """
        raise NotImplementedError

    def read(self, inputs: Tensor, state: Any) -> Any:
        """Does what `start` does behind the `state` of the inputs; its MACs are the inputs' own."""
        raise NotImplementedError

    def advance(self, hidden: Any) -> Any:
        """Adds what an input leaves to the state that it was read behind, which it changes.

        Of the hidden state after the last gate; returns the state before the next input of the
        sequence, None if there is no room for it.
        """
        raise NotImplementedError


class PlaysWindows:
    """An input is the end of a sequence, which is played to its last position.

    `start` reads that position behind what is played without a rule.
    """

    def played(self, inputs: Tensor, rule: Rule | None = None, *, alone: bool = False) -> Any:
        """Plays windows up to their last positions: the state behind which `read` starts these.

        MACs of the positions before are counted there. It is the same in training mode: in
        co-training a rollout and the update that follows it share what `start` computed.

        Args:
            inputs: [rows, ...].
            rule: which masks the positions before the last have; None for the network's own.
            alone: of one window [1, ...], whose last position `read` computes on its own, with
                room for later positions. Else a network may compute it together with the others.
        """
        raise NotImplementedError

    def read(self, inputs: Tensor, state: Any) -> Any:
        """See `Continues.read`."""
        raise NotImplementedError


class Packs:
    """Runs faster where weights stay as they are."""

    def pack(self) -> None:
        """Promises that they do, so that kernels may keep copies."""
        raise NotImplementedError


class Doubts:
    """The first column of its looks is how much it doubts, in nats.

    That is the entropy of what comes next, or the surprise of what has come.
    """


class Norms:
    """Blocks can be ranked by how large they are; for `summary` and the agent `magnitude`."""

    def tells_norms(self, gate: int) -> bool:
        """Whether blocks of a gate can be distinguished, unlike in a sum of contributions."""
        raise NotImplementedError

    def block_norms(self, gate: int, hidden: Any) -> Tensor:
        """Root mean square of each block that a gate has just computed: float [rows, num_blocks].

        Asked for where `tells_norms`.
        """
        raise NotImplementedError

    def block_macs(self, gate: int) -> int:
        """Of one input all blocks of a gate, everything before kept."""
        raise NotImplementedError


class Owns:
    """Says which weights belong to which blocks."""

    def gate_parameters(self, gate: int) -> list[nn.Parameter]:
        """Weights that belong to a gate's blocks, for `check_network`."""
        raise NotImplementedError

    def unread_entries(self, off: Sequence[Tensor]) -> Unread:
        """Returns which entries of weights nothing reads while some blocks are off.

        Updates may write these while requests are under way (`concurrent="inactive"`).

        Args:
            off: bool [num_blocks] for each gate; True where no request keeps the block. What
                requests have read before the first gate, as positions of a sequence before their
                own, needs no argument.

        Returns:
            A pair for each place that reads a weight: an entry is unread if all places of its
            weight say so. Weights without a pair are read.
        """
        raise NotImplementedError


class Bounds:
    """Says what an input costs at least, which budgets need."""

    def least_macs(self, gate: int) -> int:
        """What gates from this one on cost an input at least, with all that always runs there."""
        raise NotImplementedError


class Beforehand:
    """Learns frozen weights in its own way."""

    def learn_beforehand(self, split: Any) -> None:
        """Learns frozen weights from a split, in place of random masks."""
        raise NotImplementedError
