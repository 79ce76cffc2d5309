"""Checkpoints: a run in the middle -> a file from which it goes on as if it had never stopped.

The file `checkpoint/resume.safetensors` is there only while a run is unfinished: it is written
under another name first, and removed when the result stands.
"""

import sys
from pathlib import Path
from typing import Any

from agents.base import Agent
from ccenv.resume import restore_simulator, simulator_state
from ccenv.snapshot import CannotStoreError
from ccenv.tree_file import load_tree, save_tree
from runs.folder import CHECKPOINT
from runs.machine import versions
from runs.settings import Plan, code_digests

RESUME = "resume.safetensors"
FORMAT = 2


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


def read_checkpoint(plan: Plan, folder: Path) -> dict[str, Any] | None:
    """The checkpoint of an interrupted run, or None; says why one that is there cannot be used."""
    path = checkpoint_path(folder)
    try:
        found: dict[str, Any] = load_tree(path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        say(f"{path} is damaged, the run starts anew: {error}")
        return None
    if found["program"] != same_program(plan):
        say(f"code or libraries have changed since {path} was written, the run starts anew")
        return None
    return found


class Keeper:
    """Writes a run's checkpoint now and then."""

    def __init__(self, plan: Plan, folder: Path, agent: Agent, every: int) -> None:
        """Prepares; `every` is the images between two checkpoints, 0 for none."""
        self.plan, self.agent, self.every = plan, agent, every
        self.path = checkpoint_path(folder)
        self.kept_at = 0

    def is_due(self, images_seen: int) -> bool:
        """Whether it is time; never for a run that would end before the next checkpoint."""
        return 0 < self.every <= images_seen - self.kept_at

    def keep(self, images_seen: int, curves: dict[str, Any]) -> None:
        """Writes the state of agent and simulator beside that of the curves.

        An agent whose state is not known is told of once, and never kept.
        """
        try:
            tree = {
                "program": same_program(self.plan),
                "images_seen": images_seen,
                "curves": curves,
                "agent": self.agent.state(),
                "simulator": simulator_state(self.agent.simulator),
            }
            self.path.parent.mkdir(exist_ok=True)
            save_tree(self.path, tree)
        except (CannotStoreError, TypeError) as error:
            say(f"{self.plan.agent} cannot be resumed, an interrupted run starts anew: {error}")
            self.every = 0
        self.kept_at = images_seen

    def resume(self, found: dict[str, Any]) -> None:
        """Puts a checkpoint back into agent and simulator.

        Raises:
            ValueError: if it does not fit them.
        """
        self.agent.load_state(found["agent"])
        restore_simulator(self.agent.simulator, found["simulator"])
        self.agent.images_done = self.kept_at = found["images_seen"]
        say(
            f"goes on after {self.kept_at:,} of {self.plan.program.images:,} images: "
            f"{self.path.parent.parent}"
        )

    def remove(self) -> None:
        """Removes the checkpoint of a run whose result stands."""
        self.path.unlink(missing_ok=True)


def say(text: str) -> None:
    """Tells whoever watches the run; results go to stdout."""
    print(f"runs: {text}", file=sys.stderr)
