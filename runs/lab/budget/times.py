"""Times of a recorded network under a budget: its result -> rows of milliseconds, added to it.

Every mask of the menu, alone and for all inputs, and at each budget a policy that chooses from it,
for one input and a batch, in turns in one process with one thread. Seconds are the processor's.
"""

import argparse
import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccenv.base.clock import seconds_in_turns, work_clock
from ccenv.mask_table.building.checks import weights_digest
from ccenv.mask_table.evaluation.exact import FLOATS
from ccenv.networks.core.one_row import OneRow, why_not_one_row
from ccenv.networks.core.protocol import num_blocks_of, walk
from ccenv.runs.experiment import Experiment, Options
from ccenv.runs.lab.budget.experiment import recorded_as
from ccenv.runs.lab.budget.parts import first_gate
from ccenv.runs.lab.budget.show import MASK, POLICY, within
from ccenv.runs.lab.mask_tables.learning import softmax
from ccenv.runs.store.provenance import load_average, machine, versions
from ccenv.runs.store.recorded import read_table
from ccenv.runs.store.seal import SEAL
from ccenv.simulator.simulator import Simulator

Call = Callable[[], Tensor]
"""Logits [rows, num_classes]."""
GOLDEN = (5**0.5 - 1) / 2
POOL = 64
"""Draws after which a policy's masks begin anew."""


@dataclass(frozen=True)
class Chooser:
    """A policy over a menu, with random weights."""

    gate: int
    """before which it looks."""
    first: Tensor
    """[look_size, columns]; components, scaled."""
    hidden: Tensor
    """[columns, hidden]."""
    last: Tensor
    """[hidden, masks]."""

    @staticmethod
    def made(network: Any, gate: int, columns: int, hidden: int, masks: int) -> "Chooser":
        """A policy of these sizes; of a small look fewer columns."""
        generator = torch.Generator().manual_seed(0)
        size = network.gates[gate].look_size
        shapes = [(size, min(columns, size)), (min(columns, size), hidden), (hidden, masks)]
        return Chooser(gate, *(torch.randn(*s, generator=generator) / s[0] for s in shapes))

    @property
    def macs(self) -> int:
        """Products of one choice."""
        return sum(part.numel() for part in (self.first, self.hidden, self.last))

    def __call__(self, look: Tensor, noise: Tensor) -> Tensor:
        """Numbers of masks: looks [rows, look_size], uniform noise [rows, 1] -> int64 [rows]."""
        logits = torch.tanh(look @ self.first @ self.hidden) @ self.last
        sums = logits.softmax(dim=1).cumsum(dim=1)
        return (sums < noise).sum(dim=1).clamp_max(logits.shape[1] - 1)


def static_pass(network: Any, inputs: Tensor, mask: Tensor) -> Call:
    """One mask for all inputs, known beforehand; everything kept is the plain modules.

    Args:
        network: packed where it can be.
        inputs: [rows, ...].
        mask: bool [units].
    """
    bits = mask.split(list(num_blocks_of(network)))
    if is_single(network, inputs):
        one = OneRow(network)
        kept = [bool(bit) if len(bit) == 1 else bit[None] for bit in bits]
        return lambda: one(inputs, lambda gate, *_: kept[gate])
    rows = [None if bit.all() else bit.expand(len(inputs), -1).contiguous() for bit in bits]
    return lambda: walk(network, inputs, lambda gate, _: rows[gate])


def policy_pass(
    network: Any, inputs: Tensor, masks: Tensor, numbers: NDArray[np.int64], chooser: Chooser
) -> Call:
    """A policy chooses, and masks of a list are taken, in every pass the next ones.

    Args:
        network: packed where it can be.
        inputs: [rows, ...].
        masks: bool [masks, units], of the menu.
        numbers: of the masks that are taken one after the other.
        chooser: what choosing costs.
    """
    blocks, gate = list(num_blocks_of(network)), chooser.gate
    turns = itertools.cycle(torch.from_numpy(numbers).split(len(inputs)))
    generator = torch.Generator().manual_seed(0)

    def chosen(look: Tensor) -> Tensor:
        chooser(look, torch.rand(len(inputs), 1, generator=generator))
        return next(turns)

    if is_single(network, inputs):
        return single_policy(OneRow(network), inputs, masks.split(blocks, dim=1), gate, chosen)

    def call() -> Tensor:
        taken: list[Tensor] = []

        def choose(at: int, hidden: Any) -> Tensor | None:
            if at == gate:
                own = masks[chosen(network.look(at, hidden))]
                taken[:] = [part.contiguous() for part in own.split(blocks, dim=1)]
            return taken[at] if at >= gate else None

        return walk(network, inputs, choose)

    return call


def single_policy(
    one: OneRow,
    inputs: Tensor,
    bits: Sequence[Tensor],
    gate: int,
    chosen: Callable[[Tensor], Tensor],
) -> Call:
    """The same for a single input.

    Args:
        one: the network.
        inputs: [1, ...].
        bits: of each gate, bool [masks, blocks].
        gate: before which the policy looks.
        chosen: look [1, look_size] -> number of a mask, int64 [1].
    """
    kept: list[list[Any]] = [
        part[:, 0].tolist() if part.shape[1] == 1 else list(part.split(1)) for part in bits
    ]

    def call() -> Tensor:
        number = -1

        def decide(at: int, x: Tensor, early: Tensor | None) -> bool | Tensor:
            nonlocal number
            if at == gate:
                number = int(chosen(one.look(at, x, early)))
            # Everything before the look is kept: there all masks of the menu agree.
            return kept[at][number]

        return one(inputs, decide)

    return call


def is_single(network: Any, inputs: Tensor) -> bool:
    """Whether one input goes through without what many rows need."""
    return len(inputs) == 1 and why_not_one_row(network) is None


def spread(costs: FLOATS, budget: float) -> FLOATS:
    """Chances of a menu's masks that cost a budget on the mean, as even as they can be: [masks].

    Of all such chances they have the largest entropy: exp(-price x cost), at the right price.

    Raises:
        ValueError: if no mask costs more, or none less.

    >>> spread(np.array([0.2, 0.4, 0.6]), 0.4).round(3).tolist()
    [0.333, 0.333, 0.333]
    """
    if not costs.min() < budget < costs.max():
        raise ValueError(
            f"expected a budget between {costs.min():.3f} and {costs.max():.3f}, got {budget}"
        )
    low, high = -1e4, 1e4
    for _ in range(100):
        price = (low + high) / 2
        found = softmax(-price * costs)
        low, high = (price, high) if found @ costs > budget else (low, price)
    return found


def draws(chances: FLOATS, rows: int) -> NDArray[np.int64]:
    """Numbers of masks for `POOL` passes, of which any few in a row have about these chances.

    Args:
        chances: [masks].
        rows: inputs of a pass.
    """
    points = np.modf(np.arange(POOL * rows) * GOLDEN)[0]
    return np.minimum(np.searchsorted(chances.cumsum(), points), len(chances) - 1)


def menu_of(content: Mapping[str, Any], units: int) -> tuple[Tensor, Any]:
    """The recorded menu: bool [masks, units], and its costs [masks]."""
    rows = [row for row in content["rows"] if "skipped" in row]
    masks = torch.ones(len(rows), units, dtype=torch.bool)
    for mask, row in zip(masks, rows, strict=True):
        mask[row["skipped"]] = False
    return masks, np.array([row["cost"] for row in rows])


@dataclass(frozen=True)
class Timing:
    """How times are taken."""

    batches: Sequence[int] = (1, 32)
    """inputs of a pass."""
    rounds: int = 15
    """of which each times everything once."""
    seconds: float = 0.05
    """length of one timing; slower passes are timed one by one."""
    shown_only: bool = False
    """of the masks only everything, and at each budget the one that tables show."""


@torch.no_grad()
def timed_rows(
    simulator: Simulator, content: Mapping[str, Any], batch: int, timing: Timing
) -> list[dict[str, Any]]:
    """Milliseconds of a pass, one number a round, of masks and of a policy at each budget.

    Args:
        simulator: with the network, packed, and inputs.
        content: of the recorded result.
        batch: inputs of a pass.
        timing: how.
    """
    network, settings = simulator.network, content["settings"]
    masks, costs = menu_of(content, sum(num_blocks_of(network)))
    inputs = simulator.data.batch(torch.arange(batch))[0]
    gate = first_gate(simulator, masks)
    chooser = Chooser.made(network, gate, settings["columns"], settings["hidden"], len(masks))
    shown = {within(content["rows"], budget)["mask"] for budget in settings["budgets"]}
    calls, heads = {}, {}
    for number, mask in enumerate(masks):
        if not timing.shown_only or mask.all() or number in shown:
            calls[MASK, number] = static_pass(network, inputs, mask)
            heads[MASK, number] = {"cost": costs[number]}
    for budget in settings["budgets"]:
        numbers = draws(spread(costs, budget), batch)
        calls[POLICY, budget] = policy_pass(network, inputs, masks, numbers, chooser)
        share = chooser.macs / network.dense_macs
        heads[POLICY, budget] = {"cost": float(costs[numbers].mean()), "policy_cost": share}
    found = seconds_in_turns(calls, timing.rounds, timing.seconds, work_clock())
    names = {MASK: "mask", POLICY: "budget"}
    return [
        {
            "timed": kind,
            names[kind]: which,
            "batch": batch,
            **heads[kind, which],
            "milliseconds": [float(f"{1e3 * t:.4g}") for t in times],
        }
        for (kind, which), times in found.items()
    ]


def new_times(content: Mapping[str, Any], timing: Timing) -> Iterator[dict[str, Any]]:
    """Rows of times of a recorded network.

    Raises:
        ValueError: if the network here is another one, or nothing can be timed.
    """
    if min(timing.batches) < 1 or timing.rounds < 2:
        raise ValueError(
            "expected batches of at least one input and two rounds, got "
            f"{list(timing.batches)} and {timing.rounds}"
        )
    settings = content["settings"]
    environment = {name: settings[name] for name in ("network", "dataset")}
    environment |= content.get("environment", {})
    simulator = Simulator(1, split="test", **environment)
    if (found := weights_digest(simulator.network)) != content["weights"]:
        raise ValueError(f"expected the recorded weights {content['weights']}, got {found}")
    for batch in timing.batches:
        yield from timed_rows(simulator, content, batch, timing)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which result, and how times are taken."""
    parser.add_argument("network", help="of the result: budget-NETWORK.json")
    own = parser.add_argument
    own("--batches", type=int, nargs="+", default=list(Timing.batches), metavar="N")
    own("--rounds", type=int, default=Timing.rounds)
    own("--seconds", type=float, default=Timing.seconds, help="length of one timing")
    own("--shown-only", action="store_true", help="of the masks those that tables show")


def measured(options: Options) -> Iterator[dict[str, Any]]:
    """Times of the result that options name.

    Raises:
        ValueError: if it is not recorded.
    """
    path = options.results_dir / f"{recorded_as(options)}.json"
    if not path.exists():
        raise ValueError(f"expected the recorded result {path}, got none; record it first")
    timing = Timing(options.batches, options.rounds, options.seconds, options.shown_only)
    return new_times(read_table(path), timing)


def head(options: Options, before: Mapping[str, Any]) -> dict[str, Any]:
    """All that the result said, and when each batch was timed."""
    said = [one for one in before.get("times", []) if one["batch"] not in options.batches]
    now = {"load": load_average(), "versions": versions(), "machine": machine()}
    kept = {name: value for name, value in before.items() if name not in ("rows", SEAL)}
    return kept | {"times": [*said, *({"batch": batch, **now} for batch in options.batches)]}


TIMES = Experiment(
    name="budget-times",
    about="times of a recorded network's masks and policies, added to its result",
    run=measured,
    columns={
        "timed": "<{timed} {which}",
        "batch": ">{batch}",
        "cost": ">{cost:.3f}",
        "ms": ">{middle:.3f}",
    },
    shown=lambda row: {
        "which": row.get("mask", row.get("budget")),
        "middle": statistics.median(row["milliseconds"]),
    },
    recorded_as=recorded_as,
    add_options=add_options,
    head=head,
    key=("batch",),
)
