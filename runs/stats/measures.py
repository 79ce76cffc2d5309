"""What networks are compared by: (a verdict of a run) -> a number, the less the better.

Bits of a text: (mean negative log-likelihood in nats) -> bits a symbol.

A symbol is a byte, but for those that `ccenv.data.text` takes together as "other": there a bit says
that it is one of them, not which.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

OF_SYMBOLS = "of_symbols"
"""Key of a result that says whether its inputs were windows of symbols."""
BITS_NOTE = "Bits: nll over ln 2, of one of 128 symbols (a byte, or any rare one)."


def bits_of(nll: float) -> float:
    """Nats as bits.

    >>> bits_of(math.log(8))
    3.0
    """
    return nll / math.log(2)


def bits_in(result: Mapping[str, Any], evaluation: Mapping[str, Any]) -> float | None:
    """Bits a symbol of an evaluation; None where a result is not about symbols."""
    return bits_of(evaluation["nll"]) if result.get(OF_SYMBOLS) else None


def bits_lines(result: Mapping[str, Any]) -> list[str]:
    """A line that says a result's bits on test inputs, of the two kinds of masks, or none."""
    found = [bits_in(result, evaluation) for evaluation in result["evaluations"][:2]]
    if None in found:
        return []
    sampled, likeliest = found
    return [f"test bits a symbol (nll / ln 2): {sampled:.4f}, {likeliest:.4f}"]


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
"""Of texts; see `ccenv.runs.stats.measures`."""
MEASURES = {"error": ERROR, "bits": BITS}
"""Measures by the names that sweeps use."""
