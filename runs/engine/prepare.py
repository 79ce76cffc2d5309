"""Prepares a run: a plan -> its environment and agent, from the start or from a checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ccenv.agents.base import Agent
from ccenv.base.files import write_whole
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.runs.config.command import command_line
from ccenv.runs.config.plan import Plan
from ccenv.runs.engine.checkpoint import Keeper, checkpoint_path, same_program
from ccenv.runs.engine.errors import CannotStartError, told_as, warn
from ccenv.runs.stats.verdict import first_names
from ccenv.runs.store import folder as run_folder
from ccenv.runs.tensorboard.names import curves_folder
from ccenv.simulator.evaluate import Evaluation, evaluate
from ccenv.simulator.simulator import Simulator


@dataclass(frozen=True)
class Options:
    """How a run is carried out; no result depends on it."""

    checkpoint_every: int | None = None
    """images between two checkpoints, 0 for none; None for one after each validation."""
    resume: bool = True
    """go on from the checkpoint of an interrupted run, if there is one."""
    export: bool = False
    """leave policy and network as one file, see `ccenv.annexes.deploy.export`."""
    shared: frozenset[str] = frozenset()
    """settings that TensorBoard's name of the run leaves out, see `shared_settings` there."""


@dataclass(frozen=True)
class PreparedRun:
    """A run that is ready to learn, from its first image or from a checkpoint."""

    plan: Plan
    """what is run."""
    env: BlockSelectionVectorEnv
    """with the agent's settings."""
    agent: Agent
    """as it was at the checkpoint, if there is one."""
    first: Evaluation
    """verdict before training."""
    folder: Path
    """where settings, checkpoint and result are written."""
    curves: Path
    """where curves are written."""
    keeper: Keeper
    """writes checkpoints."""
    resumed: dict[str, Any] | None
    """state of the listener at the checkpoint, None of a run that starts."""


def prepare(plan: Plan, options: Options) -> PreparedRun:
    """Builds, and goes on from the checkpoint that is there, or clears the folder."""
    env, agent, first = build_run(plan)
    every = options.checkpoint_every
    every = int(plan.program.eval_every or 1) if every is None else every
    folder = plan.folder()
    keeper = Keeper(agent, checkpoint_path(folder), same_program(plan), every)
    # Late: a name that is free is taken by writing there.
    curves = curves_folder(plan, options.shared)
    with told_as(CannotStartError, plan, (ValueError, OSError)):
        run_folder.refuse_links([curves.parent])
        run_folder.check_unlinked(curves)
    unfinished = options.resume and run_folder.read_result(folder) is None
    checkpoint = keeper.read(curves) if unfinished else None
    if checkpoint is None:
        run_folder.begin(folder, curves, plan.config())
        if dropped := run_folder.drop_orphans(curves.parent):
            warn(f"curves of runs whose folders are gone were removed: {first_names(dropped)}")
        write_whole(folder / run_folder.COMMAND, command_line(plan) + "\n")
        return PreparedRun(plan, env, agent, first, folder, curves, keeper, None)
    try:
        keeper.resume(checkpoint)
        resumed = checkpoint["curves"]
    except (ValueError, KeyError, RuntimeError) as error:
        warn(f"the checkpoint in {folder} does not fit, the run starts over: {error}")
        keeper.remove()
        torch.manual_seed(plan.program.seed)
        return prepare(plan, options)
    warn(f"goes on after {keeper.kept_at:,} of {plan.program.images:,} images: {folder}")
    return PreparedRun(plan, env, agent, first, folder, curves, keeper, resumed)


def build_run(plan: Plan) -> tuple[BlockSelectionVectorEnv, Agent, Evaluation]:
    """Environment, agent and its evaluation before training, which an agent must be able to do."""
    seed = plan.program.seed
    with told_as(CannotStartError, plan, (ValueError, TypeError, FileNotFoundError)):
        check_own_network(plan)
        env = BlockSelectionVectorEnv(plan.num_envs, **plan.environment)
    with told_as(CannotStartError, plan, (ValueError, ImportError)):
        env.reset(seed=seed)
        agent = plan.agent_class(env, seed=seed, **plan.agent_settings)
        built = agent.parameters().keys()
        first = evaluate(env, agent, split="validation", seed=seed)
        if later := agent.parameters().keys() - built:
            raise ValueError(
                f"expected {plan.agent} to build its parameters in __init__, got "
                f"{first_names(sorted(later))} later, which no file could give back"
            )
    return env, agent, first


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
