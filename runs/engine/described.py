"""What a result says beside its verdicts: (plan, environment, agent) -> who, where, on what."""

import dataclasses
from typing import Any

import torch

from ccenv.agents.base import Agent
from ccenv.deploy.latency import measure_latency
from ccenv.networks.memory import memory_bytes
from ccenv.runs.plan.plan import Plan, code_digests
from ccenv.runs.stats.bits import OF_SYMBOLS
from ccenv.runs.store.checksums import data_of
from ccenv.runs.store.commit import code_commit
from ccenv.runs.store.machine import load_average, machine, versions


def description_of(plan: Plan, env: Any, agent: Agent) -> dict[str, Any]:
    """What was run, by whom, on what."""
    simulator = env.simulator
    weights = simulator.network.state_dict().values()
    return {
        "agent": plan.agent,
        "env": plan.program.env,
        "reward": plan.environment["reward"],
        "seed": plan.program.seed,
        "settings": plan.config(),
        "code": code_digests(plan),
        **({"commit": commit} if (commit := code_commit()) else {}),
        "learns": bool(agent.learns),
        "uses_labels": bool(agent.uses_labels),
        "num_parameters": sum(value.numel() for value in agent.parameters().values()),
        "network_parameters": sum(value.numel() for value in weights),
        "memory_bytes": memory_bytes(simulator.network),
        "dense_macs": simulator.dense_macs,
        "policy_macs": list(agent.policy_macs),
        "data": data_of(plan.environment["dataset"]),
        OF_SYMBOLS: simulator.data.images.dtype == torch.int64,
        "versions": versions(),
        "machine": machine(),
        "load": load_average(),
    }


def latencies(env: Any, agent: Agent) -> list[dict[str, Any]]:
    """Measured time of one image and of 256; none of agents that search on the true label."""
    if agent.uses_labels:
        return []
    return [dataclasses.asdict(measure_latency(env, agent, size)) for size in (1, 256)]
