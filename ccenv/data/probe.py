"""The probe: a tiny task with masks known to be optimal, to tell whether agents learn.

An image carries one of `NUM_DOMAINS` domains and one of two labels. Only block d of the first
gated layer reads domain d, and only block d + 1 (cyclic) of the second layer passes it on; every
other block adds nothing. A classifier that sees nothing answers with a third class, which is
always wrong. So one known block a layer is right for each image, and the others are waste.
"""

from typing import Any

import torch
from torch import Tensor

from ccenv.base.seeding import stream

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


def probe_optimal_masks(images: Tensor, num_layers: int) -> list[Tensor]:
    """The one block a layer that each image needs: a list of bool [batch, 4], one for each layer.

    A test proves these optimal by enumerating all masks.
    """
    domain = images.flatten(1).argmax(dim=1) // NUM_LABELS
    return [
        torch.nn.functional.one_hot((domain + layer) % NUM_DOMAINS, NUM_DOMAINS).bool()
        for layer in range(num_layers)
    ]


def probe_unit_masks(images: Tensor) -> list[Tensor]:
    """The one unit of four that each image needs of `probe-residual`: four bool [batch, 1].

    A test proves these optimal by enumerating all masks.
    """
    domain = images.flatten(1).argmax(dim=1) // NUM_LABELS
    return [(domain == unit)[:, None] for unit in range(NUM_DOMAINS)]


def probe_exit_masks(images: Tensor) -> list[Tensor]:
    """Where each image should stop in `probe-exit`: three bool [batch, 1], True = go on.

    An image of domain d stops at exit d, one of the last domain nowhere. A test proves these
    optimal by enumerating all masks.
    """
    domain = images.flatten(1).argmax(dim=1) // NUM_LABELS
    return [(domain > number)[:, None] for number in range(NUM_DOMAINS - 1)]
