"""Bits of a byte model over the size of its patches, with and without refreshes -> rows, a figure.

The figure of Zheng et al. 2026 (arXiv 2605.09630) in small: a network `patches` of each size learns
a text, once with refreshes and once without; patches of one symbol are the byte model.
"""

import argparse
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ccenv.agents.base import Agent
from ccenv.agents.reference_policies import BlockDropout
from ccenv.agents.systems.calibrated import BATCH
from ccenv.agents.systems.entropy_threshold import EntropyThreshold, threshold_of
from ccenv.runs.experiment import Experiment, Options, Row
from ccenv.runs.tables.drawing import Drawn, legend_below, legend_height, new_figure, nth_look
from ccenv.simulator.rollout import walk
from ccenv.simulator.simulator import Simulator

LENGTH, SEQUENCES = 128, 16
DATASET = "python_bundled"
SIZES = {
    "depth": 2,
    "width": 64,
    "num_heads": 4,
    "ffn_width": 128,
    "context": 8,
    "embedding_size": 8,
    "local_units": 64,
    "head_units": 64,
}
PATCHES = (1, 4, 8, 16)
RATES = (0.1, 0.25, 0.5)
"""Shares of the positions that refresh, of those that entropies choose."""
RATE = 0.003
JUDGED = 80
"""Test sequences."""
PERIOD = 4
"""Symbols, of which one refreshes in turn."""
NEVER, ALWAYS = "never", "always"


def simulator_of(patch_size: int, updates: int, seed: int) -> Simulator:
    """The environment of a size of patches."""
    simulator = Simulator(
        SEQUENCES * LENGTH,
        dataset=f"{DATASET}@{LENGTH}",
        network="patches",
        network_kwargs=SIZES | {"patch_size": patch_size},
        weights="cotrain",
        weights_kwargs={"learning_rate": RATE, "schedule_updates": updates},
        observation="layer_input",
        reward="negative_nll",
    )
    simulator.seed(seed)
    return simulator


def judged(agent: Agent, patch_size: int, trained: str, refreshes: str) -> Row:
    """Bits, MACs and refreshes of test positions, and the bytes of a sequence's cache."""
    count = JUDGED * LENGTH
    test: Any = agent.simulator.on_split("test", count)
    _, _, steps = walk(test, agent, None, torch.arange(count))
    outcome = steps[-1].outcome
    return {
        "patch_size": patch_size,
        "trained": trained,
        "refreshes": refreshes,
        "rate": float(outcome.mask.double().mean()),
        "bits": -float(outcome.log_likelihood.double().mean()) / math.log(2),
        "macs": float(outcome.macs.double().mean()),
        "cache_bytes": test.network.cache_bytes(LENGTH),
    }


class Periodic(Agent):
    """Refreshes every `PERIOD` symbols, in the middle of each period."""

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """By the symbols of the patch so far, the second column of what is seen."""
        return observation[:, 1:2] % PERIOD == PERIOD // 2


def doubts(agent: EntropyThreshold, patch_size: int) -> Tensor:
    """Entropies of the first validation positions that end no patch, in nats: [n]."""
    looks = itertools.islice(agent.validation_looks(kept=False), JUDGED * LENGTH // BATCH + 1)
    seen = torch.cat([at_gate[0] for at_gate in looks])
    return seen[seen[:, 1] < patch_size - 1, 0]


def rows_of(patch_size: int, updates: int, seed: int) -> Iterator[Row]:
    """Rows of one size of patches."""
    positions = updates * SEQUENCES * LENGTH
    plain = simulator_of(patch_size, updates, seed)
    never = BlockDropout(plain, seed=seed, keep_probability=0.0)
    never.learn(positions)
    yield judged(never, patch_size, "without", NEVER)
    if patch_size == 1:
        return
    simulator = simulator_of(patch_size, updates, seed)
    agent = EntropyThreshold(simulator, seed=seed)
    agent.learn(positions)
    for name, threshold in ((NEVER, math.inf), (ALWAYS, -1.0)):
        fixed = EntropyThreshold(simulator, threshold=threshold)
        yield judged(fixed, patch_size, "with", name)
    entropies = doubts(agent, patch_size)
    for rate in RATES:
        # Of all positions, those that end a patch included.
        threshold = threshold_of(entropies, rate * patch_size / (patch_size - 1))
        fixed = EntropyThreshold(simulator, threshold=threshold)
        yield judged(fixed, patch_size, "with", f"entropy, {rate:.0%}")
    yield judged(Periodic(simulator), patch_size, "with", f"periodic, {1 / PERIOD:.0%}")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which sizes, and how long."""
    add = parser.add_argument
    add("--sizes", type=int, nargs="+", default=[*PATCHES], help="symbols of a patch")
    add("--updates", type=int, default=300, help="of each network, of 2,048 positions")
    add("--seed", type=int, default=0, help="of networks and agents")


def measured(options: Options) -> Iterator[Row]:
    """Rows of each size."""
    for size in options.sizes:
        yield from rows_of(size, options.updates, options.seed)


LINES = {
    "no refreshes, learned without": ("without", NEVER),
    "refreshes at 25 % by entropy": ("with", "entropy, 25%"),
    "at 25 % in turn": ("with", "periodic, 25%"),
    "always": ("with", ALWAYS),
}
"""Lines of the figure."""


def drawn(rows: Sequence[Row]) -> Drawn:
    """Bits, and MACs, over the size of a patch; dashed: the byte model."""
    figure = new_figure(4.2 + legend_height([*LINES]))
    byte = [row for row in rows if row["patch_size"] == 1]
    lines: list[Any] = []
    for place, (key, label) in enumerate((("bits", "bits a symbol"), ("macs", "MACs a symbol"))):
        axes = figure.add_subplot(2, 1, place + 1)
        for number, (name, kind) in enumerate(LINES.items()):
            own = [row for row in rows if (row["trained"], row["refreshes"]) == kind]
            own = sorted((row for row in own if row["patch_size"] > 1), key=by_size)
            sizes, values = [row["patch_size"] for row in own], [row[key] for row in own]
            (line,) = axes.plot(sizes, values, label=name, markersize=4, lw=1, **nth_look(number))
            lines += [line] if place == 0 else []
        for row in byte:
            axes.axhline(row[key], color="black", lw=0.8, ls="--")
        sizes = sorted({row["patch_size"] for row in rows} - {1})
        if sizes:
            axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.set(ylabel=label, xlabel="symbols of a patch" if place else None)
    legend_below(figure, lines, [*LINES])
    caption = "Bits and MACs over the size of a patch; dashed: a patch a symbol."
    ends = "; ".join(
        f"{row['patch_size']}, {row['trained']}, {row['refreshes']}: {row['bits']:.3f} bits"
        for row in rows
    )
    return Drawn(figure, "bits", caption, ends)


def by_size(row: Row) -> int:
    """Symbols of a patch."""
    return int(row["patch_size"])


PATCH_STUDY = Experiment(
    name="patches",
    about="bits of a byte model over the size of its patches, with and without refreshes",
    run=measured,
    columns={
        "symbols of a patch": ">{patch_size}",
        "learned": "<{trained}",
        "refreshes": "<{refreshes}",
        "share": ">{rate:.2f}",
        "bits": ">{bits:.3f}",
        "MACs": ">{macs:,.0f}",
        "cache, bytes": ">{cache_bytes:,}",
    },
    settings={"dataset": f"{DATASET}@{LENGTH}", "sizes": SIZES, "learning_rate": RATE},
    add_options=add_options,
    head=lambda options, before: {
        "updates": options.updates,
        "seed": options.seed,
        "batch_size": SEQUENCES * LENGTH,
    },
    key=("patch_size",),
    figure=drawn,
)
