"""Tries code that is not the project's: (a run, its masks) -> what an honest one would not do.

A replay gives the same test inputs in the same order, so a policy or network may have learned by
heart what to do with the n-th of them. It is therefore asked again for each input in another place,
among other inputs, with the same draws: `MovedDraws` gives every row the numbers that it drew
before. No replay can distinguish a function from what is learned by heart for an input itself.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ccenv.base.seeding import stream
from ccenv.networks.core.check import bill_of, check_network
from ccenv.networks.core.unrolled import positions_of
from ccenv.runs.replay.rebuilt import Rebuilt
from ccenv.runs.replay.replay import BATCH
from ccenv.simulator.rollout import walk
from ccenv.simulator.step import Step


class MovedDraws(TorchFunctionMode):
    """Gives each row of a batch what a generator drew for the row where it stood before.

    An input then draws the same numbers in another place, whatever function of torch draws them
    with this generator: shapes whose first size is the batch are read as rows.

    >>> generator = torch.Generator().manual_seed(0)
    >>> first = torch.rand(2, 3, generator=generator)
    >>> generator = torch.Generator().manual_seed(0)
    >>> with MovedDraws(generator, torch.tensor([1, 0])):
    ...     moved = torch.rand(2, 3, generator=generator)
    >>> torch.equal(moved, first.flip(0))
    True
    """

    def __init__(self, generator: torch.Generator, places: Tensor) -> None:
        """Prepares for a batch.

        Args:
            generator: whose draws move; others pass unchanged.
            places: int64 [batch], where each row stood.
        """
        super().__init__()
        self.generator, self.places = generator, places

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls the function on rows where they stood, and moves what it gives."""
        kwargs = dict(kwargs or {})
        if kwargs.get("generator") is not self.generator:
            return func(*args, **kwargs)
        found = func(*map(self.back, args), **{k: self.back(v) for k, v in kwargs.items()})
        if not self.has_rows(found):
            return found
        moved = found[self.places.to(found.device)]
        # In place: `values.exponential_(generator=...)` fills what it was called on.
        return args[0].copy_(moved) if func.__name__.endswith("_") else moved

    def back(self, value: Any) -> Any:
        """A tensor of rows as they stood; rows that are not there now hold another one's."""
        if not self.has_rows(value):
            return value
        stood = value[:1].expand_as(value).clone()
        stood[self.places.to(value.device)] = value
        return stood

    def has_rows(self, value: Any) -> bool:
        """Whether a value is a tensor with a row for each input."""
        return isinstance(value, Tensor) and value.ndim > 0 and len(value) == len(self.places)


OTHER_ROWS = 2
"""Inputs of a test set whose masks may differ: other rows of a kernel's tile round otherwise."""
OTHER_LOGITS = 1e-3
"""Relative to an input's largest logit; for the same reason."""
BILLED_ALONE = 8
"""Inputs of each batch whose MACs are compared with what they cost alone."""


def laws_broken(rebuilt: Rebuilt) -> list[str]:
    """What a user's network with its stored weights breaks of the laws of networks."""
    if not rebuilt.plan.has_own_network:
        return []
    data = rebuilt.env.simulator.data
    try:
        check_network(rebuilt.network, data.batch(torch.arange(min(2, len(data))))[0])
    except (TypeError, ValueError) as error:
        return [f"the network breaks a law of check_network: {error}"]
    return []


@torch.no_grad()
def check_places(rebuilt: Rebuilt, draw: str) -> list[str]:
    """Whether masks, logits and MACs of test inputs stay the same in other places.

    Each batch is walked as an evaluation does, then twice with one half of its inputs, each of them
    twice and in random order, in place of the other half.
    """
    if not rebuilt.plan.has_own_code or rebuilt.agent.uses_labels:
        return []
    simulator = rebuilt.env.simulator.on_split("test", BATCH)
    seed = rebuilt.plan.program.seed
    generator = stream(seed, "evaluation masks") if draw == "sampled" else None
    order = stream(seed, "other places")
    other_masks, other_logits, other_bills = 0, 0, 0
    for indices in torch.arange(simulator.num_episodes).split(BATCH):
        states = [] if generator is None else [generator.get_state()]
        _, _, steps = walk(simulator, rebuilt.agent, generator, indices)
        if generator is not None:
            states.append(generator.get_state())
        other_bills += num_other_bills(rebuilt, indices, steps)
        for half in torch.randperm(len(indices), generator=order).tensor_split(2):
            if not len(half):
                continue
            places = half.repeat(3)[: len(indices)]
            places = places[torch.randperm(len(indices), generator=order)]
            if generator is not None:
                generator.set_state(states[0])
            with nullcontext() if generator is None else MovedDraws(generator, places):
                _, _, moved = walk(simulator, rebuilt.agent, generator, indices[places])
            masks = other_rows(steps, moved, places)
            other_masks += int(masks[half].sum())
            other_logits += int((far_logits(steps, moved, places) & ~masks)[half].sum())
        if generator is not None:
            generator.set_state(states[1])
    problems = []
    if other_masks > OTHER_ROWS:
        problems.append(
            f"masks depend on the place: {other_masks:,} test inputs get other masks in another "
            "order, among other inputs, with the same draws"
        )
    if other_logits > OTHER_ROWS:
        problems.append(
            f"answers depend on the place: {other_logits:,} test inputs get other logits under the "
            "same masks in another order, among other inputs"
        )
    if other_bills:
        problems.append(
            f"the MACs depend on the batch: {other_bills:,} test inputs cost something else "
            "alone than among others"
        )
    return problems


def other_rows(steps: list[Step], moved: list[Step], places: Tensor) -> Tensor:
    """Inputs that have another mask where they were moved to: bool [batch], by old place."""
    found = torch.zeros(len(places), dtype=torch.bool)
    for step, other in zip(steps, moved, strict=True):
        differs = (step.outcome.mask[places] != other.outcome.mask).any(dim=1).cpu()
        found[places[differs]] = True
    return found


def far_logits(steps: list[Step], moved: list[Step], places: Tensor) -> Tensor:
    """Inputs that have other logits where they were moved to: bool [batch], by old place."""
    logits, other = steps[-1].outcome.logits, moved[-1].outcome.logits
    assert logits is not None
    assert other is not None
    far = (logits[places] - other).abs().amax(dim=1)
    most = logits[places].abs().amax(dim=1).clamp(min=1.0)
    found = torch.zeros(len(places), dtype=torch.bool)
    found[places[(far > OTHER_LOGITS * most).cpu()]] = True
    return found


def bill_along(network: Any, inputs: Tensor, masks: Sequence[Tensor]) -> list[Tensor]:
    """MACs of every step of one sequence: of its positions, and masks of each of their gates."""
    bill: list[Tensor] = []

    def choose(place: int, gate: int, hidden: Any) -> Tensor:
        mask = masks[place * len(network.gates) + gate]
        bill.append(network.macs(gate, hidden, mask))
        return mask

    for _ in positions_of(network, inputs, len(inputs), choose):
        pass
    return bill


def num_other_bills(rebuilt: Rebuilt, indices: Tensor, steps: list[Step]) -> int:
    """Inputs of a batch, of the first few, that are billed otherwise alone."""
    data, positions = (
        rebuilt.env.simulator.on_split("test", 1).data,
        rebuilt.env.simulator.positions,
    )
    network, gates, others = rebuilt.network, len(rebuilt.network.gates), 0
    for row, index in enumerate(indices[:BILLED_ALONE]):
        inputs, _ = data.batch(index * positions + torch.arange(positions))
        masks = [step.outcome.mask[row : row + 1] for step in steps]
        among = sum(int(step.outcome.macs[row]) for step in steps[gates - 1 :: gates])
        bill = (
            bill_of(network, inputs, masks)
            if positions == 1
            else bill_along(network, inputs, masks)
        )
        others += int(torch.stack(bill).sum()) != among
    return others
