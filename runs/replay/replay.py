"""Asks a stored run again: its policy, or the masks that it stored, on its test inputs.

Both are policies that `ccenv.evaluate` judges, as it judged the run. Another machine adds numbers
in another order, so that a block whose probability is at its threshold or at its draw may fall on
the other side: `ccenv.runs.replay.claims` says how much may differ.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ccenv.data import load_split
from ccenv.runs.replay.rebuilt import Rebuilt
from ccenv.simulator.evaluate import Evaluation, evaluate
from ccenv.simulator.policy import Policy

OTHER_VALUE = {"float32": 1e-5, "bfloat16": 0.02}
"""Gate values in [0, 1] that are closer are the same: what rounding makes of scores of size 5."""


def ask(
    rebuilt: Rebuilt, deterministic: bool, split: str = "test", policy: Any = None
) -> Evaluation:
    """Evaluates the run's policy again, or another one in its place, with the run's seed."""
    chosen, seed = rebuilt.agent if policy is None else policy, rebuilt.plan.program.seed
    return evaluate(rebuilt.env, chosen, split=split, deterministic=deterministic, seed=seed)


class StoredMasks(Policy):
    """The masks that a run stored, or its gate values where it has some, as a policy."""

    def __init__(
        self, agent: Policy, masks: Sequence[Tensor], values: Sequence[Tensor] | None = None
    ) -> None:
        """Takes what was stored.

        Args:
            agent: the run's, whose MACs are billed.
            masks: for each gate bool [num_images, num_blocks].
            values: gate values, float32 of the same shapes.
        """
        self.agent, self.actions = agent, masks if values is None else values
        self.policy_macs = agent.policy_macs

    def begin_episode(self, simulator: Any) -> None:
        """Notes where an episode's inputs stand."""
        self.simulator = simulator

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """What was stored of these inputs."""
        now = self.simulator
        return self.actions[layer][now.indices.cpu() * now.positions + now.position]

    def rule_of_windows(self, surface: Any, generator: torch.Generator | None) -> Any:
        """See `Policy.rule_of_windows`."""
        return self.agent.rule_of_windows(surface, generator)


@contextmanager
def wrong_labels(rebuilt: Rebuilt) -> Iterator[None]:
    """For a while every test input has the next class as its label, wherever that is looked up.

    The loaded tensors themselves are changed: what a policy finds on the call stack, in the
    environment or by loading the data set once more is the wrong label too.
    """
    simulator = rebuilt.env.simulator
    stored = load_split(rebuilt.plan.environment["dataset"], "test")
    seen = simulator.on_split("test", 1).data
    num_classes, first = seen.num_classes, int(seen.labels[0])
    # Labels of a data set and of what was made of it may be one tensor, which is moved on once.
    distinct = {labels.data_ptr(): labels for labels in (stored.labels, seen.labels)}
    for labels in distinct.values():
        labels.add_(1).remainder_(num_classes)
    try:
        if int(simulator.on_split("test", 1).data.labels[0]) == first:
            raise RuntimeError("expected wrong labels in the environment, got the true ones")
        yield
    finally:
        for labels in distinct.values():
            labels.sub_(1).remainder_(num_classes)


def share_of_others(one: Sequence[Tensor], other: Sequence[Tensor], apart: float = 0.0) -> float:
    """Share of mask bits, or gate values, of the same inputs that are further apart than `apart`.

    1 if one side has none.
    """
    if len(one) != len(other):
        return 1.0
    pairs = [(a.cpu().double(), b.cpu().double()) for a, b in zip(one, other, strict=True)]
    others = sum(int(((a - b).abs() > apart).sum()) for a, b in pairs)
    return others / max(1, sum(value.numel() for value in other))
