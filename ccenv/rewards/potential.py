"""Potential-based shaping: the potential is a linear probe's log-likelihood on activations."""

import itertools
import math

import torch
from torch import Tensor, nn

from ccenv.base.masks import random_mask
from ccenv.base.seeding import stream
from ccenv.base.values import check_at_least_zero, positive_ints
from ccenv.mdp.dynamics import EpisodeState, StepOutcome, initial, look, outcomes
from ccenv.networks.core.protocol import GatedNetwork
from ccenv.rewards.bind import StatefulReward, Surroundings, describe


@describe(
    "correct - cost_weight * compute_cost - potential_weight * log p(label | probe of the image)",
    low=-1.0,
    high=math.inf,
    keeps_optimum=True,
)
class Potential(StatefulReward):
    """`accuracy_minus_cost`, plus the rise of a probe's log-likelihood at each gate.

    The potential of a state is the log-probability of the label under a linear classifier, fitted
    on the features offered at that gate; after the last gate it is 0. A step pays the potential
    after minus the potential before. The terms of an episode sum to minus the potential of its
    input, whatever the masks, so the optimal masks stay the same (Ng, Harada, Russell 1999,
    theorem 1). The probes are fitted under random masks; in co-training on the initial weights,
    because any fixed function leaves the optimum unchanged.
    """

    def __init__(
        self,
        cost_weight: float = 1.0,
        potential_weight: float = 1.0,
        num_fit_images: int = 5000,
        seed: int = 0,
    ) -> None:
        """Sets the weights of the terms and how the probes are fitted.

        Args:
            cost_weight: weight of the compute cost.
            potential_weight: weight of the shaping.
            num_fit_images: largest number of training images for the probes.
            seed: seed of the inputs and of the random masks.
        """
        check_at_least_zero(cost_weight=cost_weight, potential_weight=potential_weight)
        positive_ints([num_fit_images], "num_fit_images")
        self.cost_weight, self.potential_weight = cost_weight, potential_weight
        self.num_fit_images, self.seed = num_fit_images, seed
        self.probes: list[nn.Linear] = []

    def prepare(self, surroundings: Surroundings) -> None:
        """Fits one probe for each gated layer."""
        split = surroundings.training_split().to(surroundings.device)
        generator = stream(self.seed, "probes")
        chosen = torch.randperm(len(split), generator=generator)[: self.num_fit_images]
        inputs, labels = split.batch(chosen.to(surroundings.device))
        states = random_walk(surroundings.network, inputs, labels, generator)
        self.network = surroundings.network
        with torch.no_grad():
            looks = [look(self.network, state) for state in states]
        self.probes = [fit_probe(features, labels, split.num_classes) for features in looks]

    def potential(self, state: EpisodeState) -> Tensor:
        """Log-likelihood of the label before a layer, 0 after the last one: float32 [batch]."""
        if state.layer == len(self.probes):
            return torch.zeros(len(state.labels), device=state.labels.device)
        scores = self.probes[state.layer](look(self.network, state))
        return -nn.functional.cross_entropy(scores, state.labels, reduction="none")

    def __call__(self, outcome: StepOutcome) -> dict[str, Tensor]:
        """Terms `accuracy`, `cost` and `potential`."""
        rise = self.potential(outcome.after) - self.potential(outcome.before)
        return {
            "accuracy": outcome.correct,
            "cost": -self.cost_weight * outcome.layer_cost,
            "potential": self.potential_weight * rise,
        }


@torch.no_grad()
def random_walk(
    network: GatedNetwork, inputs: Tensor, labels: Tensor, generator: torch.Generator
) -> list[EpisodeState]:
    """States before each gated layer, under masks whose density is uniform in 0..1."""

    def choose(state: EpisodeState) -> Tensor:
        densities = torch.rand(len(labels), 1, generator=generator)
        blocks = network.gates[state.layer].num_blocks
        return random_mask(len(labels), blocks, densities, generator).to(inputs.device)

    start = initial(network, inputs, labels)
    walked = itertools.islice(outcomes(network, start, choose), len(network.gates) - 1)
    return [start, *(outcome.after for outcome in walked)]


def fit_probe(features: Tensor, labels: Tensor, num_classes: int) -> nn.Linear:
    """Multinomial logistic regression by L-BFGS from zero: [n, width], [n] -> width to classes.

    A ridge of 1e-3 keeps the weights finite where the classes are separable.
    """
    probe = nn.utils.skip_init(nn.Linear, features.shape[1], num_classes, device=features.device)
    nn.init.zeros_(probe.weight)
    nn.init.zeros_(probe.bias)
    optimizer = torch.optim.LBFGS(probe.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(probe(features), labels)
        value = value + 1e-3 * probe.weight.square().sum()
        value.backward()
        return float(value.detach())

    with torch.enable_grad():
        optimizer.step(loss)
    return probe.requires_grad_(False)
