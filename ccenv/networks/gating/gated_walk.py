"""Inputs on their way through a gated model: (running rows) -> values that later code needs."""

from dataclasses import dataclass
from typing import Any

from ccenv.networks.flow import Flow


@dataclass(frozen=True)
class Walk:
    """Inputs on their way through a `GatedModule`."""

    flow: Flow
    """which rows have stopped and what they answer; its x numbers the running rows."""
    values: dict[str, Any]
    """name -> what later code needs of the running rows; empty if there are none."""
    made: Any = None
    """what the gated child has just given."""

    @property
    def is_over(self) -> bool:
        """Whether all rows have stopped."""
        return not len(self.flow.x)
