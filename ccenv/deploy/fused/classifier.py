"""A network and its policy in one compiled call: (network, choosers) -> images to logits and masks.

It computes what `GatedMLP` and an affine policy compute, to rounding; of equal scores the first one
counts.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ccenv.base.registry import check_names
from ccenv.deploy.fused.call import CompiledCall, check_number
from ccenv.deploy.fused.choosers import Chooser
from ccenv.deploy.fused.network import write_network
from ccenv.deploy.fused.writer import ACTIVATIONS, Writer
from ccenv.networks.core.mlp import GatedMLP, gated_widths

WALK = ("gated_layer", "head", "start", "step", "logits")
"""Methods of a network that the compiled call stands for."""


def why_not_fused(network: Any) -> str | None:
    """Why a network cannot run in one compiled call, None where it can."""
    own = [getattr(type(network), name, None) for name in WALK]
    if own != [getattr(GatedMLP, name) for name in WALK]:
        return "its layers are not those of GatedMLP"
    if network.activation not in ACTIVATIONS:
        return f"its activation is {network.activation!r}, not one of tanh and relu"
    kinds = {(p.device.type, p.dtype) for p in network.parameters()}
    return None if kinds == {("cpu", torch.float32)} else "it is not float32 on the CPU"


class FusedClassifier(CompiledCall):
    """Images, float32 [batch, ...], to logits in one compiled call."""

    def __init__(
        self,
        network: GatedMLP,
        choosers: Sequence[Chooser] | None = None,
        *,
        observation: str = "layer_input",
        image_shape: tuple[int, ...] | None = None,
    ) -> None:
        """Writes the program.

        Args:
            network: a `GatedMLP`, float32 on the CPU.
            choosers: one for each gated layer; None where the caller gives masks.
            observation: what the policy looks at, "layer_input" or "summary"; without the zeros
                and the layer's index that pad an observation.
            image_shape: channels, height and width, for "summary".

        Raises:
            ValueError: if the network cannot be fused, or choosers do not fit it.
        """
        reason = why_not_fused(network)
        if reason is not None:
            raise ValueError(f"cannot fuse {type(network).__name__}: {reason}")
        check_names([observation], ("layer_input", "summary"), "observation")
        check_number(choosers, len(network.num_blocks))
        if observation == "summary" and choosers is not None and image_shape is None:
            raise ValueError("expected image_shape (channels, height, width) for 'summary'")
        self.in_features = network.in_features
        widths = [network.in_features, *gated_widths(network)]
        writer = Writer()
        write_network(writer, network, choosers, observation, image_shape)
        super().__init__(
            writer,
            choosers,
            num_blocks=network.num_blocks,
            in_floats=network.in_features,
            num_classes=network.head_sizes[-1],
            macs=sum(a * b for a, b in pairwise(widths)),
        )

    def checked(self, inputs: Tensor) -> Tensor:
        """See `CompiledCall.checked`."""
        if (
            inputs.dtype is not torch.float32
            or not inputs.is_cpu
            or inputs.numel() != inputs.shape[0] * self.in_features
        ):
            raise self._misfit(inputs)
        return inputs.contiguous()

    def _misfit(self, images: Tensor) -> Exception:
        if images.dtype is not torch.float32 or not images.is_cpu:
            return TypeError(
                f"expected float32 images on the CPU, got {images.dtype} on {images.device}"
            )
        return ValueError(
            f"expected images of {self.in_features} features, got {list(images.shape)}"
        )


__all__ = ["Chooser", "FusedClassifier", "why_not_fused"]
