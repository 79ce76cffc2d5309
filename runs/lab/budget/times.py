"""Times of a recorded network under a budget: its result -> rows of milliseconds, added to it.

Every mask of the menu, alone and for all inputs, and at each budget a policy that chooses from it,
for one input and a batch, in turns in one process with one thread. Seconds are the processor's.
"""

import argparse
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ccenv.base.clock import seconds_in_turns, work_clock
from ccenv.mask_table.building.checks import weights_digest
from ccenv.networks.core.protocol import num_blocks_of
from ccenv.runs.experiment import Experiment, Options
from ccenv.runs.lab.budget.experiment import recorded_as
from ccenv.runs.lab.budget.parts import first_gate
from ccenv.runs.lab.budget.passes import Chooser, draws, policy_pass, spread, static_pass
from ccenv.runs.lab.budget.show import MASK, POLICY, within
from ccenv.runs.store.provenance import load_average, machine, versions
from ccenv.runs.store.recorded import read_table
from ccenv.runs.store.seal import SEAL
from ccenv.runs.tables.sweep_table import markdown
from ccenv.simulator.simulator import Simulator


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
    calls, heads = {}, {}
    for number, mask in enumerate(masks):
        if not timing.shown_only or mask.all() or number in shown_masks(content):
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


def shown_masks(content: Mapping[str, Any]) -> set[int]:
    """Numbers of the masks that tables show."""
    budgets = content["settings"]["budgets"]
    return {within(content["rows"], budget)["mask"] for budget in budgets}


def check_timing(timing: Timing) -> None:
    """Refuses what cannot be timed.

    Raises:
        ValueError: if there are no batches or fewer than two rounds.
    """
    if min(timing.batches) < 1 or timing.rounds < 2:
        raise ValueError(
            "expected batches of at least one input and two rounds, got "
            f"{list(timing.batches)} and {timing.rounds}"
        )


def new_times(content: Mapping[str, Any], timing: Timing) -> Iterator[dict[str, Any]]:
    """Rows of times of a recorded network.

    Raises:
        ValueError: if the network here is another one, or nothing can be timed.
    """
    check_timing(timing)
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


def milliseconds_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Median milliseconds of what was timed, in Markdown."""
    columns = {"timed": "left", "batch": "right", "cost": "right .3f", "ms": "right .3f"}
    lines = [
        [
            f"{row['timed']} {row.get('mask', row.get('budget'))}",
            row["batch"],
            row["cost"],
            statistics.median(row["milliseconds"]),
        ]
        for row in rows
    ]
    return markdown(columns, lines)


TIMES = Experiment(
    name="budget-times",
    about="times of a recorded network's masks and policies, added to its result",
    measured=measured,
    table=milliseconds_table,
    recorded_as=recorded_as,
    add_options=add_options,
    head=head,
    key=("batch",),
)
