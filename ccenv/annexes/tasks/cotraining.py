"""Tasks in which the network learns along: (domains, experts that know nothing yet) -> who learns.

Each domain has a rule of its own, by which its inputs are labelled. An expert that always gets the
same domain learns its rule; one that gets several learns what they have in common. Experts see the
input and not its domain; policies see the domain and not the input. Any assignment of domains to
experts is as good as any other, if it stays. The network learns where `update_network` is called.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ccenv.annexes.tasks.problem import Problem
from ccenv.base.seeding import stream_seed
from ccenv.data.registry import SPLITS
from ccenv.data.split import Split
from ccenv.mdp.dynamics import StepOutcome
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.core.stage import Rows
from ccenv.networks.stages.linear import Experts

FEATURES, EXPERT_SIZE, INPUTS = 8, 8, 4096
"""Columns that experts read, hidden units of one, and inputs of each split."""
COST_WEIGHT, LEARNING_RATE = 0.5, 0.02
NOTHING = 0.5
"""Logit of the answer that is always wrong, which wins where no expert speaks."""


class DomainExperts(Experts):
    """Experts that read what stands behind the domain; offered is the domain alone."""

    def __init__(self, domains: int) -> None:
        """Draws the experts, one for each domain."""
        super().__init__(FEATURES, domains, EXPERT_SIZE, 2)

    def compute(self, x: Tensor, mask: Rows, before: Rows, weights: Rows, backend: str) -> Tensor:
        """[rows, domains and features] -> sums of logits [rows, 2]."""
        return super().compute(x[:, -FEATURES:].contiguous(), mask, before, weights, backend)

    def look(self, x: Tensor) -> Tensor:
        """The domain, one-hot."""
        return x[:, :-FEATURES]


@dataclass(frozen=True, kw_only=True)
class CoTrained(Problem):
    """As many experts as domains."""

    domains: int = 4

    @property
    def rule(self) -> str:
        """See `Problem`."""
        return "one expert for all inputs, which has learned what domains have in common"

    def settings(self) -> dict[str, Any]:
        """See `Problem`."""
        return {
            "weights": "cotrain",
            "weights_kwargs": {"learning_rate": LEARNING_RATE},
            "reward": "accuracy_minus_cost",
            "reward_kwargs": {"cost_weight": COST_WEIGHT},
        }

    def rules(self) -> NDArray[np.float64]:
        """Weights of each domain's rule: an input has label 1 where the sum is above 0."""
        draws = np.random.default_rng(stream_seed(0, "rules of domains"))
        return draws.standard_normal((self.domains, FEATURES))

    def split(self, split: str) -> Split:
        """Rows of a domain, one-hot, and normal numbers; their labels."""
        draws = np.random.default_rng(stream_seed(SPLITS.index(split), "inputs of domains"))
        domain = np.arange(INPUTS) % self.domains
        features = draws.standard_normal((INPUTS, FEATURES))
        labels = (features * self.rules()[domain]).sum(axis=1) > 0
        rows = np.hstack([np.eye(self.domains)[domain], features])
        return Split(torch.from_numpy(rows).float(), torch.from_numpy(labels).long(), 3)

    def network(self) -> GatedSequential:
        """See `Problem`; this one learns."""
        example = torch.zeros(1, self.domains + FEATURES)
        parts = {"experts": DomainExperts(self.domains)}
        return GatedSequential(nn.Identity(), parts, nn.ConstantPad1d((0, 1), NOTHING), example)

    def value(self, outcome: StepOutcome, cost_weight: Any) -> Tensor:
        """See `Problem`."""
        return outcome.correct - cost_weight * outcome.layer_cost

    def optimum(self) -> float:
        """See `Problem`: one expert an input, and all is learned; training comes near."""
        return 1 - COST_WEIGHT / self.domains

    def reference(self) -> float:
        """See `Problem`: the label that most domains would give an input is the best answer."""
        inputs = self.split("train").images
        assert isinstance(inputs, Tensor)
        share = (inputs[:, -FEATURES:].double().numpy() @ self.rules().T > 0).mean(axis=1)
        return float(np.maximum(share, 1 - share).mean()) - COST_WEIGHT / self.domains
