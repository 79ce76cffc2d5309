"""One training under several seeds: (finished runs) -> those whose learned numbers are too close.

Two seeds begin with other weights and see other inputs in another order, so that the numbers that
they end with are about as far apart as training moved them. And what a seed ends with remembers how
it began: a copy, whatever was added to hide it, remembers how another seed began. The cosine of two
seeds alone tells little: on frozen weights honest ones come to 0.94 of each other (`noisy_topk`).
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
from ccenv.runs.replay.verdict import Checked
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.untrusted_files import stored_tensors

SAME, SAME_FROM_ONE_START = 0.3, 0.1
"""Of the way that training moved a matrix: seeds that are nearer are one training. 18 agents on the
digits, 6,000 to 200,000 inputs, and two on texts end 0.67 apart or more. What begins with the same
numbers for all seeds has only the order of inputs to be apart by: 0.35 in `noisy_topk`, 0.1 to 0.2
after four updates. A copy whose numbers were moved by 15 % each is 0.15 apart or more."""
MOST_ALIKE = 0.5
"""Share of the numbers in matrices that may be so near: 0 in all of them."""
MOST_LEANING = 5.0
"""Standard deviations of chance, see `leaning`: seeds are at -120 to -7, copies moved by 15 % at 7
to 120. `tests/runs/replay/test_seeds_apart.py` measures."""

Tensors = Mapping[str, Tensor]


def refuse_copies(verdicts: Sequence[Checked]) -> list[Checked]:
    """Adds to rows of different seeds that what they learned is one training.

    To the bit it is looked for in all rows, otherwise in rows that differ in the seed alone.
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
    for one, other, alike in alike_pairs(verdicts):
        for folder in (one.folder, other.folder):
            told[folder].append(
                f"one training under several seeds, {one.seed} and {other.seed}: {alike}"
            )
    return [
        dataclasses.replace(v, problems=v.problems + tuple(dict.fromkeys(told[v.folder])))
        for v in verdicts
    ]


def alike_pairs(verdicts: Sequence[Checked]) -> Iterator[tuple[Checked, Checked, str]]:
    """Runs of one plan that are alike and not equal: (one, other, what is alike)."""
    by_plan: dict[str, dict[str, Checked]] = {}
    for verdict in verdicts:
        if verdict.learned:
            by_plan.setdefault(verdict.plan, {})[verdict.folder] = verdict
    for runs in by_plan.values():
        if len(runs) < 2:
            continue
        for name in sorted({made.split()[0] for run in runs.values() for made in run.learned}):
            stored = {folder: stored_tensors(Path(folder), name) for folder in runs}
            for pair in combinations(runs.values(), 2):
                one, other = pair
                if one.seed == other.seed or set(one.learned) & set(other.learned):
                    continue
                ends = [stored[run.folder] for run in pair]
                begun = [run.initial.get(name, {}) for run in pair]
                if (share := share_alike(*ends, *begun)) > MOST_ALIKE:
                    near = f"{name} is nearer than two trainings end"
                    yield one, other, f"{near}, in {100 * share:.0f} % of its matrices"
                for mine, theirs in ((0, 1), (1, 0)):
                    far = leaning(ends[mine], begun[mine], begun[theirs])
                    if far > MOST_LEANING:
                        leans = f"leans to the initial weights of seed {pair[theirs].seed}"
                        by = f"and not to its own: {far:.0f} standard deviations of chance"
                        yield one, other, f"{name} of seed {pair[mine].seed} {leans} {by}"


def leaning(ends: Tensors, begun: Tensors, other_begun: Tensors) -> float:
    """How far matrices lean from their own initial weights to another seed's, in deviations.

    What weights have in common with numbers that were drawn for another seed is chance: the sum of
    products is normal around 0. What training left of their own start makes it negative.
    """
    found = []
    for name in begun.keys() & other_begun.keys():
        there = other_begun[name].double() - begun[name].double()
        if size := float(there.norm() * ends[name].double().norm()):
            product = float((ends[name].double() * there).sum())
            found.append(product / size * there.numel() ** 0.5)
    return sum(found) / max(1, len(found)) ** 0.5


def share_alike(one: Tensors, other: Tensors, begun: Tensors, other_begun: Tensors) -> float:
    """Share of the numbers in two runs' matrices that are nearer than two trainings end.

    Matrices that began equal count where no others are: means over inputs end equal, too.
    """
    moved, other_moved = moved_by_training(one, begun), moved_by_training(other, other_begun)
    names = moved.keys() & other_moved.keys()
    apart = {name for name in names if not torch.equal(begun[name], other_begun[name])}
    names, most = (apart, SAME) if apart else (names, SAME_FROM_ONE_START)
    near = {
        name
        for name in names
        if float((one[name].double() - other[name].double()).norm())
        < most * max(moved[name], other_moved[name])
    }
    total = sum(one[name].numel() for name in names)
    return sum(one[name].numel() for name in near) / max(1, total)


def learned_hashes(rebuilt: Rebuilt) -> tuple[str, ...]:
    """Hashes of what training made of this seed: no two seeds end with the same numbers."""
    return tuple(
        f"{name} {digest_of_tensors(rebuilt.stored[name])}" for name in learned_files(rebuilt)
    )


def learned_files(rebuilt: Rebuilt) -> list[str]:
    """Files of the checkpoint that hold what was learned from this seed's inputs."""
    made = []
    if rebuilt.agent.learns and rebuilt.stored[run_folder.AGENT]:
        made.append(run_folder.AGENT)
    if rebuilt.plan.environment["weights"] == "cotrain":
        made.append(run_folder.NETWORK)
    return made


def initial_matrices(rebuilt: Rebuilt) -> dict[str, dict[str, Tensor]]:
    """Each matrix before training, by file and name.

    Vectors are left out: biases of different seeds may end close to each other.
    """
    return {
        name: {
            key: tensor
            for key, tensor in rebuilt.initial[name].items()
            if tensor.ndim > 1 and tensor.is_floating_point()
        }
        for name in learned_files(rebuilt)
    }


def moved_by_training(ends: Tensors, begun: Tensors) -> dict[str, float]:
    """Norms of what training added to each matrix that it changed."""
    distances = {k: float((ends[k].double() - one.double()).norm()) for k, one in begun.items()}
    return {name: distance for name, distance in distances.items() if distance}


def digest_of_plan(plan: Plan) -> str:
    """Hash of a run's agent and settings without the seed."""
    agent, chosen, _ = plan.key()
    return hashlib.sha256(f"{agent} {chosen}".encode()).hexdigest()[:24]


def digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Hash of tensors and their names."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        flat_bytes = tensors[name].contiguous().reshape(-1).view(torch.uint8)
        found.update(f"{name} {list(tensors[name].shape)} ".encode() + flat_bytes.numpy().tobytes())
    return found.hexdigest()[:24]
