"""Scores of answers: StepOutcome -> one number per image, 0 before the last layer.

Of a network that answers several times on the way they are means over its answers.
"""

import torch
from torch import Tensor

from ccenv.mdp.dynamics import StepOutcome


def correct(outcome: StepOutcome) -> Tensor:
    """1 for a right answer, 0 for a wrong one or none yet: float32 [batch]."""
    if outcome.logits is None:
        return torch.zeros_like(outcome.layer_cost)
    if outcome.answers is not None and outcome.targets is not None:
        return (outcome.answers.argmax(dim=2) == outcome.targets).float().mean(dim=1)
    return (outcome.logits.argmax(dim=1) == outcome.labels).float()


def log_likelihood(outcome: StepOutcome) -> Tensor:
    """Log-probability of the true class in nats, 0 before the end: float32 [batch]."""
    if outcome.logits is None:
        return torch.zeros_like(outcome.layer_cost)
    if outcome.answers is not None and outcome.targets is not None:
        found = outcome.answers.gather(2, outcome.targets.unsqueeze(2)).squeeze(2)
        return (found - outcome.answers.logsumexp(dim=2)).mean(dim=1)
    return log_likelihood_of(outcome.logits, outcome.labels)


def log_likelihood_of(logits: Tensor, labels: Tensor) -> Tensor:
    """The same of logits [batch, num_classes] and labels int64 [batch]."""
    return logits.gather(1, labels.unsqueeze(1)).squeeze(1) - logits.logsumexp(dim=1)


def at_the_end(outcome: StepOutcome, value: Tensor) -> Tensor:
    """A value on the last step, 0 before it: [batch] -> [batch]."""
    return value if outcome.is_last else torch.zeros_like(value)
