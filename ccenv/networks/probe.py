"""The network that solves the probe (`ccenv.data.probe`): one block a layer does all the work."""

import torch

from ccenv.data.probe import NUM_DOMAINS, NUM_LABELS
from ccenv.networks.mlp import GatedMLP, Sizes, linear_at, positive_ints


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
