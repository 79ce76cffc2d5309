"""The probe: a tiny task with masks known to be optimal, to tell whether agents learn.

An image carries one of `NUM_DOMAINS` domains and one of two labels. Only block d of the first
gated layer reads domain d, and only block d + 1 (cyclic) of the second layer passes it on; every
other block adds nothing. A classifier that sees nothing answers with a third class, which is
always wrong. So one known block a layer is right for each image, and the others are waste.
"""

from typing import Any

import torch
from torch import Tensor

from ccenv.networks import GatedMLP, Sizes, linear_at, positive_ints
from ccenv.seeding import stream

NUM_DOMAINS = 4
NUM_LABELS = 2
PROBE_SETTINGS: dict[str, Any] = {
    "dataset": "probe",
    "network": "probe",
    "num_blocks": (NUM_DOMAINS, NUM_DOMAINS),
    "block_size": NUM_LABELS,
    "activation": "relu",
}
"""Settings of an environment that is the probe."""


def probe_images(num_images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draws noisy one-hot (domain, label) pairs.

    Returns:
        images [num_images, 1, 1, 8] float32 in [0, 1] and labels [num_images] int64 in {0, 1}.
    """
    generator = stream(seed, "probe")
    domains = torch.randint(NUM_DOMAINS, (num_images,), generator=generator)
    labels = torch.randint(NUM_LABELS, (num_images,), generator=generator)
    images = 0.1 * torch.rand(num_images, NUM_DOMAINS * NUM_LABELS, generator=generator)
    images[torch.arange(num_images), domains * NUM_LABELS + labels] += 0.9
    return images.view(num_images, 1, 1, -1), labels


def probe_network(
    in_features: int = NUM_DOMAINS * NUM_LABELS,
    num_blocks: Sizes = (NUM_DOMAINS, NUM_DOMAINS),
    block_size: Sizes = NUM_LABELS,
    num_classes: int = NUM_LABELS + 1,
    activation: str = "relu",
    head_units: Sizes = (),
) -> GatedMLP:
    """Builds the network that solves the probe, with one or two gated layers of 4 blocks of 2.

    Arguments are the environment's settings; only the probe's own are accepted. With tanh the
    noise would not stay under the bias.

    Raises:
        ValueError: if the settings are not the probe's.
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


def probe_optimal_masks(images: Tensor, num_layers: int) -> list[Tensor]:
    """The one block a layer that each image needs: a list of bool [batch, 4], one for each layer.

    A test proves these optimal by enumerating all masks.
    """
    domain = images.flatten(1).argmax(dim=1) // NUM_LABELS
    return [
        torch.nn.functional.one_hot((domain + layer) % NUM_DOMAINS, NUM_DOMAINS).bool()
        for layer in range(num_layers)
    ]
