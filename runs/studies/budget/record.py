"""Records a network under a budget: python -m ccenv.runs.studies.budget.record NETWORK DATASET.

A menu is made by training inputs (see `menu`), judged on training, validation and test inputs, and
policies choose from it (see `policies`); the result goes to `runs/results/budget-NETWORK.json`.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ccenv.base.masks import random_mask
from ccenv.base.seeding import stream
from ccenv.mask_table.at_cost import AtCost
from ccenv.mask_table.exact import Outcomes
from ccenv.mask_table.forms import FLOATS
from ccenv.mask_table.identity import weights_digest
from ccenv.mask_table.learning import standardised
from ccenv.mdp.dynamics import initial, look, transition
from ccenv.networks.protocol import num_blocks_of
from ccenv.runs.engine.gate_sweep import chosen_inputs
from ccenv.runs.programs import program
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.checksums import data_of
from ccenv.runs.store.machine import machine, versions
from ccenv.runs.store.seal import sealed
from ccenv.runs.studies.budget import menu
from ccenv.runs.studies.budget.policies import Data, placed_rows
from ccenv.simulator.simulator import Simulator

SPLITS = ("train", "validation", "test")
KIND = "budget"


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    inputs: tuple[int, int, int] = (192, 64, 128)
    """of training, which make the menu and fit; of validation, which choose rates; of test."""
    chains: int = 3
    """of greedy removal, each judged by inputs of its own."""
    chain_inputs: int = 4
    most_tried: int = 12
    budgets: tuple[float, ...] = (0.92, 0.85, 0.78)
    """shares of the dense MACs at which chains give the menu masks, and policies are placed."""
    random: int = 3
    """random masks at each budget."""
    columns: int = 32
    """principal components of the look."""
    hidden: int = 32
    updates: int = 600
    seeds: int = 10
    batch: int = 8


def make_menu(simulator: Simulator, sizes: Sizes, seed: int) -> Tensor:
    """Everything, and each chain's mask at each budget: bool [masks, num_units], no two alike."""
    order = chosen_inputs(simulator.data, len(simulator.data), seed)
    order = order[torch.randperm(len(order), generator=stream(seed, "inputs of chains"))]
    found = [torch.ones(1, sum(num_blocks_of(simulator.network)), dtype=torch.bool)]
    for indices in order.split(sizes.chain_inputs)[: sizes.chains]:
        batch = simulator.data.batch(indices)
        masks, costs = menu.chain(
            simulator.network,
            batch,
            min(sizes.budgets),
            sizes.most_tried,
            lambda cost: print(f"chain at {cost:.3f}", file=sys.stderr, flush=True),
        )
        found.append(menu.at_budgets(masks, costs, sizes.budgets))
    # Ascending as numbers, everything last; `unique` sorts.
    return torch.cat(found).unique(dim=0)


def random_masks(simulator: Simulator, budgets: Sequence[float], count: int, seed: int) -> Tensor:
    """Masks whose units are kept so often that they cost each budget on the mean: bool [n, units].

    A network whose start and head are dear keeps fewer than the budget's share of its units.
    """
    blocks, generator = num_blocks_of(simulator.network), stream(seed, "random masks")
    batch = simulator.data.batch(torch.zeros(1, dtype=torch.int64))
    nothing = torch.zeros(1, sum(blocks), dtype=torch.bool)
    fixed = float(menu.judged(simulator.network, batch, nothing)[2])
    drawn = []
    for budget in budgets:
        chance = max(0.0, (budget - fixed) / (1 - fixed))
        parts = [random_mask(count, n, chance, generator) for n in blocks]
        drawn.append(torch.cat(parts, dim=1))
    return torch.cat(drawn)


@torch.no_grad()
def seen_of(simulator: Simulator, indices: Tensor, gate: int, size: int) -> FLOATS:
    """The look before a gate, all gates before it kept: [inputs, look_size]."""
    parts = []
    for some in indices.split(size):
        state = initial(simulator.network, *simulator.data.batch(some))
        for blocks in num_blocks_of(simulator.network)[:gate]:
            kept = torch.ones(len(some), blocks, dtype=torch.bool)
            state, _ = transition(simulator.network, state, kept)
        parts.append(look(simulator.network, state).double().numpy())
    found: FLOATS = np.concatenate(parts)
    return found


def components(fit: FLOATS, others: Sequence[FLOATS], columns: int) -> list[FLOATS]:
    """Principal components of looks, of deviation 1, and a column of ones."""
    whole = standardised(fit, *others)
    _, _, axes = np.linalg.svd(whole[0][:, :-1], full_matrices=False)
    return standardised(*(part[:, :-1] @ axes[:columns].T for part in whole))


def outcomes_of(nll: FLOATS, cost: FLOATS, masks: Tensor) -> Outcomes:
    """A menu's outcomes: [inputs, masks] twice."""
    kept = masks.sum(dim=1).numpy().astype(np.int64)
    return Outcomes(-nll, cost[0], kept, None)


def rows_of(
    simulators: dict[str, Simulator], sizes: Sizes, seed: int, progress: bool
) -> Iterator[dict[str, Any]]:
    """The menu's rows, then those of policies."""
    masks = make_menu(simulators["train"], sizes, seed)
    tossed = random_masks(simulators["train"], sizes.budgets, sizes.random, seed)
    first = int((~masks).any(dim=0).nonzero()[0, 0])
    gate = int(np.searchsorted(np.cumsum(num_blocks_of(simulators["train"].network)), first + 1))
    found, looks = {}, {}
    for split, count in zip(SPLITS, sizes.inputs, strict=True):
        simulator, asked = simulators[split], masks
        if split == "test":
            asked = torch.cat([masks, tossed])
        indices = chosen_inputs(simulator.data, count, seed + 1)
        parts = []
        for some in tqdm(indices.split(sizes.batch), desc=split, disable=not progress):
            batch = simulator.data.batch(some)
            parts.append(menu.judged(simulator.network, batch, asked).numpy())
        found[split] = np.concatenate(parts, axis=1)
        looks[split] = seen_of(simulator, indices, gate, sizes.batch)
    yield from menu_rows(masks, found["test"])
    seen = components(looks["train"], [looks[s] for s in SPLITS[1:]], sizes.columns)
    count = len(masks)
    menus = {s: outcomes_of(found[s][1][:, :count], found[s][2][:, :count], masks) for s in SPLITS}
    chance = by_budget(found["test"][:, :, count:], len(sizes.budgets))
    fit = menus["train"]
    places = [AtCost.made(menus[s], fit, chance) for s in SPLITS[1:]]
    data = Data(fit, seen[0], places[0], seen[1], places[1], seen[2])
    yield from placed_rows(data, sizes.budgets, sizes.seeds, sizes.updates, sizes.hidden)


def menu_rows(masks: Tensor, test: FLOATS) -> Iterator[dict[str, Any]]:
    """A row for each mask: gates left out, error, nll and cost on test inputs."""
    for number, mask in enumerate(masks):
        error, nll, cost = test[:, :, number].mean(axis=1).tolist()
        skipped = (~mask).nonzero()[:, 0].tolist()
        yield {"mask": number, "skipped": skipped, "error": error, "nll": nll, "cost": cost}


def by_budget(test: FLOATS, budgets: int) -> tuple[FLOATS, FLOATS]:
    """Mean costs, ascending, and scores of random masks."""
    costs, nlls = (test[k].mean(axis=0).reshape(budgets, -1).mean(axis=1) for k in (2, 1))
    order = np.argsort(costs)
    return costs[order], -nlls[order]


def record(network: str, dataset: str, sizes: Sizes, seed: int, out: Path) -> Path:
    """Measures and writes the result."""
    run_folder.check_writable(out.parent)
    began = time.process_time()
    simulators: dict[str, Simulator] = {}
    for split in SPLITS:
        simulators[split] = Simulator(1, split=split, network=network, dataset=dataset)
    rows = []
    for row in rows_of(simulators, sizes, seed, progress=True):
        rows.append(row)
        print(json.dumps(row)[:160], file=sys.stderr, flush=True)
    content = {
        "kind": KIND,
        "name": out.stem,
        "settings": {"network": network, "dataset": dataset, **dataclasses.asdict(sizes)},
        "seed": seed,
        "weights": weights_digest(simulators["train"].network),
        "data": data_of(dataset),
        "cpu_seconds": round(time.process_time() - began, 1),
        "versions": versions(),
        "machine": machine(),
        "rows": rows,
    }
    run_folder.write_json(out, sealed(run_folder.finite(content)))
    return out


@program("ccenv.runs.studies.budget.record", (ValueError, OSError, ImportError))
def main(arguments: Sequence[str] | None = None) -> int:
    """Records one network; see --help."""
    parser = argparse.ArgumentParser(
        prog="python -m ccenv.runs.studies.budget.record", description=__doc__
    )
    parser.add_argument("network")
    parser.add_argument("dataset")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inputs", type=int, nargs=3, default=Sizes.inputs, metavar="N")
    parser.add_argument("--budgets", type=float, nargs="+", default=Sizes.budgets)
    parser.add_argument("--out", type=Path, help="default: runs/results/budget-NETWORK.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sizes = Sizes(inputs=tuple(options.inputs), budgets=tuple(options.budgets))
    out = options.out or Path(f"runs/results/budget-{options.network}.json")
    print(record(options.network, options.dataset, sizes, options.seed, out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
