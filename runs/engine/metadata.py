"""Metadata of a result: what it says in addition to its four verdicts.

Who ran what, where and on what; its measured time; verdicts at a grid of a context's cost weights
or budgets.
"""

import dataclasses
import datetime
from typing import TYPE_CHECKING, Any

import torch

from ccenv.agents.base import Agent
from ccenv.base.earlier_settings import earlier_of
from ccenv.networks.core.mlp import SMALL_MACS
from ccenv.networks.core.protocol import weights_of
from ccenv.runs.config.plan import Plan, code_digests
from ccenv.runs.stats.measures import DETERMINISTIC, OBSERVED, OF_SYMBOLS
from ccenv.runs.store.provenance import code_commit, data_of, load_average, machine, versions
from ccenv.simulator.evaluate import evaluate_context

if TYPE_CHECKING:
    from ccenv.annexes.simulator.context import Range

OBLIVIOUS = "oblivious"
"""A setting under which nothing is skipped: what would be timed and exported is another program."""


def description_of(plan: Plan, env: Any, agent: Agent) -> dict[str, Any]:
    """What was run, by whom, on what."""
    return {
        "agent": plan.agent,
        "env": plan.program.env,
        "reward": plan.environment["reward"],
        "seed": plan.program.seed,
        "settings": plan.config(),
        "code": code_digests(plan),
        "code_version": earlier_of(plan.agent_class).version,
        **({"commit": commit} if (commit := code_commit()) else {}),
        **({DETERMINISTIC: True} if agent.deterministic else {}),
        **facts_of(env, agent),
        "data": data_of(plan.environment["dataset"]),
        "versions": versions(),
        "machine": machine(),
        "load": load_average(),
        "date": datetime.date.today().isoformat(),
    }


def facts_of(env: Any, agent: Agent) -> dict[str, Any]:
    """Whole numbers and flags that network, agent and data leave no choice about."""
    network = env.simulator.network
    return {
        "learns": bool(agent.learns),
        "uses_labels": bool(agent.uses_labels),
        "num_parameters": sum(value.numel() for value in agent.parameters().values()),
        "network_parameters": sum(value.numel() for value in weights_of(network)),
        "memory_bytes": network.memory_bytes(),
        "dense_macs": network.dense_macs,
        "policy_macs": list(agent.policy_macs),
        OBSERVED: env.simulator.observe.kind,
        OF_SYMBOLS: env.simulator.data.images.dtype == torch.int64,
    }


def latencies(plan: Plan, env: Any, agent: Agent) -> list[dict[str, Any]]:
    """Measured time of one image and of 256, if it is asked for and something is skipped.

    None of agents that search on the true label.
    """
    wanted = plan.program.latency
    if wanted is None:
        # Of a tiny network kernels would compile for longer than the run takes.
        wanted = env.simulator.network.dense_macs > SMALL_MACS
    is_input = plan.environment["episode"] == "input"
    if not wanted or not is_input or OBLIVIOUS in plan.environment or agent.uses_labels:
        return []
    from ccenv.annexes.deploy.latency import measure_latency

    return [dataclasses.asdict(measure_latency(env, agent, size)) for size in (1, 256)]


NUM_VALUES = 5
"""Both ends of a range and three between them."""


def verdicts_of_context(env: Any, agent: Agent, seed: int) -> dict[str, Any]:
    """For a result: `context`, what the agent does on a grid of cost weights or budgets.

    Other names keep their own ranges meanwhile. Nothing where the environment has no context.

    Returns:
        {"context": {name: [{"value": cost weight or budget, **numbers of the evaluation}, ...]}},
        or {}.
    """
    simulator = agent.simulator
    if simulator.context is None:
        return {}
    context = {}
    for name, bounds in simulator.context.ranges.items():
        values = values_over(bounds)
        verdicts = evaluate_context(simulator, agent, name, values, seed=seed)
        pairs = zip(values, verdicts, strict=True)
        context[name] = [{"value": value, **verdict.numbers()} for value, verdict in pairs]
    return {"context": context}


def values_over(bounds: "Range", count: int = NUM_VALUES) -> list[float]:
    """Values evenly spread over a range, as they are drawn from it; both ends are among them.

    >>> from ccenv.annexes.simulator.context import Range
    >>> [round(value, 2) for value in values_over(Range(0.1, 10.0, is_log=True))]
    [0.1, 0.32, 1.0, 3.16, 10.0]
    """
    if bounds.low == bounds.high:
        return [bounds.low]
    values: list[float] = bounds.at(torch.linspace(0, 1, count)).tolist()
    return [bounds.low, *values[1:-1], bounds.high]
