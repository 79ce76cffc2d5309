"""Observations: (state of the episode) -> what a policy looks at, float32 [batch, obs_size].

Both kinds start with what is informative at the present layer, then zeros, then the one-hot
index of the layer (all zeros when the episode is over). `lengths[layer]` says how many of the
first columns are informative, so that a policy of one layer reads, and is billed for, no more.

`layer_input` shows the input of the layer: the image's features, or the activations of the layer
before. `summary` shows the image average-pooled to at most 8 x 8 per channel, then the root mean
square activation of each block of the layer before.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ccenv.base.registry import check_names
from ccenv.mdp.dynamics import EpisodeState
from ccenv.networks.mlp import GatedNetwork, gated_widths

OBSERVATIONS = ("layer_input", "summary")
SUMMARY_SIDE = 8


@dataclass(frozen=True)
class Observer:
    """Looks at states of one network in one way."""

    kind: str
    """one of `OBSERVATIONS`."""
    lengths: tuple[int, ...]
    """informative columns at each layer, and after the last one."""
    block_sizes: tuple[int, ...]
    """units of a block in each gated layer."""

    @property
    def num_layers(self) -> int:
        """Number of gated layers."""
        return len(self.block_sizes)

    @property
    def obs_size(self) -> int:
        """Columns of an observation."""
        return max(self.lengths) + self.num_layers

    def __call__(self, state: EpisodeState) -> Tensor:
        """Observation of each image: float32 [batch, obs_size], a fresh tensor."""
        looks = [state.hidden] if self.kind == "layer_input" else self._summary(state)
        shape, filled = (len(state.labels), self.obs_size), self.lengths[state.layer]
        # Memory is what this costs: a row that is mostly looks is not zeroed first.
        mostly = 2 * filled > self.obs_size
        like = state.images
        observation = like.new_empty(shape) if mostly else like.new_zeros(shape)
        start = 0
        for look in looks:
            observation[:, start : start + look.shape[1]] = look
            start += look.shape[1]
        if mostly:
            observation[:, filled:] = 0.0
        if state.layer < self.num_layers:
            observation[:, max(self.lengths) + state.layer] = 1.0
        return observation

    def _summary(self, state: EpisodeState) -> list[Tensor]:
        group = state.group_size
        pooled = pool(state.images).flatten(1)
        if group > 1:
            pooled = pooled.repeat_interleave(group, 0)
        if state.mask is None:
            return [pooled]
        blocks = state.hidden.unflatten(1, (-1, self.block_sizes[state.layer - 1]))
        return [pooled, blocks.square().mean(dim=2).sqrt()]


def pool(images: Tensor) -> Tensor:
    """Averages pixels so that at most 8 x 8 remain: [batch, channels, height, width].

    >>> pool(torch.ones(1, 1, 28, 28)).shape
    torch.Size([1, 1, 7, 7])
    """
    window = [pool_window(side) for side in images.shape[2:]]
    if window == [1, 1]:
        return images
    return torch.nn.functional.avg_pool2d(images, window, ceil_mode=True)


def pool_window(side: int) -> int:
    """Pixels that are averaged along a side of an image, so that at most 8 remain."""
    return -(-side // SUMMARY_SIDE)


def make_observer(kind: str, network: GatedNetwork, image_shape: tuple[int, int, int]) -> Observer:
    """Prepares a kind of observation for a network.

    Raises:
        ValueError: if the kind is unknown.
    """
    check_names([kind], OBSERVATIONS, "observation")
    if kind == "layer_input":
        lengths = (network.in_features, *gated_widths(network))
    else:
        pooled = pool(torch.zeros(1, *image_shape)).numel()
        lengths = (pooled, *(pooled + n for n in network.num_blocks))
    return Observer(kind, tuple(lengths), tuple(network.block_sizes))
