"""Warns where sampled and greedy masks have different errors: (two errors) -> a sentence, or "".

Rule: the errors differ by at least `LEAST_GAP` and by more than twice the standard error of the
difference of two shares of so many inputs. The inputs are the same for both, so the standard error
is an upper bound where answers agree.
"""

import math
from collections.abc import Mapping
from typing import Any

LEAST_GAP = 0.02
"""Smaller differences of two error rates are not worth a warning, however many inputs there are."""
STANDARD_ERRORS = 2


def mask_gap(sampled: float, greedy: float, num_inputs: int, split: str = "test") -> str:
    """A warning where masks of one kind have many more errors than those of the other.

    Args:
        sampled: error rate with sampled masks, in [0, 1].
        greedy: error rate with greedy (most probable) masks, in [0, 1].
        num_inputs: that both are from.
        split: which inputs.

    Returns:
        "" where the rule of this module is not met.

    >>> mask_gap(0.06, 0.07, 10_000)
    ''
    >>> mask_gap(0.06, 0.36, 500).partition(":")[0]
    'greedy masks have 36.0 % error, sampled masks 6.0 %, on 500 test inputs'
    """
    variance = (sampled * (1 - sampled) + greedy * (1 - greedy)) / num_inputs
    if abs(greedy - sampled) < max(LEAST_GAP, STANDARD_ERRORS * math.sqrt(variance)):
        return ""
    errors = {"greedy": greedy, "sampled": sampled}
    worse, better = sorted(errors, key=lambda kind: -errors[kind])
    is_greedy, draw = better == "greedy", {"greedy": "mode", "sampled": "sampled"}[better]
    return (
        f"{worse} masks have {100 * errors[worse]:.1f} % error, {better} masks "
        f"{100 * errors[better]:.1f} %, on {num_inputs:,} {split} inputs: take {better} masks "
        f"(deterministic={is_greedy}; draw={draw!r} of an exported classifier) or train longer"
    )


def mask_gap_of(result: Mapping[str, Any]) -> str:
    """The same of a run's result; "" of rules, whose masks training does not change."""
    sampled, greedy = result["evaluations"][:2]
    if not result["learns"]:
        return ""
    return mask_gap(sampled["error"], greedy["error"], sampled["num_images"])
