"""One training under several seeds: (finished runs) -> those whose learned numbers are too close.

Two seeds begin with other weights and see other inputs in another order, so that the numbers that
they end with are about as far apart as training moved them. A copy is nearer, whatever was added to
hide it.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor

from ccenv.runs.config.plan import Plan
from ccenv.runs.replay.rebuilt import Rebuilt
from ccenv.runs.replay.verdict import Verdict
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.untrusted_files import stored_tensors

SAME = 0.1
"""Of the way that training moved a matrix: seeds that are nearer are one training. Matrices of 18
agents, two or three seeds on the digits, 6,000 to 200,000 inputs, end 0.47 to 12 apart, but small
ones of `rloo_budget` from 0.003 on. A copy whose numbers were moved by 0.1 % each is 0.0005 to
0.003 apart, by 3 % 0.013 to 0.07."""
MOST_ALIKE = 0.5
"""Share of the numbers in matrices that may be so near: 0.17 in `rloo_budget`, 0 elsewhere."""


def refuse_copies(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Adds to rows of different seeds that what they learned is one training.

    To the bit it is looked for in all rows, within `SAME` in rows that differ in the seed alone.
    """
    told: dict[str, list[str]] = {}
    seeds: dict[str, set[int | None]] = {}
    for verdict in verdicts:
        for made in verdict.learned:
            seeds.setdefault(made, set()).add(verdict.seed)
    for verdict in verdicts:
        copies = [made for made in verdict.learned if len(seeds[made]) > 1]
        told.setdefault(verdict.folder, []).extend(
            f"one training under several seeds: {made.split()[0]} is the same to the bit in seeds "
            f"{sorted(str(seed) for seed in seeds[made])}"
            for made in copies
        )
    for one, other, name, share in near_pairs(verdicts):
        for mine, theirs in ((one, other), (other, one)):
            told[mine.folder].append(
                f"one training under several seeds: {name} is within {100 * SAME:g} % of what "
                f"training moved it of that of seed {theirs.seed}, in {100 * share:.0f} % of its "
                "matrices"
            )
    return [
        dataclasses.replace(v, problems=v.problems + tuple(dict.fromkeys(told[v.folder])))
        for v in verdicts
    ]


def near_pairs(
    verdicts: Sequence[Verdict],
) -> Iterator[tuple[Verdict, Verdict, str, float]]:
    """Runs of one plan that are alike and not equal: (one, other, file, share of its numbers)."""
    by_plan: dict[str, dict[str, Verdict]] = {}
    for verdict in verdicts:
        if verdict.learned:
            by_plan.setdefault(verdict.plan, {})[verdict.folder] = verdict
    for runs in by_plan.values():
        if len(runs) < 2:
            continue
        for name in sorted({made.split()[0] for run in runs.values() for made in run.learned}):
            stored = {folder: stored_tensors(Path(folder), name) for folder in runs}
            for one, other in combinations(runs.values(), 2):
                if one.seed == other.seed or set(one.learned) & set(other.learned):
                    continue
                share = share_alike(
                    stored[one.folder],
                    stored[other.folder],
                    one.moved.get(name, {}),
                    other.moved.get(name, {}),
                )
                if share > MOST_ALIKE:
                    yield one, other, name, share


def share_alike(
    one: Mapping[str, Tensor],
    other: Mapping[str, Tensor],
    moved: Mapping[str, float],
    other_moved: Mapping[str, float],
) -> float:
    """Share of the numbers in two runs' matrices that are within `SAME` of each other."""
    names = moved.keys() & other_moved.keys()
    near = {
        name
        for name in names
        if float((one[name].double() - other[name].double()).norm())
        < SAME * max(moved[name], other_moved[name])
    }
    total = sum(one[name].numel() for name in names)
    return sum(one[name].numel() for name in near) / max(1, total)


def learned(rebuilt: Rebuilt) -> tuple[str, ...]:
    """Hashes of what training made of this seed: no two seeds end with the same numbers."""
    return tuple(f"{name} {digest(rebuilt.stored[name])}" for name in learned_files(rebuilt))


def learned_files(rebuilt: Rebuilt) -> list[str]:
    """Files of the checkpoint that hold what was learned from this seed's inputs."""
    made = []
    if rebuilt.agent.learns and rebuilt.stored[run_folder.AGENT]:
        made.append(run_folder.AGENT)
    if rebuilt.plan.environment["weights"] == "cotrain":
        made.append(run_folder.NETWORK)
    return made


def moved_by_training(rebuilt: Rebuilt) -> dict[str, dict[str, float]]:
    """Norms of what training added to each matrix that it changed, by file and name.

    Vectors are left out: biases of different seeds may end close to each other.
    """
    return {
        name: {
            key: distance
            for key, tensor in rebuilt.stored[name].items()
            if tensor.ndim > 1 and tensor.is_floating_point()
            if (distance := float((tensor.double() - rebuilt.initial[name][key].double()).norm()))
        }
        for name in learned_files(rebuilt)
    }


def digest_of_plan(plan: Plan) -> str:
    """Hash of a run's agent and settings without the seed."""
    agent, chosen, _ = plan.key()
    return hashlib.sha256(f"{agent} {chosen}".encode()).hexdigest()[:24]


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Hash of tensors and their names."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        flat_bytes = tensors[name].contiguous().reshape(-1).view(torch.uint8)
        found.update(f"{name} {list(tensors[name].shape)} ".encode() + flat_bytes.numpy().tobytes())
    return found.hexdigest()[:24]
