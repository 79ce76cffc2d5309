"""Checkpoints: an unfinished run -> a file from which it resumes with the same result.

The file `checkpoint/resume.safetensors` is there only while a run is unfinished: it is written
under another name first, and removed when the result is written. The previous one is kept too, in
case the last one is damaged.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ccenv.agents.base import Agent
from ccenv.base.checked_file import load_tree, save_tree
from ccenv.base.snapshot import CannotStoreError
from ccenv.runs.config.plan import Plan, code_digests
from ccenv.runs.engine.errors import warn
from ccenv.runs.store.folder import CHECKPOINT
from ccenv.runs.store.provenance import versions
from ccenv.runs.tensorboard.tracking import event_files
from ccenv.simulator.resume import restore_simulator, simulator_state

RESUME = "resume.safetensors"
PREVIOUS = "resume-before.safetensors"
FORMAT = 5


def checkpoint_path(folder: Path) -> Path:
    """Where an unfinished run's checkpoint lies."""
    return folder / CHECKPOINT / RESUME


def same_program(plan: Plan) -> dict[str, Any]:
    """What must not have changed since the checkpoint: code of agent and reward, libraries."""
    return {
        "format": FORMAT,
        "agent": plan.agent,
        "seed": plan.program.seed,
        "settings": plan.key()[1],
        "code": code_digests(plan),
        "versions": versions(),
    }


def one_before(path: Path) -> Path:
    """Where the checkpoint before the last one lies."""
    return path.with_name(PREVIOUS)


class Keeper:
    """A run's checkpoints: read, written now and then, removed."""

    def __init__(self, agent: Agent, path: Path, program: Mapping[str, Any], every: int) -> None:
        """Prepares.

        Args:
            agent: whose state is kept, and its simulator's.
            path: see `checkpoint_path`.
            program: see `same_program`.
            every: images between two checkpoints, 0 for none.
        """
        self.agent, self.path, self.program, self.every = agent, path, program, every
        self.kept_at = 0

    def read(self, curves: Path) -> dict[str, Any] | None:
        """The last sound checkpoint of an interrupted run, or None; says why one cannot be used.

        Args:
            curves: folder of its event files.
        """
        damaged = False
        for path in (self.path, one_before(self.path)):
            try:
                checkpoint = load_tree(path)
                same = checkpoint["program"] == self.program
            except FileNotFoundError:
                continue
            except (ValueError, KeyError, TypeError) as error:
                warn(f"the checkpoint {path} is damaged: {error}")
                damaged = True
                continue
            sizes = checkpoint["curves"].get("tracker", {}).get("sizes", {}) if same else {}
            here = {path.name: path.stat().st_size for path in event_files(curves)}
            if short := [name for name, size in sizes.items() if here.get(name, 0) < size]:
                warn(f"{', '.join(short)} in {curves} holds less than {path} knows: it was cut")
                damaged = True
                continue
            if same:
                return dict(checkpoint)
            warn(f"code or libraries have changed since {path} was written, the run starts over")
            return None
        if damaged:
            warn("no sound checkpoint is left, the run starts over")
        return None

    def is_due(self, images_seen: int) -> bool:
        """Whether it is time; never for a run that would end before the next checkpoint."""
        return 0 < self.every <= images_seen - self.kept_at

    def keep(self, images_seen: int, curves: dict[str, Any]) -> None:
        """Writes the states of agent, simulator and curves.

        An agent whose state cannot be stored is reported once; its run has no checkpoints.
        """
        try:
            tree = {
                "program": self.program,
                "images_seen": images_seen,
                "curves": curves,
                "agent": self.agent.state(),
                "simulator": simulator_state(self.agent.simulator),
            }
            self.write(tree)
        except (CannotStoreError, TypeError) as error:
            name = self.program["agent"]
            warn(f"{name} cannot be resumed, an interrupted run starts over: {error}")
            self.every = 0
        except OSError as error:
            warn(f"no checkpoint after {images_seen:,} images, the run goes on: {error}")
        self.kept_at = images_seen

    def write(self, tree: dict[str, Any]) -> None:
        """Writes a checkpoint, and keeps the one before it."""
        self.path.parent.mkdir(exist_ok=True)
        fresh = self.path.with_name("resume-fresh.safetensors")
        save_tree(fresh, tree)
        if self.path.exists():
            self.path.replace(one_before(self.path))
        fresh.replace(self.path)

    def resume(self, checkpoint: dict[str, Any]) -> None:
        """Puts a checkpoint back into agent and simulator."""
        self.agent.load_state(checkpoint["agent"])
        restore_simulator(self.agent.simulator, checkpoint["simulator"])
        self.agent.images_done = self.kept_at = checkpoint["images_seen"]

    def remove(self) -> None:
        """Removes the checkpoints of a run whose result is written, and what kills left half."""
        folder = self.path.parent
        for path in (*folder.glob("resume*"), *folder.parent.rglob("*.partial")):
            path.unlink(missing_ok=True)
