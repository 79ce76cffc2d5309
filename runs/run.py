"""One run: a plan -> its folder with curves, checkpoint and result."""

import dataclasses
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from agents.base import Agent
from ccenv.latency import measure_latency
from ccenv.rollout import Evaluation, collect_rollout, evaluate
from ccenv.vector_env import BlockSelectionVectorEnv
from runs import folder as run_folder
from runs.machine import machine, versions
from runs.settings import Plan, Program, code_digests
from runs.tracking import Tracker


class CannotStartError(ValueError):
    """Settings that cannot be carried out; nothing was written."""


def run(plan: Plan, *, wait: bool = True, reuse: bool = False) -> dict[str, Any]:
    """Carries a plan out in its folder, which no other process uses meanwhile.

    Args:
        plan: what to do.
        wait: wait where another process is at it, or refuse.
        reuse: return the result that is there, if there is one.

    Raises:
        CannotStartError: before anything is written, if the plan cannot be carried out.
    """
    target = plan.folder()
    try:
        run_folder.check_writable(target)
    except OSError as error:
        raise CannotStartError(str(error)) from error
    with run_folder.claim(target, wait), torch_settings(plan.program):
        found = run_folder.read_result(target) if reuse else None
        return found or execute(plan, target)


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


def build(plan: Plan) -> tuple[BlockSelectionVectorEnv, Agent, Evaluation]:
    """Environment, agent and its verdict before training: who cannot act fails here.

    Raises:
        CannotStartError: if data or a library is missing, or a setting impossible.
    """
    seed = plan.program.seed
    try:
        env = BlockSelectionVectorEnv(plan.num_envs, **plan.environment)
    except (ValueError, TypeError, OSError) as error:
        raise CannotStartError(str(error)) from error
    env.reset(seed=seed)
    try:
        agent = plan.agent_class(env, seed=seed, **plan.agent_settings)
        return env, agent, evaluate(env, agent, split="validation", seed=seed)
    except (ValueError, ImportError) as error:
        raise CannotStartError(str(error)) from error


def execute(plan: Plan, target: Path) -> dict[str, Any]:
    """Builds, learns, judges and writes."""
    started = time.perf_counter()
    env, agent, first = build(plan)
    run_folder.start(target, plan.config())
    with Tracker(target, plan.config()) as tracker, progress_bar(plan) as bar:
        listener = Listener(plan, env, agent, tracker, bar, first)
        begun = time.perf_counter()
        images_seen = agent.learn(plan.program.images, listener)
        seconds = time.perf_counter() - begun - listener.seconds
        last = listener.finish(images_seen)
        test = evaluate(env, agent, seed=plan.program.seed)
        tracker.finish(images_seen, last, test)
    most_probable = evaluate(env, agent, sample=False)
    result = {
        **describe(plan, env, agent),
        "images_seen": images_seen,
        "seconds": seconds,
        "evaluations": [e.numbers() for e in (test, most_probable, last)],
        "latency": latencies(env, agent),
        "total_seconds": time.perf_counter() - started,
    }
    run_folder.save_checkpoint(target, agent, agent.simulator.network)
    run_folder.write_json(target / run_folder.RESULT, result)
    env.close()
    return json.loads((target / run_folder.RESULT).read_text()) | {"folder": str(target)}


class Listener:
    """Told after each update: writes curves, judges on validation images now and then."""

    def __init__(
        self, plan: Plan, env: Any, agent: Agent, tracker: Tracker, bar: Any, first: Evaluation
    ) -> None:
        """Writes the verdict on the untrained agent."""
        self.plan, self.env, self.agent, self.tracker, self.bar = plan, env, agent, tracker, bar
        self.every = int(plan.program.eval_every or 1)
        self.judged_at, self.last = 0, first
        self.seconds = 0.0
        tracker.evaluation(0, first)

    def __call__(self, images_seen: int, scalars: dict[str, float]) -> None:
        """Takes one update's scalars."""
        self.tracker.rollout(images_seen, scalars)
        if self.bar is not None:
            self.bar.update(images_seen - self.bar.n)
        if images_seen - self.judged_at >= self.every:
            self.judge(images_seen)

    def judge(self, images_seen: int) -> None:
        """Validates."""
        started = time.perf_counter()
        self.last = evaluate(self.env, self.agent, split="validation", seed=self.plan.program.seed)
        self.tracker.evaluation(images_seen, self.last)
        self.judged_at = images_seen
        self.seconds += time.perf_counter() - started

    def finish(self, images_seen: int) -> Evaluation:
        """Validates the agent as it is now; who made no update gets one `episode/*` point."""
        if images_seen == 0:
            simulator = self.agent.simulator
            rollout = collect_rollout(simulator, self.agent, self.agent.generator)
            curves = rollout.means
            self.tracker.rollout(0, {f"episode/{name}": v for name, v in curves.items()})
        if images_seen == 0 or images_seen > self.judged_at:
            self.judge(images_seen)
        return self.last


@contextmanager
def progress_bar(plan: Plan) -> Iterator[Any]:
    """A bar on stderr that counts images, or None."""
    if not plan.program.progress:
        yield None
        return
    with tqdm(total=plan.program.images, desc=plan.agent, unit="image") as bar:
        yield bar


def describe(plan: Plan, env: Any, agent: Agent) -> dict[str, Any]:
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
        "learns": bool(agent.learns),
        "uses_labels": bool(agent.uses_labels),
        "num_parameters": sum(value.numel() for value in agent.parameters().values()),
        "network_parameters": sum(value.numel() for value in weights),
        "dense_macs": simulator.dense_macs,
        "policy_macs": list(agent.policy_macs),
        "versions": versions(),
        "machine": machine(),
    }


def latencies(env: Any, agent: Agent) -> list[dict[str, Any]]:
    """Measured time of one image and of 256; none of agents that search on the true label."""
    if agent.uses_labels:
        return []
    return [dataclasses.asdict(measure_latency(env, agent, size)) for size in (1, 256)]
