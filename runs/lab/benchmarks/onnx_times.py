"""ONNX files timed: (classifier, its two files) -> ms of one input, beside torch and `fuse`.

What is timed is compared first, on all test inputs: a file that answers otherwise has no time.
"""

import contextlib
import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from ccenv.agents import AGENTS
from ccenv.annexes.deploy.export import SkippingClassifier
from ccenv.annexes.deploy.latency import plain_passes
from ccenv.annexes.deploy.onnx_file import Session, agreement, check_installed, write_onnx
from ccenv.base.clock import seconds_in_turns, work_clock
from ccenv.base.registry import resolve
from ccenv.base.seeding import stream
from ccenv.data import load_split
from ccenv.runs.lab.benchmarks.cases import benchmark
from ccenv.simulator.simulator import Simulator

ROWS = 64
TIMED, QUICK = 16, 32
"""Inputs that are timed one by one in turn; inputs that a quick look compares."""
Calls = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Case:
    """A network and a policy."""

    name: str
    """what the table says."""
    settings: dict[str, Any]
    """of the environment; the network learns along unless `weights` says otherwise."""
    agent: str = "reinforce"
    """a name in `ccenv.agents.AGENTS`."""
    agent_settings: dict[str, Any] = field(default_factory=dict)
    """settings of the agent."""
    skips: bool = False
    """whether there is a form that skips."""
    images: int = 4096
    """that agent and network learn from."""


CONV = {"channels": [16, 32], "strides": [1, 2], "num_blocks": 8}
VIT = {"depth": 2, "dim": 64, "patch_size": 2}
TEXT = {"num_blocks": 32, "block_size": 16}
SEEN = {"observation": "symbols", "reward": "negative_nll", "group_size": 8}
CASES = (
    Case(
        "mlp, 2 x 16 blocks of 16",
        {"dataset": "digits", "num_blocks": [16, 16], "block_size": 16},
    ),
    Case(
        "conv, 8 groups a layer",
        {"dataset": "digits", "network": "conv", "network_kwargs": CONV},
    ),
    Case("experts, 32 of 16", {"dataset": "digits", "network": "experts"}, "rloo"),
    Case(
        "bytes, 2 of 32 blocks",
        {"dataset": "python_sample", "network": "bytes", "network_kwargs": TEXT, **SEEN},
        "rloo",
        {"embedding_size": 8},
    ),
    Case(
        "early_exit, 3 layers",
        {"dataset": "digits", "network": "early_exit", "network_kwargs": {"units": [64, 256, 256]}},
        skips=True,
    ),
    Case(
        "vit, 2 layers of 64",
        {"dataset": "digits", "network": "vit", "network_kwargs": VIT},
        skips=True,
    ),
    Case(
        "resnet, 20 layers",
        {"dataset": "cifar10", "network": "resnet", "network_kwargs": {"depth": 20}}
        | {"weights": "shipped"},
        skips=True,
        images=1024,
    ),
)
NOTES = """\
One input at a time, medians of milliseconds, one thread. Compared: inputs of the test set that both
files and the classifier answered, of drawn masks on the same draws; apart: the largest difference
of a logit. Dense: torch with every block kept. torch: the classifier as it is exported; fuse: its
`fuse()`. Networks and policies have learned for some seconds only: shares of blocks are theirs."""
COLUMNS = {
    "network": "<{network}",
    "compared": ">{inputs:,}",
    "same answers": ">{same_answers:.2%}",
    "same masks": ">{same_masks:.2%}",
    "apart": ">{apart:.0e}",
    "kept": ">{kept:.0%}",
    "dense": ">{milliseconds[dense][1]:.3f}",
    "torch": ">{milliseconds[torch][1]:.3f}",
    "fuse": ">?{milliseconds[fused][1]:.3f}",
    "ONNX masked": ">{milliseconds[masked][1]:.3f}",
    "ONNX that skips": ">?{milliseconds[skipping][1]:.3f}",
}


def exported(case: Case) -> SkippingClassifier:
    """What a short training leaves."""
    agent_class = resolve(case.agent, AGENTS, "agent")
    usual = {"weights": "cotrain"} | agent_class.env_defaults
    simulator = Simulator(ROWS, **(usual | case.settings))
    simulator.seed(0)
    agent = agent_class(simulator, seed=0, **case.agent_settings)
    agent.learn(case.images)
    return SkippingClassifier.from_agent(agent, **case.agent_settings)


def one_by_one(
    classifier: SkippingClassifier, sessions: Mapping[str, Session], images: Tensor
) -> Calls:
    """Ways to answer one input; each call takes the next one."""
    generator = None if classifier.deterministic else stream(0, "onnx times")
    blocks = sum(gate.num_blocks for gate in classifier.network.gates)
    uniforms = torch.rand(len(images), blocks, generator=stream(0, "onnx uniforms"))
    plain, prepare = plain_passes(classifier.network, 1)["torch"], classifier.prepare

    def over(call: Callable[[Tensor, Tensor], object]) -> Callable[[], object]:
        pairs = itertools.cycle(zip(images.split(1), uniforms.split(1), strict=True))
        return lambda: call(*next(pairs))

    ways: Calls = {
        "dense": over(torch.no_grad()(lambda image, _: plain(prepare(image)))),
        "torch": over(lambda image, _: classifier(image, generator)),
    }
    # What cannot be fused says so by an error.
    with contextlib.suppress(ValueError):
        fused: Any = classifier.fuse()
        ways["fused"] = over(lambda image, _: fused(image, generator))
    return ways | {name: over(session) for name, session in sessions.items()}


def measured(*, quick: bool, rounds: int) -> Iterator[dict[str, Any]]:
    """A row for each case; quick: the first, compared on a few inputs."""
    check_installed()
    # All are compared first, which takes minutes: what is timed is timed in one go.
    for row, ways in [compared(case, quick=quick) for case in CASES[: 1 if quick else None]]:
        times = seconds_in_turns(ways, rounds, 0.02 if quick else 0.1, work_clock())
        quartiles = {
            way: [1e3 * part for part in statistics.quantiles(seconds, n=4)]
            for way, seconds in times.items()
        }
        yield row | {"milliseconds": quartiles}


def compared(case: Case, *, quick: bool) -> tuple[dict[str, Any], Calls]:
    """Trains, writes the files, compares each on images: the worse agreement, and what is timed."""
    classifier = exported(case)
    data = load_split(case.settings["dataset"], "test")
    images, _ = data.batch(torch.arange(min(QUICK, len(data)) if quick else len(data)))
    sessions, agreements = {}, []
    with TemporaryDirectory() as folder:
        for name in ("masked", "skipping") if case.skips else ("masked",):
            path = Path(folder) / f"{name}.onnx"
            form = write_onnx(classifier, path, skips=name == "skipping")
            sessions[name] = Session(path)
            agreements.append(agreement(classifier, form, sessions[name], images))
    row = {
        "network": case.name,
        "dataset": case.settings["dataset"],
        "inputs": agreements[0].images,
        "same_answers": min(one.same_answers for one in agreements),
        "same_masks": min(one.same_masks for one in agreements),
        "apart": max(one.logits_apart for one in agreements),
        "kept": agreements[0].kept,
    }
    return row, one_by_one(classifier, sessions, images[:TIMED])


ONNX = benchmark(
    "onnx",
    "ONNX files beside the classifier that they are written from",
    measured,
    COLUMNS,
    recorded_as="onnx-times",
    notes=NOTES,
    names_machine=False,
)
