"""One episode as pure functions: (network, state, mask) -> next state and what the mask did."""

import functools
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ccenv.base.masks import check_mask
from ccenv.networks.costs import dense_macs, layer_macs
from ccenv.networks.mlp import GatedNetwork, pass_gate


@dataclass(frozen=True)
class EpisodeState:
    """A batch of images on their way through the gated layers, all at the same layer."""

    images: Tensor
    """[batch / group_size, channels, height, width] float32; each image once."""
    labels: Tensor
    """[batch] int64."""
    layer: int
    """number of the gated layer that is decided next; num_layers when the episode is over."""
    activations: Tensor | None
    """[batch, width] float32; output of the layer before, None at the start."""
    mask: Tensor | None
    """bool [batch, num_blocks[layer - 1]]; the mask before, None at the start."""
    macs: Tensor
    """[batch] int64; executed so far."""
    group_size: int = 1
    """neighbouring rows that hold the same image."""

    @functools.cached_property
    def images_by_row(self) -> Tensor:
        """[batch, channels, height, width] float32; copied for each row of a group when asked."""
        if self.group_size == 1:
            return self.images
        return self.images.repeat_interleave(self.group_size, 0)

    @property
    def hidden(self) -> Tensor:
        """[batch, width] float32; input of the layer that is decided next."""
        return self.images_by_row.flatten(1) if self.activations is None else self.activations


@dataclass(frozen=True)
class StepOutcome:
    """What one mask did to a batch of images."""

    layer: int
    """number of the gated layer that was computed."""
    mask: Tensor
    """[batch, num_blocks] bool; the action as executed."""
    layer_cost: Tensor
    """[batch] float32 in [0, 1]; this layer's share of the dense network's MACs."""
    compute_cost: Tensor
    """[batch] float32 in [0, 1]; share of the dense network's MACs executed so far."""
    macs: Tensor
    """[batch] int64; MACs executed so far."""
    labels: Tensor
    """[batch] int64; true classes."""
    logits: Tensor | None
    """[batch, num_classes] float32 after the last gated layer, None before it."""
    num_layers: int
    """gated layers of the network."""
    before: EpisodeState
    """where the images were; its `hidden` is the layer's input, its `mask` the layer before's."""
    after: EpisodeState
    """where they are now; its `hidden` is the layer's output."""

    @property
    def is_last(self) -> bool:
        """Whether the episode has ended."""
        return self.logits is not None


def initial(images: Tensor, labels: Tensor, group_size: int = 1) -> EpisodeState:
    """Starts an episode for each row, of which `group_size` neighbours hold the same image.

    Args:
        images: [batch / group_size, channels, height, width] float32.
        labels: [batch / group_size] int64.
        group_size: rows of an image.
    """
    if group_size > 1:
        labels = labels.repeat_interleave(group_size)
    macs = torch.zeros(len(labels), dtype=torch.int64, device=images.device)
    return EpisodeState(images, labels, 0, None, None, macs, group_size)


def transition(
    network: GatedNetwork, state: EpisodeState, mask: Tensor, backend: str = "auto"
) -> tuple[EpisodeState, StepOutcome]:
    """Computes the blocks that a mask keeps, and the logits after the last gated layer.

    Args:
        network: the classifier.
        state: where the images are; not changed.
        mask: bool [batch, num_blocks[state.layer]].
        backend: see `block_sparse_linear`.

    Returns:
        The next state and the outcome of this step.

    Raises:
        TypeError: if the mask is not a bool tensor.
        ValueError: if the episode is over or the mask does not fit the layer.
    """
    num_layers = len(network.num_blocks)
    if state.layer >= num_layers:
        raise ValueError(f"the episode is over after {num_layers} gated layers; start a new one")
    expected = (len(state.labels), network.num_blocks[state.layer])
    check_mask(mask, expected[0], "mask")
    if tuple(mask.shape) != expected:
        raise ValueError(
            f"expected a mask of shape {list(expected)} for gated layer {state.layer}, "
            f"got {list(mask.shape)}"
        )
    x = state.images.flatten(1) if state.mask is None else state.hidden
    hidden = pass_gate(network, state.layer, x, state.mask, mask, backend)
    step_macs = layer_macs(network, state.layer, state.mask, mask)
    after = replace(
        state, layer=state.layer + 1, activations=hidden, mask=mask, macs=state.macs + step_macs
    )
    total = dense_macs(network)
    is_last = after.layer == num_layers
    return after, StepOutcome(
        layer=state.layer,
        mask=mask,
        layer_cost=(step_macs / total).float(),
        compute_cost=(after.macs / total).float(),
        macs=after.macs,
        labels=state.labels,
        logits=network.head(hidden, mask, backend) if is_last else None,
        num_layers=num_layers,
        before=state,
        after=after,
    )
