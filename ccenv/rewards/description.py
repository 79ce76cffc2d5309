"""What a table says of a reward: a function or class -> its formula, range and what holds of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

Described = TypeVar("Described", bound=Callable[..., object])


@dataclass(frozen=True)
class RewardDescription:
    """What a table says of a reward, at its default arguments."""

    formula: str
    """the sum over an episode."""
    low: float
    """smallest sum over an episode."""
    high: float
    """largest sum over an episode."""
    deterministic: bool = True
    """whether the same seed and masks give the same reward in every process."""
    depends_on_machine: bool = False
    """whether another machine gives another reward."""
    keeps_optimum: bool = False
    """whether the best masks are those of `accuracy_minus_cost` with the same arguments."""
    components: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """of a reward of several numbers: term -> its smallest and largest value in one step."""


def describe(
    formula: str,
    low: float,
    high: float,
    *,
    deterministic: bool = True,
    depends_on_machine: bool = False,
    keeps_optimum: bool = False,
    components: Mapping[str, tuple[float, float]] | None = None,
) -> Callable[[Described], Described]:
    """Attaches a `RewardDescription` to a reward, as its attribute `description`."""
    description = RewardDescription(
        formula, low, high, deterministic, depends_on_machine, keeps_optimum, components or {}
    )

    def attach(reward: Described) -> Described:
        reward.description = description  # type: ignore[attr-defined]
        return reward

    return attach
