"""Probes made of residual units and of exits (`ccenv.data.probe`): weights set, optimum known.

Features are the image's, with room for one sum a label behind them. Unit d reads domain d, adds to
the sum of its label, and adds nothing for images of other domains.
"""

from collections.abc import Mapping

import torch
from torch import nn

from ccenv.data.probe import NUM_DOMAINS, NUM_LABELS
from ccenv.networks.flow import Exit
from ccenv.networks.models.residual import ResidualUnit
from ccenv.networks.sequential import GatedSequential

IN_FEATURES = NUM_DOMAINS * NUM_LABELS
WIDTH = IN_FEATURES + NUM_LABELS


def probe_residual(
    input_shape: tuple[int, ...] = (1, 1, IN_FEATURES), num_classes: int = NUM_LABELS + 1
) -> GatedSequential:
    """Four units, a gate each: an image of domain d needs unit d and no other.

    The unit kept, a step costs 100 of 430 MACs; the best masks are `probe_unit_masks`.

    Raises:
        ValueError: if the data set is another one.
    """
    check_is_probe(input_shape, num_classes)
    units = {f"unit{domain}": ResidualUnit(reader(domain)) for domain in range(NUM_DOMAINS)}
    return with_own_weights(units)


def probe_exit(
    input_shape: tuple[int, ...] = (1, 1, IN_FEATURES), num_classes: int = NUM_LABELS + 1
) -> GatedSequential:
    """Four units that always run and an exit behind each of the first three.

    An image of domain d can be answered from exit d on: stopping there costs 130 (d + 1) of 520
    MACs, stopping before it gives the class that is always wrong. See `probe_exit_masks`.

    Raises:
        ValueError: if the data set is another one.
    """
    check_is_probe(input_shape, num_classes)
    parts: dict[str, nn.Module] = {}
    for domain in range(NUM_DOMAINS):
        parts[f"unit{domain}"] = Always(reader(domain))
        if domain < NUM_DOMAINS - 1:
            parts[f"exit{domain}"] = Exit(answering())
    return with_own_weights(parts)


class Always(nn.Module):
    """A residual unit without a gate: x + body(x)."""

    def __init__(self, body: nn.Module) -> None:
        """Takes the body."""
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[rows, WIDTH] -> [rows, WIDTH]."""
        added: torch.Tensor = self.body(x)
        return x + added


def check_is_probe(input_shape: tuple[int, ...], num_classes: int) -> None:
    """Refuses other data sets: the weights would mean nothing."""
    if tuple(input_shape) != (1, 1, IN_FEATURES) or num_classes != NUM_LABELS + 1:
        raise ValueError(
            f"expected dataset='probe' with inputs {(1, 1, IN_FEATURES)} and {NUM_LABELS + 1} "
            f"classes, got inputs {tuple(input_shape)} and {num_classes} classes"
        )


def with_own_weights(parts: Mapping[str, nn.Module]) -> GatedSequential:
    """The probe's network of these parts, which nobody trains."""
    stem = nn.Sequential(nn.Flatten(), nn.ConstantPad1d((0, NUM_LABELS), 0.0))
    network = GatedSequential(stem, parts, answering(), torch.zeros(1, 1, 1, IN_FEATURES))
    network.has_own_weights = True
    return network.eval()


def reader(domain: int) -> nn.Module:
    """Reads one domain's features into the sums: [rows, WIDTH] -> [rows, WIDTH]."""
    linear = nn.Linear(WIDTH, WIDTH)
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.zero_()
        for label in range(NUM_LABELS):
            # Features below 1/2 are noise and stay under the bias.
            linear.weight[IN_FEATURES + label, domain * NUM_LABELS + label] = 4.0
            linear.bias[IN_FEATURES + label] = -2.0
    return nn.Sequential(linear, nn.ReLU())


def answering() -> nn.Module:
    """Logits of the sums; where nothing was read, the class that is always wrong wins."""
    linear = nn.Linear(WIDTH, NUM_LABELS + 1)
    with torch.no_grad():
        linear.weight.zero_()
        linear.weight[:NUM_LABELS, IN_FEATURES:] = 4 * torch.eye(NUM_LABELS)
        linear.bias.copy_(torch.eye(NUM_LABELS + 1)[NUM_LABELS])
    return linear
