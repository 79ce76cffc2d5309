"""One sound file of every kind that is written or read: a folder -> files and readers by name."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ccenv.annexes.deploy.export import SkippingClassifier
from ccenv.annexes.mask_table.header import Header, Menu
from ccenv.annexes.mask_table.table import MaskTable, read_table, write_table
from ccenv.base.checked_file import encode, load_tree, write_checked
from ccenv.base.files import arrays_digest
from ccenv.base.mask_words import BOTH, in_files
from ccenv.data import SPLITS
from ccenv.data.npz import npz_split
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.learning.bundled_weights import fitting_weights
from ccenv.runs.config.command import read_config
from ccenv.runs.config.plan import Plan
from ccenv.runs.engine.checkpoint import Keeper, checkpoint_path, same_program
from ccenv.runs.engine.jobs import make_jobs
from ccenv.runs.engine.prepare import Options, build_run
from ccenv.runs.engine.recordings import record_sweep, recording_of
from ccenv.runs.engine.run import run
from ccenv.runs.engine.sweep_runs import own_result
from ccenv.runs.lab.robustness.tiny import SETTINGS, TINY
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store import masks_file, recorded
from ccenv.runs.store.untrusted_files import stored_config, stored_tensors

PARTS = ("train", "test")
SHORT = {"progress": False, "images": 640, "eval_every": 320}


@dataclass(frozen=True)
class Kind:
    """A kind of file that is written and read."""

    path: Path
    """a sound one."""
    read: Callable[[], Any]
    """reads it and whatever vouches for it; equal values for equal content."""
    is_sealed: bool = True
    """False of what a person writes: any sound reading of a changed file is right."""


def kinds(folder: Path) -> dict[str, Kind]:
    """Makes a tiny run, a table and the like below a folder.

    Returns:
        Name of each kind of file -> a sound one and its reader.
    """
    return of_a_run(folder) | of_a_table(folder) | of_data(folder)


def of_a_run(folder: Path) -> dict[str, Kind]:
    """What `ccenv train`, `--export` and `ccenv compare --record` write."""
    sweep = dataclasses.replace(TINY, settings=SETTINGS | SHORT, cells=TINY.cells[:1])
    (job,) = make_jobs(sweep, str(folder / "logs"))
    place = job.plan.folder()
    run(job.plan, options=Options(export=True))
    source = recording_of(sweep, [job], str(folder))
    record_sweep(sweep, [job], source)
    checkpoint = place / run_folder.CHECKPOINT
    masks = checkpoint / run_folder.MASKS
    kept = checkpoint / "classifier.safetensors"
    of_policy, of_network = run_folder.AGENT, run_folder.NETWORK
    kinds = {
        "result of a run": Kind(place / run_folder.RESULT, lambda: own_result(job)),
        "its settings": Kind(place / run_folder.CONFIG, lambda: stored_config(place)),
        "its policy": Kind(
            checkpoint / of_policy, lambda: digest(stored_tensors(place, of_policy))
        ),
        "its network": Kind(
            checkpoint / of_network, lambda: digest(stored_tensors(place, of_network))
        ),
        "its masks": Kind(masks, lambda: digest(masks_of(place))),
        "exported classifier": Kind(
            kept, lambda: digest_of_tree(SkippingClassifier.load(kept).content)
        ),
        "recorded runs": Kind(source.path, lambda: rows_and_cells(source.path)),
        "settings by hand": Kind(
            place / run_folder.CONFIG, lambda: read_config(place / run_folder.CONFIG), False
        ),
    }
    return kinds | {"checkpoint": of_a_checkpoint(job.plan, folder / "stopped")}


def of_a_checkpoint(plan: Plan, folder: Path) -> Kind:
    """The checkpoint of a run that has not begun to learn."""
    plan = dataclasses.replace(plan, program=dataclasses.replace(plan.program, log_dir=str(folder)))
    plan.folder().mkdir(parents=True)
    _, agent, _ = build_run(plan)
    path = checkpoint_path(plan.folder())
    Keeper(agent, path, same_program(plan), every=1).keep(0, {})
    # Whoever resumes is told what this raises, and takes the one before or starts anew.
    return Kind(path, lambda: digest_of_tree(load_tree(path)))


def of_a_table(folder: Path) -> dict[str, Kind]:
    """A table of masks."""
    header = Header(
        network="mlp", settings={}, weights="0" * 24, gates=(("first", 3, "zero"),),
        menus=(Menu(3),), num_classes=10, dense_macs=80, dataset="digits", transforms=(),
        split="test", num_images=5, data="0" * 24,
    )  # fmt: skip
    numbers = np.random.default_rng(0)
    right = numbers.integers(0, 256, (5, 1), dtype=np.uint8)
    nll = numbers.random((5, 8)).astype(np.float16)
    table = folder / "table.safetensors"
    look, macs = numbers.random((5, 2), dtype=np.float32), np.arange(8) * 10
    write_table(table, MaskTable(header, right, nll, macs, look, macs))
    return {"table of masks": Kind(table, lambda: repr(read_table(table)))}


def of_data(folder: Path) -> dict[str, Kind]:
    """Packed images and frozen weights."""
    numbers = np.random.default_rng(0)
    images, weights = folder / "images.npz", folder / "weights.safetensors"
    parts: dict[str, Any] = {
        f"x_{part}": numbers.integers(0, 256, (10, 4, 4), dtype=np.uint8) for part in PARTS
    }
    arrays: dict[str, Any] = parts | {f"y_{part}": np.arange(10) for part in PARTS}
    np.savez(images, **arrays)
    network = GatedMLP(4, (1,), 3, 3)
    write_checked(weights, network.state_dict(), {})
    return {
        "packed data": Kind(images, lambda: digest_of_split(images)),
        "frozen weights": Kind(weights, lambda: digest(fitting_weights(network, weights)[0])),
    }


def rows_and_cells(path: Path) -> Any:
    """All of a recorded file."""
    return recorded.read_table(path), recorded.read_cells(path)


def masks_of(place: Path) -> dict[str, Tensor]:
    """The stored masks of a tiny run."""
    blocks = SETTINGS["num_blocks"]
    return {
        f"{in_files(greedy)}/{gate}": mask
        for greedy in BOTH
        for gate, mask in enumerate(masks_file.load_masks(place, greedy, blocks))
    }


def digest(tensors: dict[str, Tensor]) -> str:
    """A hash of tensors."""
    return arrays_digest(tensors, {})


def digest_of_tree(tree: Any) -> str:
    """A hash of a tree as files hold it."""
    tensors: dict[str, Tensor] = {}
    return repr(encode(tree, tensors)) + digest(tensors)


def digest_of_split(path: Path) -> str:
    """A hash of all images and labels of a file."""
    splits = [npz_split(path, "packed", split) for split in SPLITS]
    tensors = [tensor for one in splits for tensor in one.tensors()]
    return digest({str(number): tensor for number, tensor in enumerate(tensors)})
