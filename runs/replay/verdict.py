"""One row of `ccenv validate`: what was claimed, what was found, what does not stand."""

from dataclasses import dataclass, field
from typing import Any

RECOMPUTED, CHECKED, WORD = "recomputed", "checked for consistency", "the author's word"
"""A figure comes out again here; agrees with the rest of the folder; or can only be believed."""


@dataclass(frozen=True)
class Checked:
    """A row's answer."""

    folder: str
    """of the run."""
    draw: str
    """"sampled" or "mode"; "" where the run cannot be read at all."""
    claimed: dict[str, Any]
    """what the result says of the numbers that were found."""
    found: dict[str, Any]
    """what came out: of the masks that the policy gives here, or where it was not asked again, of
    the stored ones."""
    policy: str
    """"replayed", or why the stored policy was not asked again."""
    problems: tuple[str, ...]
    """what does not stand; empty for a valid row."""
    basis: dict[str, str] = field(default_factory=dict)
    """for each figure of the result "recomputed", "checked for consistency" or "the author's
    word"."""
    seed: int | None = None
    """of the run."""
    learned: tuple[str, ...] = ()
    """hashes of what training made: the agent's tensors, a co-trained network's."""

    @property
    def is_valid(self) -> bool:
        """Whether the row stands."""
        return not self.problems


NAMED = 5
"""Last parts of a folder's path that tell a run: environment, agent, reward, settings, seed."""
