"""What a run does with single test inputs: masks, MACs gate by gate, logits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ccenv.base.seeding import stream
from ccenv.runs.replay.rebuilt import Rebuilt
from ccenv.simulator.rollout import walk

MOST = 1000
"""Test inputs that are looked at: the first ones, which an evaluation walks together too."""


@dataclass(frozen=True)
class Walked:
    """The first test inputs of a run, each once."""

    inputs: Tensor
    """[n, ...] as the network sees them."""
    labels: Tensor
    """[n] int64."""
    masks: tuple[Tensor, ...]
    """for each gate bool [n, num_blocks]."""
    macs: Tensor
    """[n, gates] int64; what each step executed, the policy's own aside."""
    logits: Tensor
    """[n, classes] float32."""
    nll: Tensor
    """[n] in nats."""


def walk_inputs(rebuilt: Rebuilt, draw: str, context: Mapping[str, float] | None = None) -> Walked:
    """Asks the policy for its masks of the first test inputs, as the run's evaluation did.

    Args:
        rebuilt: the run.
        draw: "sampled" (with the run's seed) or "mode".
        context: prices or budgets of all inputs, see `Simulator.at`; None: as the
            environment has them.
    """
    whole = rebuilt.env.simulator.on_split("test", 1)
    count = min(MOST, len(whole.data))
    simulator: Any = whole.on_split("test", count)
    if context:
        simulator = simulator.at(**context)
    seed = rebuilt.plan.program.seed
    generator = stream(seed, "evaluation masks") if draw == "sampled" else None
    _, _, steps = walk(simulator, rebuilt.agent, generator, torch.arange(count))
    last: Any = steps[-1].outcome
    spent = torch.stack([step.outcome.macs for step in steps], dim=1)
    return Walked(
        inputs=simulator.data.batch(torch.arange(count))[0],
        labels=last.labels,
        masks=tuple(step.outcome.mask for step in steps),
        macs=spent.diff(dim=1, prepend=torch.zeros_like(spent[:, :1])),
        logits=last.logits,
        nll=-last.log_likelihood,
    )
