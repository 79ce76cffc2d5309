"""Networks of any kind beside their plain modules: a subject -> times of passes and of training.

Frozen networks are packed, as the environment runs them, and a small policy is part of a pass: an
affine map of each gate's look and a draw. Other masks in every pass, from a pool drawn beforehand.
"""

import functools
import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.annexes.deploy.short_walk import OneRow, has_single_rows
from ccenv.base.clock import quartiles_of_ratio, seconds_in_turns, work_clock
from ccenv.base.seeding import stream
from ccenv.mdp.choosers import Chooser, mask_of
from ccenv.networks.core.inference_copy import pack
from ccenv.networks.core.lowering import Operation, operations_of
from ccenv.networks.core.protocol import dense_forward, walk
from ccenv.runs.lab.benchmarks.cases import Pass, Row, benchmark
from ccenv.runs.lab.benchmarks.kernels import as_pass
from ccenv.runs.lab.benchmarks.subjects import Network, Subject, chosen
from ccenv.runs.store.provenance import load_average


@dataclass(frozen=True)
class Passes:
    """What is timed in turns, and what it costs."""

    macs: float
    """executed MACs of an input, without a policy's."""
    policy_macs: int
    """of the policies that are part of `gated`."""
    dense_macs: int
    """with everything kept."""
    timed: dict[str, Pass]
    """"gated" with policies, "given" masks, "dense", "plain" and "equal"."""


def executed(network: Network, inputs: Tensor, pool: Sequence[Sequence[Tensor]]) -> float:
    """MACs of an input, mean over a pool of masks and over rows."""
    totals = []
    with torch.no_grad():
        for masks in pool:
            hidden, total = network.start(inputs), 0.0
            for gate, mask in enumerate(masks):
                total += float(network.macs(gate, hidden, mask).double().mean())
                hidden = network.step(gate, hidden, mask)
            totals.append(total)
    return statistics.mean(totals)


def make_policies(network: Network, generator: torch.Generator) -> list[Tensor]:
    """Affine maps of the looks: [num_blocks, look_size] for each gate."""
    return [
        torch.randn(gate.num_blocks, gate.look_size, generator=generator) / (gate.look_size + 1)
        for gate in network.gates
    ]


def next_logits(
    network: Network,
    inputs: Tensor,
    turns: Iterator[Sequence[Tensor]],
    policies: Sequence[Tensor],
    generator: torch.Generator,
) -> Tensor:
    """Logits under the next masks of a pool.

    Choosing costs what it does (look, product and draw), without policies nothing; the
    masks that are taken are the pool's.
    """
    masks = next(turns)
    if policies:
        # One call draws for all gates: a score above logit(u) is a draw with its sigmoid.
        noise = torch.rand(len(masks[0]), sum(map(len, policies)), generator=generator).logit_()
        noises = noise.split([*map(len, policies)], dim=1)

    def choose(gate: int, hidden: Any) -> Tensor:
        if policies:
            nn.functional.linear(network.look(gate, hidden), policies[gate]).gt(noises[gate])
        return masks[gate]

    return walk(network, inputs, choose)


def one_row_passes(
    operations: Sequence[Operation],
    inputs: Tensor,
    pool: Sequence[Sequence[Tensor]],
    policies: Sequence[Tensor],
) -> dict[str, Callable[[], Tensor]]:
    """The same for a single input by `deploy.short_walk`: "gated", "given" and "dense".

    A gate of one block is asked for a bit; masks are the pool's.
    """
    one = OneRow(operations)
    choosers = [Chooser([(policy, None)], "sampled") for policy in policies]
    taken = [[bool(m) if m.shape[1] == 1 else m for m in masks] for masks in pool]
    generator = stream(0, "draws of single rows")
    sizes = [len(policy) for policy in policies]

    def gated(turns: Iterator[Sequence[bool | Tensor]]) -> Tensor:
        masks = next(turns)
        drawn = torch.rand(1, sum(sizes), generator=generator)
        noises = drawn.split(sizes, dim=1)

        def decide(gate: int, x: Tensor, early: Tensor | None) -> bool | Tensor:
            drawn = mask_of(choosers[gate], one.look(gate, x, early), noises[gate], sizes[gate])
            if sizes[gate] == 1:
                # The host asks, as where masks are the policy's own.
                bool(drawn)
            return masks[gate]

        return one(inputs, decide)

    def given_masks(turns: Iterator[Sequence[bool | Tensor]]) -> Tensor:
        masks = next(turns)
        return one(inputs, lambda gate, *_: masks[gate])

    return {
        "gated": functools.partial(gated, itertools.cycle(taken)),
        "given": functools.partial(given_masks, itertools.cycle(taken)),
        "dense": functools.partial(one, inputs, lambda *_: True),
    }


def make_passes(subject: Subject, batch: int, *, training: bool = False) -> Passes:
    """Builds a subject's network, packed for forward passes, and what it is compared with."""
    generator = stream(0, "kernel operands")
    network, inputs = subject.build(), subject.inputs(batch, generator)
    labels = torch.randint(subject.num_classes, (batch,), generator=generator)
    pool = subject.pool(network, batch, 32 if batch == 1 else 4)
    modules = {"plain": subject.plain(network)}
    if subject.equal is not None:
        modules["equal"] = subject.equal(network)
    # All stay in evaluation mode, where norms are fixed, as networks keep them under masks.
    for module in (network, *modules.values()):
        module.eval().requires_grad_(training)
    if not training and hasattr(network, "pack"):
        pack(network)
    macs, policies = executed(network, inputs, pool), make_policies(network, generator)

    def timed(model: nn.Module, logits: Callable[[], Tensor]) -> Pass:
        run = as_pass(model, logits, labels if training else None)
        return torch.set_grad_enabled(training)(run)

    def gated(policies: Sequence[Tensor]) -> Pass:
        turns = itertools.cycle(pool)
        logits = functools.partial(next_logits, network, inputs, turns, policies, generator)
        return timed(network, logits)

    passes = {"gated": gated([] if training else policies)}
    if not training:
        passes["given"] = gated([])
    passes["dense"] = timed(network, functools.partial(dense_forward, network, inputs))
    operations = operations_of(network)
    if batch == 1 and not training and has_single_rows(operations):
        single = one_row_passes(operations, inputs, pool, policies)
        passes |= {name: timed(network, logits) for name, logits in single.items()}
    for name, module in modules.items():
        passes[name] = timed(module, functools.partial(module, inputs))
    policy_macs = 0 if training else sum(policy.numel() for policy in policies)
    return Passes(macs, policy_macs, network.dense_macs, passes)


FORWARD, TRAINED = "pass", "training step"
SECONDS = 0.1
"""length of one timing: of a single input some dozen passes, each with masks of its own."""
NOTES = """\
Frozen and packed, one thread; a single input of a sequence of stages by
`deploy.short_walk`, its dense pass too. Seconds of the processor (of the wall with several
threads). MACs saved: of the dense network's, the policy's own counted (an affine map of the look
and a draw for each gate). Time saved: 1 - time over that of the same packed modules with everything
kept and no masks, in the same round, median [quartiles], policy included; of it: time saved over
MACs saved, with the policy's work and without. Faster than dense: the same as a speed-up; than
plain: over the module as torch has it (norms apart, `TransformerEncoderLayer`, one hidden layer for
all experts). Over equal: time over that of one dense hidden layer of the executed units. A training
step is forward and backward without an optimiser, masks given, beside the same modules with
everything kept."""
COLUMNS = {
    "network": "<{network}",
    "kept": "<{kept}",
    "what": "<{way}",
    "batch": ">{batch:,}",
    "MACs saved": ">{saved_macs:.1%}",
    "time saved": "<{saved_time:.1%} [{saved_time_low!p:.1f}, {saved_time_high!p:.1f}]",
    "of it": ">{of_saved:.2f}",
    "without policy": ">?{of_saved_given:.2f}",
    "faster than dense": ">{speedup:.2f}",
    "than plain": ">{plain_speedup:.2f}",
    "over equal": ">?{over_equal:.2f}",
    "ms": ">{gated_milliseconds:.2f}",
}


def measure(subject: Subject, batch: int, rounds: int, *, training: bool = False) -> Row:
    """Times a network in turns, at least two rounds; `NOTES` tells what the row says."""
    passes = make_passes(subject, batch, training=training)
    times = seconds_in_turns(passes.timed, min(rounds, subject.most_rounds), SECONDS, work_clock())
    low, middle, high = quartiles_of_ratio(times["gated"], times["dense"])
    saved = 1 - (passes.macs + passes.policy_macs) / passes.dense_macs
    row = {
        "network": subject.network,
        "kept": subject.kept,
        "way": TRAINED if training else FORWARD,
        "batch": batch,
        "saved_macs": saved,
        "policy_macs": passes.policy_macs / passes.dense_macs,
        "saved_time": 1 - middle,
        "saved_time_low": 1 - high,
        "saved_time_high": 1 - low,
        "of_saved": (1 - middle) / saved,
        "speedup": quartiles_of_ratio(times["dense"], times["gated"])[1],
        "plain_speedup": quartiles_of_ratio(times["plain"], times["gated"])[1],
        "load_average": load_average(),
        "rounds": len(times["gated"]),
    }
    row |= {f"{n}_milliseconds": 1e3 * statistics.median(seconds) for n, seconds in times.items()}
    if "given" in times:
        time_share = quartiles_of_ratio(times["given"], times["dense"])[1]
        row["of_saved_given"] = (1 - time_share) / (1 - passes.macs / passes.dense_macs)
    if "equal" in times:
        row["over_equal"] = quartiles_of_ratio(times["gated"], times["equal"])[1]
    return row


def measured(*, quick: bool, rounds: int) -> Iterator[Row]:
    """Every network and batch in turn, and a training step of each."""
    for subject in chosen(quick=quick).values():
        for batch in subject.batches:
            yield measure(subject, batch, rounds)
        yield measure(subject, subject.training_batch, rounds, training=True)


NETWORKS = benchmark(
    "networks",
    "networks of any kind with some blocks skipped, beside their plain modules",
    measured,
    COLUMNS,
    kind="networks",
    recorded_as="network-speed",
    notes=NOTES,
)
