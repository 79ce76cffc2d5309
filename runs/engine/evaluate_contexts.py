"""A run with a context, judged at a grid: (environment, agent) -> a verdict at each price."""

from typing import Any

import torch

from ccenv.agents.base import Agent
from ccenv.simulator.context import Range
from ccenv.simulator.evaluate import evaluate

NUM_VALUES = 5
"""Both ends of a range and three between them."""


def verdicts_of_context(env: Any, agent: Agent, seed: int) -> dict[str, Any]:
    """For a result: `context`, what the agent does at a grid of each range's prices or budgets.

    Other names keep their own ranges meanwhile. Nothing where the environment has no context.

    Returns:
        {"context": {name: [{"value": price or budget, **numbers of the evaluation}, ...]}}, or {}.
    """
    simulator = agent.simulator
    if simulator.context is None:
        return {}
    return {
        "context": {
            name: [
                {
                    "value": value,
                    **evaluate(simulator.at(**{name: value}), agent, seed=seed).numbers(),
                }
                for value in grid(found)
            ]
            for name, found in simulator.context.ranges.items()
        }
    }


def grid(found: Range, count: int = NUM_VALUES) -> list[float]:
    """Values evenly spread over a range, as they are drawn from it; both ends are among them.

    >>> [round(value, 2) for value in grid(Range(0.1, 10.0, is_log=True))]
    [0.1, 0.32, 1.0, 3.16, 10.0]
    """
    if found.low == found.high:
        return [found.low]
    values: list[float] = found.at(torch.linspace(0, 1, count)).tolist()
    return [found.low, *values[1:-1], found.high]


def context_lines(result: dict[str, Any]) -> list[str]:
    """What `ccenv.runs.commands.train` prints of it: a line for each value."""
    return [
        f"{name} {at['value']:.3g}: test error {100 * at['error']:.2f} %, "
        f"compute cost {at['compute_cost']:.4f}"
        for name, verdicts in result.get("context", {}).items()
        for at in verdicts
    ]
