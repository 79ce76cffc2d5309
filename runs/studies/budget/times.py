"""Times of a recorded network: python -m ccenv.runs.studies.budget.times NAME -> the same JSON.

Every mask of the menu, alone and for all inputs, and at each budget a policy that chooses from it,
for one input and a batch, in turns in one process with one thread. Seconds are the processor's.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ccenv.base.clock import seconds_in_turns, work_clock
from ccenv.mask_table.building.identity import weights_digest
from ccenv.networks.protocol import num_blocks_of
from ccenv.runs.programs import program
from ccenv.runs.store import json_file
from ccenv.runs.store.machine import load_average, machine, versions
from ccenv.runs.store.recorded_cells import read_table
from ccenv.runs.studies.budget.parts import first_gate
from ccenv.runs.studies.budget.passes import Chooser, draws, policy_pass, spread, static_pass
from ccenv.runs.studies.budget.show import MASK, POLICY, within
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


def with_times(content: Mapping[str, Any], timing: Timing) -> dict[str, Any]:
    """A recorded result with times, in place of those of the same batches.

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
    rows = [row for row in content["rows"] if row.get("batch") not in timing.batches]
    said = [one for one in content.get("times", []) if one["batch"] not in timing.batches]
    for batch in timing.batches:
        rows += timed_rows(simulator, content, batch, timing)
        own = {"batch": batch, "load": load_average()}
        said.append(own | {"versions": versions(), "machine": machine()})
    return {**content, "times": said, "rows": rows}


@program("ccenv.runs.studies.budget.times", (ValueError, OSError, ImportError))
def main(arguments: Sequence[str] | None = None) -> int:
    """Times one network; see --help."""
    parser = argparse.ArgumentParser(
        prog="python -m ccenv.runs.studies.budget.times", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("name", help="of the result: runs/results/budget-NAME.json")
    own = parser.add_argument
    own("--batches", type=int, nargs="+", default=list(Timing.batches), metavar="N")
    own("--rounds", type=int, default=Timing.rounds)
    own("--seconds", type=float, default=Timing.seconds, help="length of one timing")
    own("--shown-only", action="store_true", help="of the masks those that tables show")
    own("--results-dir", type=Path, default=Path("runs/results"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    path = options.results_dir / f"budget-{options.name}.json"
    if not path.exists():
        raise ValueError(f"expected the recorded result {path}, got none; record it first")
    timing = Timing(options.batches, options.rounds, options.seconds, options.shown_only)
    content = with_times(read_table(path), timing)
    json_file.write_sealed(path, content)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
