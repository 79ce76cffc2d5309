"""One run: a plan -> its folder with curves, checkpoint and result."""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import torch

from ccenv.agents.base import Agent
from ccenv.base.files import write_sealed
from ccenv.base.given_files import read_json
from ccenv.base.mask_words import BOTH
from ccenv.runs.config.plan import OLDER, Plan, code_digests
from ccenv.runs.engine.errors import (
    CannotStartError,
    StoppedError,
    check_learned_finite,
    told_as,
    warn,
)
from ccenv.runs.engine.listener import Listener, progress_bar
from ccenv.runs.engine.metadata import (
    OBLIVIOUS,
    description_of,
    latencies,
    verdicts_of_context,
)
from ccenv.runs.engine.prepare import Options, PreparedRun, prepare
from ccenv.runs.stats.measures import mask_gap
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store import masks_file
from ccenv.runs.store.identity import Program
from ccenv.runs.store.result_form import check_result_of
from ccenv.runs.store.untrusted_files import EXPORTED
from ccenv.runs.tensorboard.tracking import FOLDER, Tracker
from ccenv.simulator.evaluate import Evaluation, evaluate
from ccenv.simulator.policy import Policy


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
    folder = plan.folder()
    try:
        run_folder.check_writable(folder)
        run_folder.check_unlinked(folder)
        run_folder.lock_path(folder)
    except (OSError, ValueError) as error:
        raise CannotStartError(str(error)) from error
    with run_folder.locked(folder, wait), torch_settings(plan.program):
        result = result_here(plan) if reuse else None
        return result or execute(plan, options or Options())


def warn_of_masks(result: Mapping[str, Any]) -> None:
    """Says on stderr where greedy and sampled masks have different errors; see `mask_gap`.

    Not of rules, whose masks training does not change.
    """
    sampled, greedy = result["evaluations"][:2]
    gap = mask_gap(sampled["error"], greedy["error"], sampled["num_images"])
    if gap and result["learns"]:
        warn(gap)


def result_here(plan: Plan) -> dict[str, Any] | None:
    """The result in a run's folder, None where there is none or other code has made it."""
    folder = plan.folder()
    where = str(folder / run_folder.RESULT)
    try:
        result = run_folder.read_result(folder)
        if result is not None:
            check_result_of(plan.program.seed, result, where)
    except ValueError as error:
        raise CannotStartError(str(error)) from error
    if result is not None and result["code"] != code_digests(plan):
        warn(f"{where} comes from an older version of its {OLDER}; the run starts over")
        return None
    return result


def execute(plan: Plan, options: Options) -> dict[str, Any]:
    """Builds, learns, evaluates and writes."""
    begun = time.perf_counter()
    prepared = prepare(plan, options)
    env, agent, folder = prepared.env, prepared.agent, prepared.folder
    listener, last = learn(prepared)
    evaluations = all_verdicts(env, agent, plan.program.seed, last)
    result = {
        **description_of(plan, env, agent),
        "images_seen": listener.images_seen,
        **({} if listener.best is None else {"kept_at": listener.best.at}),
        "seconds": listener.seconds_learned,
        "evaluations": [e.numbers() for e in evaluations],
        "curve": listener.curve,
        "last_tenth": listener.tail.numbers(),
        **verdicts_of_context(env, agent, plan.program.seed),
        "block_use": block_use_of(last[0]),
        "latency": latencies(plan, env, agent),
        "total_seconds": time.perf_counter() - begun + listener.seconds_before,
    }
    # What a replay needs: policy, network, and the masks that were evaluated.
    run_folder.save_checkpoint(folder, agent, agent.simulator.network)
    masks = {e.deterministic: e.masks for e in evaluations[:2]}
    masks_file.save_masks(folder, masks, {e.deterministic: e.gate_values for e in evaluations[:2]})
    if options.export:
        export(plan, agent)
    write_sealed(folder / run_folder.RESULT, result)
    prepared.keeper.remove()
    env.close()
    return dict(read_json(folder / run_folder.RESULT)) | {"folder": str(folder)}


def block_use_of(verdict: Evaluation) -> list[list[list[int]]]:
    """Keep probabilities in per cent, [gates][classes][blocks]."""
    return [(100 * use).round().int().tolist() for use in verdict.block_use]


def all_verdicts(
    env: Any, policy: Policy, seed: int, last: Sequence[Evaluation] = ()
) -> tuple[Evaluation, ...]:
    """Verdicts on test and on validation inputs, of sampled masks before greedy ones.

    Args:
        env: any view of the environment.
        policy: what is judged.
        seed: of sampled masks.
        last: verdicts that are there already, under the masks that the policy is for.
    """
    verdicts = []
    there = {(one.split, one.deterministic): one for one in last}
    for split, greedy in itertools.product(("test", "validation"), BOTH):
        verdicts.append(
            there.get((split, greedy))
            or evaluate(env, policy, split=split, deterministic=greedy, seed=seed)
        )
    return tuple(verdicts)


def learn(run: PreparedRun) -> tuple[Listener, list[Evaluation]]:
    """Learns to the last image, and evaluates what was learned on test and validation images."""
    plan, agent = run.plan, run.agent
    with (
        told_as(StoppedError, plan, agent=agent),
        closing(
            Tracker(
                run.curves,
                plan.config() | {FOLDER: str(run.folder)},
                agent.simulator,
                run.resumed and run.resumed["tracker"],
            )
        ) as tracker,
        progress_bar(plan) as bar,
    ):
        listener = Listener(run, tracker, bar)
        last = listener.finish(agent.learn(plan.program.images, listener))
    check_learned_finite(plan, agent)
    return listener, last


def export(plan: Plan, agent: Agent) -> None:
    """Leaves policy and network as one file in the run's folder, or says why that cannot be."""
    if OBLIVIOUS in plan.environment:
        warn("no classifier exported: it would touch only what it chooses, which is seen")
        return
    from ccenv.annexes.deploy.export import SkippingClassifier

    try:
        classifier = SkippingClassifier.from_agent(agent, **plan.agent_settings)
        classifier.save(plan.folder() / run_folder.CHECKPOINT / EXPORTED)
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
