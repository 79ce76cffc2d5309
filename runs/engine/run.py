"""One run: a plan -> its folder with curves, checkpoint and result."""

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from ccenv.agents.base import Agent
from ccenv.base.ranks import RanksError
from ccenv.deploy.export import SkippingClassifier
from ccenv.deploy.latency import measure_latency
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.networks.memory import memory_bytes
from ccenv.runs.board.tracking import Tracker
from ccenv.runs.engine.at_prices import verdicts_of_context
from ccenv.runs.engine.checkpoint import Keeper, read_checkpoint, warn
from ccenv.runs.engine.listener import Listener, progress_bar
from ccenv.runs.engine.together import Lead
from ccenv.runs.plan.command import command_line
from ccenv.runs.plan.plan import Plan, code_digests
from ccenv.runs.stats.bits import OF_SYMBOLS
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.checksums import data_of
from ccenv.runs.store.commit import code_commit
from ccenv.runs.store.machine import load_average, machine, versions
from ccenv.runs.store.program import Program
from ccenv.simulator.evaluate import Evaluation, evaluate
from ccenv.sparse.price_switch import shipped_prices

OBLIVIOUS = "oblivious"
"""A setting under which nothing is skipped: what would be timed and exported is another program."""


class CannotStartError(ValueError):
    """Settings that cannot be carried out; nothing was written."""


class StoppedError(RuntimeError):
    """A run that its settings brought to a stop; its folder holds no result."""


@dataclass(frozen=True)
class Options:
    """How a run is carried out; no result depends on it."""

    checkpoint_every: int | None = None
    """images between two checkpoints, 0 for none; None for one after each validation."""
    resume: bool = True
    """go on from the checkpoint of an interrupted run, if there is one."""
    export: bool = False
    """leave policy and network as one file, see `ccenv.deploy.export`."""
    lead: Lead | None = None
    """of processes that share the batches; None where this one has all rows."""


def run(
    plan: Plan,
    *,
    wait: bool = True,
    reuse: bool = False,
    options: Options | None = None,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Carries a plan out in its folder, which no other process uses meanwhile.

    A run that was interrupted goes on from its last checkpoint, and ends as if it had never
    stopped.

    Args:
        plan: what to do.
        wait: wait where another process is at it, or refuse.
        reuse: return the result that is there, if there is one.
        options: how to do it.
        folder: where, if not in the plan's own folder.

    Raises:
        CannotStartError: before anything is written, if the plan cannot be carried out.
    """
    target = plan.folder() if folder is None else folder
    try:
        run_folder.check_writable(target)
        run_folder.lock_path(target)
    except (OSError, ValueError) as error:
        raise CannotStartError(str(error)) from error
    with run_folder.claim(target, wait), torch_settings(plan.program):
        found = run_folder.read_result(target) if reuse else None
        return found or execute(plan, target, options or Options())


@contextmanager
def torch_settings(program: Program) -> Iterator[None]:
    """Sets torch's threads and global seed (agents of others may draw from it), for a while.

    Layers go the ways of the shipped prices: a run depends on no machine's measured ones.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(program.threads)
    try:
        with torch.random.fork_rng(devices=[]), shipped_prices():
            torch.manual_seed(program.seed)
            yield
    finally:
        torch.set_num_threads(threads)


def build(
    plan: Plan, lead: Lead | None = None
) -> tuple[BlockSelectionVectorEnv, Agent, Evaluation]:
    """Environment, agent and its evaluation before training: an agent that cannot act fails here.

    Args:
        plan: what to build.
        lead: of several ranks, which cannot share everything.

    Raises:
        CannotStartError: if data or a library is missing, or a setting impossible.
    """
    with told_as(CannotStartError, plan, (ValueError,)):
        if lead is not None:
            lead.check_plan(plan)
    env, agent = build_agent(plan)
    with told_as(CannotStartError, plan, (ValueError, ImportError)):
        if lead is not None:
            lead.check_agent(agent)
        return env, agent, evaluate(env, agent, split="validation", seed=plan.program.seed)


def build_agent(plan: Plan) -> tuple[BlockSelectionVectorEnv, Agent]:
    """Environment and agent before training.

    Raises:
        CannotStartError: see `build`.
    """
    seed = plan.program.seed
    with told_as(CannotStartError, plan, (ValueError, TypeError, FileNotFoundError)):
        env = BlockSelectionVectorEnv(plan.num_envs, **plan.environment)
    with told_as(CannotStartError, plan, (ValueError, ImportError)):
        env.reset(seed=seed)
        return env, plan.agent_class(env, seed=seed, **plan.agent_settings)


@contextmanager
def told_as(
    kind: type[Exception],
    plan: Plan,
    messages: tuple[type[Exception], ...] = (),
    agent: Agent | None = None,
) -> Iterator[None]:
    """Turns an error of wrong settings into one that is reported in one line, without a traceback.

    In a run with the user's own code other exceptions may be bugs of that code: they pass
    unchanged, with their traceback. So do errors of the system, such as a full disk.

    Args:
        kind: what is raised instead.
        plan: the run's.
        messages: exceptions that say what was expected.
        agent: whose parameters may have left the finite numbers.
    """
    try:
        yield
    except messages as error:
        raise kind(in_a_line(error)) from error
    except (OSError, SafetensorError):
        raise
    except Exception as error:
        if plan.has_own_code:
            raise
        told = f"{plan.agent} stopped by {type(error).__name__}: {in_a_line(error)}"
        if agent is not None and not all(t.isfinite().all() for t in agent.parameters().values()):
            told = f"expected finite parameters of {plan.agent}, got NaN or infinity in training"
        raise kind(f"{told}; check the settings that were given") from error


def in_a_line(error: Exception) -> str:
    """An exception's message without line breaks."""
    return " ".join(str(error).split())


@dataclass(frozen=True)
class Started:
    """A run that is ready to learn, from its first image or from a checkpoint."""

    env: BlockSelectionVectorEnv
    """with the agent's settings."""
    agent: Agent
    """as it was at the checkpoint, if there is one."""
    first: Evaluation
    """verdict before training."""
    keeper: Keeper
    """writes checkpoints."""
    curves: dict[str, Any] | None
    """state of the curves at the checkpoint, None of a run that starts."""


def start(plan: Plan, target: Path, options: Options) -> Started:
    """Builds, and goes on from the checkpoint that is there, or clears the folder."""
    every = options.checkpoint_every
    every = int(plan.program.eval_every or 1) if every is None else every
    unfinished = options.resume and run_folder.read_result(target) is None
    found = read_checkpoint(plan, target) if unfinished else None
    env, agent, first = build(plan, options.lead)
    keeper = Keeper(plan, target, agent, every)
    if found is not None:
        try:
            keeper.resume(found)
            return Started(env, agent, first, keeper, found["curves"])
        except (ValueError, KeyError, RuntimeError) as error:
            warn(f"the checkpoint in {target} does not fit, the run starts anew: {error}")
            keeper.remove()
            torch.manual_seed(plan.program.seed)
            return start(plan, target, options)
    run_folder.start(target, plan.config())
    run_folder.write_text(target / run_folder.COMMAND, command_line(plan) + "\n")
    return Started(env, agent, first, keeper, None)


def execute(plan: Plan, target: Path, options: Options) -> dict[str, Any]:
    """Builds, learns, judges and writes."""
    begun = time.perf_counter()
    started = start(plan, target, options)
    env, agent, curves = started.env, started.agent, started.curves
    with (
        told_as(StoppedError, plan, (RanksError,), agent),
        Tracker(target, plan.config(), curves and curves["tracker"]) as tracker,
        progress_bar(plan) as bar,
    ):
        listener = Listener(plan, env, agent, tracker, bar, started.keeper)
        if curves is None:
            listener.start(started.first)
        else:
            listener.resume(curves)
        learn = (
            agent.learn if options.lead is None else options.lead.learner(agent, listener.keeper)
        )
        images_seen = learn(plan.program.images, listener)
        seconds = listener.learning_seconds
        last = listener.finish(images_seen)
        test = evaluate(env, agent, seed=plan.program.seed)
        tracker.finish(images_seen, test)
    check_learned_finite(plan, agent)
    most_probable = evaluate(env, agent, sample=False)
    chosen_by = evaluate(env, agent, split="validation", sample=False)
    result = {
        **description_of(plan, env, agent),
        **({} if options.lead is None else {"ranks": options.lead.ranks.size}),
        "images_seen": images_seen,
        "seconds": seconds,
        "evaluations": [e.numbers() for e in (test, most_probable, last, chosen_by)],
        "curve": listener.curve,
        "last_tenth": listener.tail.numbers(),
        **verdicts_of_context(env, agent, plan.program.seed),
        "block_use": [(100 * use).round().int().tolist() for use in test.block_use],
        "latency": [] if OBLIVIOUS in plan.environment else latencies(env, agent),
        "total_seconds": time.perf_counter() - begun + listener.seconds_before,
    }
    run_folder.save_checkpoint(target, agent, agent.simulator.network)
    judged = (test, most_probable)
    run_folder.save_masks(
        target, {e.draw: e.masks for e in judged}, {e.draw: e.gate_values for e in judged}
    )
    if options.export:
        export(plan, agent, target)
    run_folder.write_result(target, result)
    started.keeper.remove()
    env.close()
    return dict(run_folder.check_json(target / run_folder.RESULT)) | {"folder": str(target)}


def check_learned_finite(plan: Plan, agent: Agent) -> None:
    """Refuses what was learned where it left the finite numbers: NaN compares as a choice does.

    Raises:
        StoppedError: naming whose numbers they are; no result is written.
    """
    learned = {plan.agent: agent.parameters()} if agent.learns else {}
    if plan.environment["weights"] == "cotrain":
        learned["the network"] = agent.simulator.network.state_dict()
    for name, tensors in learned.items():
        if not all(bool(t.isfinite().all()) for t in tensors.values()):
            raise StoppedError(
                f"expected finite parameters of {name}, got NaN or infinity in training; check "
                "the settings that were given"
            )


def export(plan: Plan, agent: Agent, target: Path) -> None:
    """Leaves policy and network as one file, or says why that cannot be."""
    if OBLIVIOUS in plan.environment:
        warn("no classifier exported: it would touch only what it chooses, which is seen")
        return
    try:
        classifier = SkippingClassifier.from_agent(agent, **plan.agent_settings)
        classifier.save(target / run_folder.CHECKPOINT / "classifier.safetensors")
    except ValueError as error:
        warn(f"no classifier exported: {error}")


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
