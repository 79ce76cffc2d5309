"""Scores of answers: StepOutcome -> one number per image, 0 before the last layer.

Of a network that answers several times on the way they are means over its answers.
"""

import torch
from torch import Tensor

from ccenv.mdp.dynamics import StepOutcome


def correct(outcome: StepOutcome) -> Tensor:
    """1 for a right answer, 0 for a wrong one or none yet: float32 [batch]."""
    return outcome.correct


def log_likelihood(outcome: StepOutcome) -> Tensor:
    """Log-probability of the true class in nats, 0 before the end: float32 [batch]."""
    return outcome.log_likelihood


def at_the_end(outcome: StepOutcome, value: Tensor) -> Tensor:
    """A value on the last step, 0 before it: [batch] -> [batch]."""
    return value if outcome.is_last else torch.zeros_like(value)
