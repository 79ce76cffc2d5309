"""Passes to be timed: a sweep's rows, by their sizes or as they were trained -> compiled calls.

A pass begins with the bytes of whole images where a data set stores bytes: transforms and making
floats, in torch, are in it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ccenv.base.seeding import stream
from ccenv.data import load_split, preprocessing
from ccenv.data.fitted_transforms import through
from ccenv.data.transforms import as_floats
from ccenv.deploy.faster import fuse_policy
from ccenv.runs.config.plan import Plan
from ccenv.runs.config.settings import make_plan
from ccenv.runs.config.sweep import Sweep
from ccenv.runs.engine.jobs import make_jobs, own_result
from ccenv.runs.replay.rebuilt import rebuild
from ccenv.simulator.simulator import EXTENSIONS, Simulator

SET_NUMBER = ("dense", "block_dropout", "rloo", "topk", "hash")
"""Agents that keep a number of blocks that is set, k of n at least where draws are ordered."""
SIZED_BY = (
    "dataset",
    "transforms",
    "num_blocks",
    "block_size",
    "head_units",
    "observation",
    "activation",
    "network",
    "network_kwargs",
)
PLAIN = "mlp"
"""Begins the names of networks that are timed as the plain one of their sizes."""
AS_THEY_ARE = ("bytes",)
"""Other networks that have a compiled call; what is neither is not timed."""


@dataclass(frozen=True)
class Timed:
    """What is timed once."""

    labels: list[str]
    """rows that take this time."""
    plan: Plan
    """agent and network."""
    folder: Path | None = None
    """where their trained weights lie; None: fresh ones take as long."""


def is_set(plan: Plan) -> bool:
    """Whether training leaves the number of blocks that are kept as it is."""
    return plan.agent in SET_NUMBER and plan.agent_settings.get("draw") != "independent"


def by_size(sweep: Sweep) -> list[Timed]:
    """Rows of the same sizes together; of rows that training changes none, or without a call.

    Dropout of units is off at test: such a network is timed as the plain one that it is then.
    """
    found: dict[str, Timed] = {}
    for cell in sweep.cells:
        settings = {**sweep.settings, **cell.settings}
        network = str(settings.get("network", PLAIN))
        if network not in AS_THEY_ARE:
            if not network.startswith(PLAIN):
                continue
            settings["network"] = PLAIN
        plan = make_plan(cell.agent, settings)
        if not is_set(plan):
            continue
        own = plan.agent_settings
        choice = ("num_kept", "always_on", "hidden_units", "embedding_size", "num_hashed")
        kept = [own.get(name) for name in choice]
        sizes = [cell.agent, *kept, own.get("keep_probability")]
        key = json.dumps([*sizes, *(plan.environment[name] for name in SIZED_BY)])
        found.setdefault(key, Timed([], plan)).labels.append(cell.label)
    return list(found.values())


def as_trained(sweep: Sweep, log_dir: Path) -> list[Timed]:
    """Finished runs of rows that training changes.

    Raises:
        ValueError: if there is none.
    """
    jobs = [job for job in make_jobs(sweep, str(log_dir)) if not is_set(job.plan)]
    finished = [job for job in jobs if own_result(job) is not None]
    if not finished:
        raise ValueError(
            f"expected finished runs of rows of {sweep.name} that training changes in {log_dir}, "
            "got none; give the --log-dir in which they were made"
        )
    return [Timed([job.label], job.plan, job.plan.folder()) for job in finished]


def make_agent(plan: Plan, folder: Path | None) -> Any:
    """An agent with its network: as trained, or with fresh weights.

    Raises:
        ValueError: if what was trained cannot be put back.
    """
    if folder is not None:
        rebuilt = rebuild(plan, folder)
        if not rebuilt.is_restored:
            raise ValueError(f"expected what {plan.agent} learned in {folder}, got none of it")
        return rebuilt.agent
    group = int(plan.environment["group_size"])
    left_out = ("weights_kwargs", *EXTENSIONS)
    settings = {k: v for k, v in plan.environment.items() if k not in left_out}
    simulator = Simulator(group, **settings)
    simulator.seed(0)
    return plan.agent_class(simulator, seed=0, **plan.agent_settings)


def make_pass(timed: Timed, batch_size: int, draw: str) -> Callable[[], Any] | None:
    """One compiled call of policy and network, None where there is no such call for them.

    Args:
        timed: agent and network.
        batch_size: images of a pass.
        draw: "sampled" or "mode".

    Raises:
        ValueError: if what was trained cannot be put back.
    """
    drawn = draw == "sampled"
    agent = make_agent(timed.plan, timed.folder)
    simulator = agent.simulator
    shape, network = simulator.image_shape, simulator.network.eval()
    fused = fuse_policy(network, agent, simulator.observe, shape, drawn=drawn)
    if fused is None:
        return None
    images = images_of(timed.plan, batch_size)
    generator = stream(0, "latency masks") if drawn else None
    return lambda: fused(images(), generator=generator)


def images_of(plan: Plan, count: int) -> Callable[[], Tensor]:
    """Makes what the network sees of the first test images, anew whenever it is called.

    Images that are stored as floats are made once.

    Args:
        plan: names the data set and the transforms.
        count: of images; small test splits are gone through again.
    """
    names = plan.environment["dataset"], plan.environment["transforms"]
    stored = load_split(names[0], "test").images
    stored = stored.index_select(0, torch.arange(count) % len(stored))
    transforms = preprocessing(*names)

    def make() -> Tensor:
        return as_floats(through(transforms, stored))

    if stored.dtype == torch.uint8:
        return make
    made = make()
    return lambda: made
