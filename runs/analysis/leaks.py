"""What a trace tells: (blocks that inputs touched, their labels) -> how well these are guessed.

Who sees which blocks of a network are touched, and nothing else, guesses the label by a classifier:
an affine map on the bits, learned on one half of the inputs and tried on the other. A policy that
looks at its input leaks; a fixed mask, coins and a constant trace do not. What the affine map does
not find may be there all the same: this is a lower bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ccenv.agents.systems.allocation import fit_softmax
from ccenv.base.seeding import stream
from ccenv.runs.replay.rebuilt import plan_of, rebuild, test_images
from ccenv.runs.stats.measures import MODES
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store import masks_file
from ccenv.runs.store.untrusted_files import stored_config, stored_file, stored_result
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.extensions.oblivious import Oblivious

MOST_CLASSES = 256
"""A classifier of more labels would learn nothing from some thousands of inputs."""
MOST_LEARNED = 5000
"""Inputs that the classifier learns from."""
OBLIVIOUS = "oblivious, "
"""Before the name of a draw: under the wrapper."""


@dataclass(frozen=True)
class Leak:
    """How well labels are guessed from traces."""

    accuracy: float
    """share of inputs whose label is guessed, of those that were not learned from."""
    low: float
    """lower end of its 95 % interval (Wilson)."""
    high: float
    """upper end."""
    chance: float
    """share of the commonest label: the best guess without a trace."""
    num_tested: int
    """inputs."""

    @property
    def tells(self) -> bool:
        """Whether guessing from traces is better than chance."""
        return self.low > self.chance


@dataclass(frozen=True)
class LeakOfRun:
    """One evaluation of a run, seen by its traces."""

    folder: str
    """of the run."""
    agent: str
    """who chose."""
    draw: str
    """"sampled" or "mode", with "oblivious, " before it under the wrapper."""
    error: float
    """of the network's answers."""
    total_cost: float
    """of what was touched, with the policy's own cost."""
    leak: Leak
    """what the traces tell."""


def leak_of(masks: Sequence[Tensor], labels: Tensor, seed: int = 0) -> Leak:
    """Learns to guess labels from traces, and tries it on other inputs.

    Args:
        masks: for each gate bool [num_inputs, num_blocks].
        labels: int64 [num_inputs].
        seed: of the halves.
    """
    from scipy.stats import binomtest

    classes = int(labels.max()) + 1
    if len(labels) < 20 or classes > MOST_CLASSES:
        raise ValueError(
            f"expected at least 20 inputs of at most {MOST_CLASSES} classes to guess labels from "
            f"traces, got {len(labels)} of {classes}"
        )
    bits = torch.cat([mask.cpu() for mask in masks], dim=1).double()
    order = torch.randperm(len(labels), generator=stream(seed, "halves of traces"))
    half = len(labels) // 2
    learned, tried = order[:half][:MOST_LEARNED], order[half:]
    targets = torch.nn.functional.one_hot(labels[learned].cpu().long(), classes).double()
    weight, bias = fit_softmax(bits[learned], targets)
    guessed = (bits[tried] @ weight.t() + bias).argmax(dim=1)
    hits = int((guessed == labels[tried].cpu()).sum())
    # Of the inputs that are tried: that of the others would be unlucky where classes are even.
    chance = labels[tried].cpu().bincount().max().item() / len(tried)
    found = binomtest(hits, len(tried)).proportion_ci(method="wilson")
    return Leak(hits / len(tried), float(found.low), float(found.high), chance, len(tried))


def leaks_of_run(
    folder: Path, trusted: Sequence[str] = (), *, oblivious: bool = False
) -> list[LeakOfRun]:
    """What the traces of a finished run tell, from its stored masks.

    Args:
        folder: the run's.
        trusted: modules of the reader's own that it may name.
        oblivious: also rebuilds its policy and evaluates it obliviously; where the run was so
            already, nothing is seen anyway.
    """
    result = stored_result(folder)
    plan = plan_of(stored_config(folder), trusted)
    labels = test_images(plan).labels
    stored_file(folder, run_folder.CHECKPOINT, run_folder.MASKS)
    num_blocks = [len(layer[0]) for layer in result["block_use"]]
    on_test = {e["mode"]: e for e in result["evaluations"] if e["split"] == "test"}
    found, is_hidden = [], "oblivious" in plan.environment
    for draw in MODES:
        masks = masks_file.load_masks(folder, draw, num_blocks, len(labels))
        if is_hidden:
            # What is seen are blocks that are read and slots; what lies in them is not.
            masks = [torch.ones_like(mask) for mask in masks]
        numbers = on_test[draw]["error"], on_test[draw]["total_cost"]
        found.append(LeakOfRun(str(folder), plan.agent, draw, *numbers, leak_of(masks, labels)))
    return found + (leaks_oblivious(folder, trusted) if oblivious and not is_hidden else [])


def leaks_oblivious(folder: Path, trusted: Sequence[str]) -> list[LeakOfRun]:
    """The same run's policy where every input leaves the same trace."""
    plan = plan_of(stored_config(folder), trusted)
    rebuilt = rebuild(plan, folder)
    simulator = rebuilt.env.simulator.extended(Oblivious())
    found = []
    for draw in MODES:
        evaluation = evaluate(
            simulator, rebuilt.agent, deterministic=draw == "mode", seed=plan.program.seed
        )
        leak = leak_of(evaluation.masks, test_images(plan).labels)
        numbers = evaluation.error, evaluation.total_cost
        found.append(LeakOfRun(str(folder), plan.agent, OBLIVIOUS + draw, *numbers, leak))
    return found
