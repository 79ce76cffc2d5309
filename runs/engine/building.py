"""What a run begins with: a plan -> environment, agent and its verdict before training."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ccenv.agents.base import Agent
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.runs.config.plan import Plan
from ccenv.runs.engine.errors import CannotStartError, told_as
from ccenv.runs.store.identity import Program
from ccenv.simulator.evaluate import Evaluation, evaluate
from ccenv.simulator.simulator import Simulator


@contextmanager
def torch_settings(program: Program) -> Iterator[None]:
    """Sets torch's threads and global seed (agents of others may draw from it), for a while."""
    threads = torch.get_num_threads()
    torch.set_num_threads(program.threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(program.seed)
            yield
    finally:
        torch.set_num_threads(threads)


def build_run(plan: Plan, lead: Any = None) -> tuple[BlockSelectionVectorEnv, Agent, Evaluation]:
    """Environment, agent and its evaluation before training, which an agent must be able to do."""
    with told_as(CannotStartError, plan, (ValueError,)):
        if lead is not None:
            lead.check_plan(plan)
    env, agent = build_env_and_agent(plan)
    with told_as(CannotStartError, plan, (ValueError, ImportError)):
        if lead is not None:
            lead.check_agent(agent)
        return env, agent, evaluate(env, agent, split="validation", seed=plan.program.seed)


def build_env_and_agent(plan: Plan) -> tuple[BlockSelectionVectorEnv, Agent]:
    """Environment and agent before training."""
    seed = plan.program.seed
    with told_as(CannotStartError, plan, (ValueError, TypeError, FileNotFoundError)):
        check_own_network(plan)
        env = BlockSelectionVectorEnv(plan.num_envs, **plan.environment)
    with told_as(CannotStartError, plan, (ValueError, ImportError)):
        env.reset(seed=seed)
        return env, plan.agent_class(env, seed=seed, **plan.agent_settings)


def check_own_network(plan: Plan) -> None:
    """Tries the laws of networks on a user's own, with initial weights, before anything learns."""
    if not plan.has_own_network:
        return
    from ccenv.networks.core.check import check_network

    # Weights that are frozen would be learned first; those of co-training are drawn. One row is
    # enough, whatever groups the agent wants.
    settings = plan.environment | {"weights": "cotrain", "weights_kwargs": {}, "group_size": 1}
    simulator = Simulator(1, **settings)
    example, _ = simulator.data.batch(torch.arange(min(2, len(simulator.data))))
    check_network(simulator.network, example)
