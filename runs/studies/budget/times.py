"""Times of a recorded network: python -m ccenv.runs.studies.budget.times NAME -> the same JSON.

Every mask of the menu, alone and for all inputs, and at each budget a policy that chooses from it,
for one input and a batch, in turns in one process with one thread. Seconds are the processor's.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ccenv.base.clock import seconds_in_turns, work_clock
from ccenv.mask_table.identity import weights_digest
from ccenv.networks.protocol import num_blocks_of
from ccenv.runs.programs import program
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.machine import load_average, machine, versions
from ccenv.runs.store.recorded import read_table
from ccenv.runs.store.seal import sealed
from ccenv.runs.studies.budget.parts import first_gate
from ccenv.runs.studies.budget.passes import Chooser, draws, policy_pass, spread, static_pass
from ccenv.runs.studies.budget.show import MASK, POLICY
from ccenv.simulator.simulator import Simulator


def menu_of(content: Mapping[str, Any], units: int) -> tuple[Tensor, Any]:
    """The recorded menu: bool [masks, units], and its costs [masks]."""
    rows = [row for row in content["rows"] if "skipped" in row]
    masks = torch.ones(len(rows), units, dtype=torch.bool)
    for mask, row in zip(masks, rows, strict=True):
        mask[row["skipped"]] = False
    return masks, np.array([row["cost"] for row in rows])


@torch.no_grad()
def timed_rows(
    simulator: Simulator, content: Mapping[str, Any], batch: int, rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """Milliseconds of a pass, one number a round, of every mask and of a policy at each budget.

    Args:
        simulator: with the network, packed, and inputs.
        content: of the recorded result.
        batch: inputs of a pass.
        rounds: of which each times everything once.
        seconds: length of one timing.
    """
    network, settings = simulator.network, content["settings"]
    masks, costs = menu_of(content, sum(num_blocks_of(network)))
    inputs = simulator.data.batch(torch.arange(batch))[0]
    gate = first_gate(simulator, masks)
    chooser = Chooser.made(network, gate, settings["columns"], settings["hidden"], len(masks))
    calls, heads = {}, {}
    for number, mask in enumerate(masks):
        calls[MASK, number] = static_pass(network, inputs, mask)
        heads[MASK, number] = {"cost": costs[number]}
    for budget in settings["budgets"]:
        numbers = draws(spread(costs, budget), batch)
        calls[POLICY, budget] = policy_pass(network, inputs, masks, numbers, chooser)
        share = chooser.macs / network.dense_macs
        heads[POLICY, budget] = {"cost": float(costs[numbers].mean()), "policy_cost": share}
    names = {MASK: "mask", POLICY: "budget"}
    return [
        {
            "timed": kind,
            names[kind]: which,
            "batch": batch,
            **heads[kind, which],
            "milliseconds": [float(f"{1e3 * t:.4g}") for t in times],
        }
        for (kind, which), times in seconds_in_turns(calls, rounds, seconds, work_clock()).items()
    ]


def with_times(
    content: Mapping[str, Any], batches: Sequence[int], rounds: int, seconds: float
) -> dict[str, Any]:
    """A recorded result with its times, in place of those that it had.

    Raises:
        ValueError: if the network here is another one, or nothing can be timed.
    """
    for name, number in (("batches", min(batches)), ("rounds", rounds - 1)):
        if number < 1:
            raise ValueError(f"expected at least one input a batch and two rounds, see --{name}")
    settings = content["settings"]
    environment = {name: settings[name] for name in ("network", "dataset")}
    environment |= content.get("environment", {})
    simulator = Simulator(1, split="test", **environment)
    if (found := weights_digest(simulator.network)) != content["weights"]:
        raise ValueError(f"expected the recorded weights {content['weights']}, got {found}")
    rows = [row for row in content["rows"] if "timed" not in row]
    before = load_average()
    for batch in batches:
        rows += timed_rows(simulator, content, batch, rounds, seconds)
    loads = [before, load_average()]
    said = {"loads": loads, "versions": versions(), "machine": machine()}
    return {**content, "times": said, "rows": rows}


@program("ccenv.runs.studies.budget.times", (ValueError, OSError, ImportError))
def main(arguments: Sequence[str] | None = None) -> int:
    """Times one network; see --help."""
    parser = argparse.ArgumentParser(
        prog="python -m ccenv.runs.studies.budget.times", description=__doc__
    )
    parser.add_argument("name", help="of the result: runs/results/budget-NAME.json")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32], metavar="N")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.05, help="length of one timing")
    parser.add_argument("--results-dir", type=Path, default=Path("runs/results"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    path = options.results_dir / f"budget-{options.name}.json"
    if not path.exists():
        raise ValueError(f"expected the recorded result {path}, got none; record it first")
    content = with_times(read_table(path), options.batches, options.rounds, options.seconds)
    run_folder.write_json(path, sealed(run_folder.finite(content)))
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
