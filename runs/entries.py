"""The runs behind a leaderboard: a run's folder -> the same files, small enough for a repository.

Event files stay behind. Weights are stored once, under a name made of their content, and linked to:
runs on frozen weights share them. `python -m runs.validate` reads what is stored like any run.
"""

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from runs import folder as run_folder

NETWORKS = "networks"
NAMED = 5
"""Last parts of a run's path that tell it: environment, agent, reward, settings, seed."""


def store(folder: Path, place: Path) -> Path:
    """Copies a run into the folder of all entries; an older one of the same run is replaced.

    Args:
        folder: the run's.
        place: of all entries.

    Returns:
        Where it is now.
    """
    target = place.joinpath(*folder.absolute().parts[-NAMED:])
    if target.resolve() == folder.resolve():
        return target
    checkpoint = target / run_folder.CHECKPOINT
    shutil.rmtree(target, ignore_errors=True)
    checkpoint.mkdir(parents=True)
    for name in (run_folder.CONFIG, run_folder.RESULT):
        shutil.copyfile(folder / name, target / name)
    for name in (run_folder.AGENT, run_folder.MASKS):
        shutil.copyfile(folder / run_folder.CHECKPOINT / name, checkpoint / name)
    link_weights(folder / run_folder.CHECKPOINT / run_folder.NETWORK, checkpoint, place)
    return target


def link_weights(weights: Path, checkpoint: Path, place: Path) -> None:
    """Stores weights under their content's name, if they are new, and links to them."""
    content = weights.read_bytes()
    name = f"{hashlib.sha256(content).hexdigest()[:24]}.safetensors"
    shared = place / NETWORKS / name
    if not shared.exists():
        shared.parent.mkdir(parents=True, exist_ok=True)
        shared.write_bytes(content)
    up = "../" * len(checkpoint.relative_to(place).parts)
    (checkpoint / run_folder.NETWORK).symlink_to(f"{up}{NETWORKS}/{name}")


def keep_only(settings: Iterable[str], place: Path) -> None:
    """Removes runs of settings that are no entry any more, and weights that nobody links to.

    Args:
        settings: hashes of the settings of all entries.
        place: of all entries.
    """
    kept = set(settings)
    for result in sorted(place.rglob(run_folder.RESULT)):
        if result.parent.parent.name not in kept:
            shutil.rmtree(result.parent)
    links = place.rglob(f"{run_folder.CHECKPOINT}/{run_folder.NETWORK}")
    used = {link.resolve() for link in links}
    for weights in (place / NETWORKS).glob("*"):
        if weights.resolve() not in used:
            weights.unlink()
