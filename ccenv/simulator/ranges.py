"""Where prices and budgets of episodes come from: (the setting `context`) -> names with ranges."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ccenv.base.registry import check_names

NAMES = ("cost_weight", "budget")
DISTRIBUTIONS = ("log_uniform", "uniform")


@dataclass(frozen=True)
class Range:
    """Where the values of one name come from."""

    low: float
    """lowest."""
    high: float
    """highest; equal to `low` where nothing is drawn."""
    is_log: bool
    """whether their logarithm is uniform, instead of the values themselves."""

    def at(self, share: Tensor) -> Tensor:
        """Values at shares in [0, 1] of the way from low to high, float32; exact at both ends."""
        if self.low == self.high:
            return torch.full_like(share, self.low)
        if not self.is_log:
            return torch.lerp(torch.tensor(self.low), torch.tensor(self.high), share)
        low, high = math.log(self.low), math.log(self.high)
        return torch.lerp(torch.tensor(low), torch.tensor(high), share).exp()

    def place(self, values: Tensor) -> Tensor:
        """Where values lie: -1 at low, 1 at high; 0 where there is one value only."""
        if self.low == self.high:
            return torch.zeros_like(values)
        low, high = (math.log(v) if self.is_log else v for v in (self.low, self.high))
        return 2 * ((values.log() if self.is_log else values) - low) / (high - low) - 1


def read_context(context: Mapping[str, Any]) -> dict[str, Range]:
    """Reads the setting `context`: names -> ranges, in the order of `NAMES`.

    Raises:
        ValueError: if a name is unknown, there is none, or a number is out of range.
    """
    if not isinstance(context, Mapping):
        raise ValueError(
            f"expected context to be a dict, got {context!r}; see ccenv.simulator.context"
        )
    check_names(context, [*NAMES, "distribution"], "name in context")
    distribution = context.get("distribution", "log_uniform")
    check_names([distribution], DISTRIBUTIONS, "distribution")
    found = {n: read_range(n, context[n], distribution) for n in NAMES if n in context}
    if not found:
        raise ValueError(f"expected {' or '.join(NAMES)} in context, got {dict(context)!r}")
    return found


def read_range(name: str, value: Any, distribution: str) -> Range:
    """Reads one number or a pair.

    Raises:
        ValueError: if it is neither, or out of range.
    """
    pair = (
        list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value] * 2
    )
    is_real = all(isinstance(v, int | float) and not isinstance(v, bool) for v in pair)
    if len(pair) != 2 or not is_real or not all(map(math.isfinite, pair)) or pair[0] > pair[1]:
        raise ValueError(f"expected {name} in context to be a number or (low, high), got {value!r}")
    low, high = map(float, pair)
    is_log = distribution == "log_uniform"
    if name == "budget" and not 0 < low <= high <= 1:
        raise ValueError(f"expected a budget in (0, 1] of the dense cost, got {value!r}")
    if low < 0 or (is_log and low == 0 < high):
        raise ValueError(
            f"expected {name} in context above 0, got {value!r}; "
            "with distribution='uniform' the lowest may be 0"
        )
    return Range(low, high, is_log)
