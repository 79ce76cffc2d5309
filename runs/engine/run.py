"""One run: a plan -> its folder with curves, checkpoint and result."""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ccenv.agents.base import Agent
from ccenv.base.files import write_whole
from ccenv.base.given_files import read_json
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.networks.core.mlp import SMALL_MACS
from ccenv.networks.core.protocol import GatedNetwork
from ccenv.runs.config.command import command_line
from ccenv.runs.config.plan import OLDER, Plan, code_digests
from ccenv.runs.engine.checkpoint import Keeper, read_checkpoint
from ccenv.runs.engine.errors import (
    CannotStartError,
    StoppedError,
    check_learned_finite,
    told_as,
    warn,
)
from ccenv.runs.engine.listener import Listener, progress_bar
from ccenv.runs.engine.metadata import description_of, latencies, verdicts_of_context
from ccenv.runs.stats.measures import MODES, mask_gap
from ccenv.runs.stats.verdict import first_names
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store import json_file, masks_file
from ccenv.runs.store.identity import Program
from ccenv.runs.store.seal import check_result_of
from ccenv.runs.store.untrusted_files import EXPORTED
from ccenv.runs.tensorboard.names import curves_folder
from ccenv.runs.tensorboard.tracking import FOLDER, Tracker
from ccenv.simulator.evaluate import Evaluation, evaluate
from ccenv.simulator.policy import Policy
from ccenv.simulator.simulator import Simulator

OBLIVIOUS = "oblivious"
"""A setting under which nothing is skipped: what would be timed and exported is another program."""


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


def run(
    plan: Plan,
    *,
    wait: bool = True,
    reuse: bool = False,
    options: Options | None = None,
) -> dict[str, Any]:
    """Carries a plan out in its folder, which no other process uses meanwhile.

    A run that was interrupted goes on from its last checkpoint, and ends as if it had never
    stopped.

    Args:
        plan: what to do.
        wait: wait where another process is at it, or refuse.
        reuse: return the result that is there, if one is, of the agent's, reward's and network's
            code as it is here now.
        options: how to do it.

    Returns:
        What `result.json` holds, and if it was made now, under `folder` where.

    Raises:
        CannotStartError: before anything is written, if the plan cannot be carried out, or the
            result to be returned was edited.
    """
    target, options = plan.folder(), options or Options()
    try:
        run_folder.check_writable(target)
        run_folder.check_unlinked(target)
        curves = curves_folder(plan, options.shared)
        run_folder.refuse_links([curves.parent])
        run_folder.check_unlinked(curves)
        run_folder.lock_path(target)
    except (OSError, ValueError) as error:
        raise CannotStartError(str(error)) from error
    with run_folder.locked(target, wait), torch_settings(plan.program):
        found = result_here(plan, target) if reuse else None
        return found or execute(plan, target, options)


def warn_of_masks(result: Mapping[str, Any]) -> None:
    """Says on stderr where greedy and sampled masks have different errors; see `mask_gap`.

    Not of rules, whose masks training does not change.
    """
    sampled, greedy = result["evaluations"][:2]
    gap = mask_gap(sampled["error"], greedy["error"], sampled["num_images"])
    if gap and result["learns"]:
        warn(gap)


def result_here(plan: Plan, target: Path) -> dict[str, Any] | None:
    """The result in a run's folder, None where there is none or other code has made it."""
    where = str(target / run_folder.RESULT)
    try:
        found = run_folder.read_result(target)
        if found is not None:
            check_result_of(plan.program.seed, found, where)
    except ValueError as error:
        raise CannotStartError(str(error)) from error
    if found is not None and found["code"] != code_digests(plan):
        warn(f"{where} comes from an older version of its {OLDER}; the run starts over")
        return None
    return found


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


def start_or_resume(plan: Plan, target: Path, options: Options) -> Started:
    """Builds, and goes on from the checkpoint that is there, or clears the folder."""
    every = options.checkpoint_every
    every = int(plan.program.eval_every or 1) if every is None else every
    unfinished = options.resume and run_folder.read_result(target) is None
    found = read_checkpoint(plan, target) if unfinished else None
    env, agent, first = build_run(plan)
    keeper = Keeper(plan, target, agent, every)
    if found is not None:
        try:
            keeper.resume(found)
            return Started(env, agent, first, keeper, found["curves"])
        except (ValueError, KeyError, RuntimeError) as error:
            warn(f"the checkpoint in {target} does not fit, the run starts over: {error}")
            keeper.remove()
            torch.manual_seed(plan.program.seed)
            return start_or_resume(plan, target, options)
    curves = curves_folder(plan, options.shared)
    run_folder.begin(target, curves, plan.config())
    if dropped := run_folder.drop_orphans(curves.parent):
        warn(f"curves of runs whose folders are gone were removed: {first_names(dropped)}")
    write_whole(target / run_folder.COMMAND, command_line(plan) + "\n")
    return Started(env, agent, first, keeper, None)


def execute(plan: Plan, target: Path, options: Options) -> dict[str, Any]:
    """Builds, learns, evaluates and writes."""
    begun = time.perf_counter()
    started = start_or_resume(plan, target, options)
    env, agent = started.env, started.agent
    listener, own = learn(plan, target, started)
    check_learned_finite(plan, agent)
    evaluations = all_verdicts(env, agent, plan.program.seed, own)
    result = {
        **description_of(plan, env, agent),
        "images_seen": listener.images_seen,
        **({} if listener.best is None else {"kept_at": listener.best.at}),
        "seconds": listener.seconds_learned,
        "evaluations": [e.numbers() for e in evaluations],
        "curve": listener.curve,
        "last_tenth": listener.tail.numbers(),
        **verdicts_of_context(env, agent, plan.program.seed),
        "block_use": block_use_of(own[0]),
        "latency": latencies(env, agent) if is_timed(plan, env.simulator.network) else [],
        "total_seconds": time.perf_counter() - begun + listener.seconds_before,
    }
    # What a replay needs: policy, network, and the masks that were evaluated.
    run_folder.save_checkpoint(target, agent, agent.simulator.network)
    masks = {e.draw: e.masks for e in evaluations[:2]}
    masks_file.save_masks(target, masks, {e.draw: e.gate_values for e in evaluations[:2]})
    if options.export:
        export(plan, agent, target)
    json_file.write_sealed(target / run_folder.RESULT, result)
    started.keeper.remove()
    env.close()
    return dict(read_json(target / run_folder.RESULT)) | {"folder": str(target)}


def block_use_of(verdict: Evaluation) -> list[list[list[int]]]:
    """Keep probabilities in per cent, [gates][classes][blocks]."""
    return [(100 * use).round().int().tolist() for use in verdict.block_use]


def all_verdicts(
    env: Any, policy: Policy, seed: int, own: Sequence[Evaluation] = ()
) -> tuple[Evaluation, ...]:
    """Verdicts on test and on validation inputs, of sampled masks before greedy ones.

    Args:
        env: any view of the environment.
        policy: what is judged.
        seed: of sampled masks.
        own: what is known already, under the masks that the policy is for.
    """
    found = []
    known = {(one.split, one.draw): one for one in own}
    for split, draw in itertools.product(("test", "validation"), MODES):
        greedy = draw == "mode"
        found.append(
            known.get((split, draw))
            or evaluate(env, policy, split=split, deterministic=greedy, seed=seed)
        )
    return tuple(found)


def is_timed(plan: Plan, network: GatedNetwork) -> bool:
    """Whether seconds are measured at the end: if they are asked for and something is skipped."""
    asked = plan.program.latency
    # Of a tiny network kernels would compile for longer than the run takes.
    wanted = network.dense_macs > SMALL_MACS if asked is None else asked
    is_input = plan.environment["episode"] == "input"
    return wanted and is_input and OBLIVIOUS not in plan.environment


def learn(plan: Plan, target: Path, started: Started) -> tuple[Listener, list[Evaluation]]:
    """Learns to the last image, and evaluates what was learned on test and validation images."""
    env, agent, curves = started.env, started.agent, started.curves
    with (
        told_as(StoppedError, plan, agent=agent),
        closing(
            Tracker(
                curves_folder(plan),
                plan.config() | {FOLDER: str(target)},
                agent.simulator,
                curves and curves["tracker"],
            )
        ) as tracker,
        progress_bar(plan) as bar,
    ):
        listener = Listener(plan, env, agent, tracker, bar, started.keeper)
        if curves is None:
            listener.start(started.first)
        else:
            listener.resume(curves)
        return listener, listener.finish(agent.learn(plan.program.images, listener))


def export(plan: Plan, agent: Agent, target: Path) -> None:
    """Leaves policy and network as one file, or says why that cannot be."""
    if OBLIVIOUS in plan.environment:
        warn("no classifier exported: it would touch only what it chooses, which is seen")
        return
    from ccenv.annexes.deploy.export import SkippingClassifier

    try:
        classifier = SkippingClassifier.from_agent(agent, **plan.agent_settings)
        classifier.save(target / run_folder.CHECKPOINT / EXPORTED)
    except ValueError as error:
        warn(f"no classifier exported: {error}")


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
