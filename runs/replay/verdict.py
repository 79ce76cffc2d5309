"""One row of `ccenv validate`: what was claimed, what was found, what does not stand."""

from dataclasses import dataclass, field, fields
from typing import Any

RECOMPUTED, CHECKED, WORD = "recomputed", "checked for consistency", "the author's word"
"""A figure comes out again here; agrees with the rest of the folder; or can only be believed."""


@dataclass(frozen=True)
class Checked:
    """A row's answer."""

    folder: str
    """of the run."""
    draw: str
    """"which masks, as files say it; "" where the run cannot be read at all."""
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
    training: dict[str, Any] = field(default_factory=dict, repr=False)
    """for files of what training made, the agent's and a co-trained network's: tensors before
    training and after it."""

    def plain(self) -> dict[str, Any]:
        """The row without its tensors."""
        whole = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in whole.items() if name != "training"}

    @property
    def is_valid(self) -> bool:
        """Whether the row stands."""
        return not self.problems


NAMED = 5
"""Last parts of a folder's path that tell a run: environment, agent, reward, settings, seed."""
