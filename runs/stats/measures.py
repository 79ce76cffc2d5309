"""What networks are compared by: (a verdict of a run) -> a number, the less the better."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ccenv.runs.stats.bits import bits_of


@dataclass(frozen=True)
class Measure:
    """A number of each evaluation."""

    name: str
    """in the names of tables and figures; "" for the usual one."""
    title: str
    """what it is, without a unit."""
    unit: str
    """behind numbers, "%" or a word."""
    of: Callable[[Mapping[str, Any]], float]
    """(an evaluation as results hold it) -> the number, a share where the unit is "%"."""
    spec: str
    """how it is written in tables, as in `Interval.__format__`."""
    input: str = "an image"
    """one of those that it judges, as axes call it."""

    @property
    def factor(self) -> float:
        """From the number to what is shown."""
        return 100.0 if self.unit == "%" else 1.0

    def said(self, value: float) -> str:
        """A number as a sentence says it."""
        return f"{format(value, self.spec).rstrip('%')} {self.unit}"


ERROR = Measure("", "error", "%", lambda verdict: float(verdict["error"]), ".2%")
BITS = Measure(
    "bits", "bits a symbol", "bits", lambda verdict: bits_of(verdict["nll"]), ".3f", "a window"
)
"""Of texts; see `ccenv.runs.stats.bits`."""
MEASURES = {"error": ERROR, "bits": BITS}
"""Measures by the names that sweeps use."""
