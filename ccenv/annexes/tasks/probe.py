"""The probe, a tiny task with masks known to be optimal: its data, and networks of three kinds.

Weights are set by hand. In fully connected layers one block does all the work. In networks of units
and exits features are the input's, with room for one sum a label behind them: unit d reads domain
d, adds to the sum of its label, and adds nothing for inputs of other domains.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.base.seeding import stream
from ccenv.base.values import Sizes, positive_ints
from ccenv.data.registry import SPLITS
from ccenv.data.split import Split
from ccenv.networks.core.exit_state import Exit
from ccenv.networks.core.mlp import GatedMLP, linear_at
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.vision.residual import ResidualUnit

NUM_DOMAINS = 4
NUM_LABELS = 2
IN_FEATURES = NUM_DOMAINS * NUM_LABELS
WIDTH = IN_FEATURES + NUM_LABELS
PROBE_SETTINGS: dict[str, Any] = {
    "dataset": "probe",
    "network": "probe",
    "num_blocks": (NUM_DOMAINS, NUM_DOMAINS),
    "block_size": NUM_LABELS,
    "activation": "relu",
}
"""Settings of an environment that is the probe."""


def probe_images(num_images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy one-hot (domain, label) pairs: [num_images, 1, 1, 8] in [0, 1], labels 0 and 1."""
    generator = stream(seed, "probe")
    domains = torch.randint(NUM_DOMAINS, (num_images,), generator=generator)
    labels = torch.randint(NUM_LABELS, (num_images,), generator=generator)
    inputs = 0.1 * torch.rand(num_images, NUM_DOMAINS * NUM_LABELS, generator=generator)
    inputs[torch.arange(num_images), domains * NUM_LABELS + labels] += 0.9
    return inputs.view(num_images, 1, 1, -1), labels


def probe(split: str) -> Split:
    """A tiny task with masks known to be optimal, to tell whether agents learn.

    An input carries one of `NUM_DOMAINS` domains and one of two labels. Only block d of the first
    gated layer reads domain d, and only block d + 1 (cyclic) of the second layer passes it on;
    every other block adds nothing. A classifier that sees nothing answers with a third class, which
    is always wrong. So one known block a layer is right for each input, and the others are waste.
    """
    size = {"train": 1024}.get(split, 256)
    return Split(*probe_images(size, seed=SPLITS.index(split)), num_classes=NUM_LABELS + 1)


def probe_network(
    in_features: int = NUM_DOMAINS * NUM_LABELS,
    num_blocks: Sizes = (NUM_DOMAINS, NUM_DOMAINS),
    block_size: Sizes = NUM_LABELS,
    num_classes: int = NUM_LABELS + 1,
    activation: str = "relu",
    head_units: Sizes = (),
) -> GatedMLP:
    """Builds the network that solves the probe, with one or two gated layers of 4 blocks of 2.

    Arguments are the environment's settings; others than the probe's own are refused. With tanh the
    noise would not stay under the bias.
    """
    blocks, sizes = positive_ints(num_blocks, "num_blocks"), positive_ints(block_size, "block_size")
    fits = blocks in ((4,), (4, 4)) and set(sizes) == {NUM_LABELS} and activation == "relu"
    if not fits or in_features != 8 or num_classes != 3 or head_units:
        raise ValueError(
            "expected the probe's settings: dataset='probe', num_blocks (4,) or (4, 4), "
            "block_size 2, activation 'relu', no head_units; got "
            f"num_blocks={blocks}, block_size={block_size}, activation={activation!r}, "
            f"head_units={head_units}, {in_features} features, {num_classes} classes"
        )
    network = GatedMLP(in_features, blocks, sizes, num_classes, activation)
    width = NUM_DOMAINS * NUM_LABELS
    first, head = linear_at(network.layers, 0), linear_at(network.head_layers, 0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        # A unit passes its own feature on; features below 1/2 are noise and stay under the bias.
        first.weight.copy_(4 * torch.eye(width))
        first.bias.fill_(-2.0)
        for index in range(1, len(blocks)):
            passing = torch.eye(width).roll(NUM_LABELS, dims=0)
            linear_at(network.layers, index).weight.copy_(passing)
        head.weight[:NUM_LABELS] = 4 * torch.eye(NUM_LABELS).repeat(1, NUM_DOMAINS)
        head.bias[NUM_LABELS] = 1.0
    network.has_own_weights = True
    return network


def probe_residual(
    input_shape: tuple[int, ...] = (1, 1, IN_FEATURES), num_classes: int = NUM_LABELS + 1
) -> GatedSequential:
    """Four units, one gate each: an input of domain d needs only unit d.

    The unit kept, a step costs 100 of 430 MACs.
    """
    check_is_probe(input_shape, num_classes)
    units = {f"unit{domain}": ResidualUnit(reader(domain)) for domain in range(NUM_DOMAINS)}
    return with_own_weights(units)


def probe_exit(
    input_shape: tuple[int, ...] = (1, 1, IN_FEATURES), num_classes: int = NUM_LABELS + 1
) -> GatedSequential:
    """Four units that always run, and an exit after each of the first three.

    An input of domain d can be answered from exit d on: stopping there costs 130 (d + 1) of 520
    MACs, stopping before it gives the class that is always wrong.
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
    """The probe's network of these parts, which is never trained."""
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
