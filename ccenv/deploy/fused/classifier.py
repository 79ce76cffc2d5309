"""A network and its policy in one compiled call: (network, choosers) -> inputs to logits and masks.

It computes what a network of affine maps and an affine policy compute, to rounding; of equal scores
the first one counts.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ccenv.base.registry import check_names
from ccenv.deploy.fused.call import CompiledCall
from ccenv.deploy.fused.choosers import AnyChooser, Chooser, check_number
from ccenv.deploy.fused.network import NetworkWriter, why_not_written
from ccenv.mdp.observations import LAST_SYMBOLS
from ccenv.networks.core.lowering import Affine, Blocks, Embed, lowered, why_not_lowered


def why_not_fused(network: Any) -> str | None:
    """Why a network cannot run in one compiled call, None where it can."""
    return why_not_lowered(network) or why_not_written(lowered(network).operations)


def reads_symbols(network: Any) -> bool:
    """Whether a network that runs in one compiled call reads symbols there."""
    return why_not_fused(network) is None and isinstance(lowered(network).operations[0], Embed)


class FusedClassifier(CompiledCall):
    """Images, float32 [batch, ...], or windows of symbols, int64, to logits in one call."""

    def __init__(
        self,
        network: Any,
        choosers: Sequence[AnyChooser] | None = None,
        *,
        observation: str = "layer_input",
        image_shape: tuple[int, ...] | None = None,
        keep_all: bool = False,
    ) -> None:
        """Writes the program.

        Args:
            network: a `GatedMLP` or `TokenMLP`, float32 on the CPU.
            choosers: one for each gated layer; None where the caller gives masks.
            observation: what the policy looks at, without the zeros and the layer's index that pad
                an observation: "layer_input"; of images "summary"; of symbols "symbols", the last
                ones as numbers.
            image_shape: channels, height and width, for "summary".
            keep_all: computes every block, without choosers or masks: the dense network.

        Raises:
            ValueError: if the network cannot be fused, or choosers do not fit it.
        """
        reason = why_not_fused(network)
        if reason is not None:
            raise ValueError(f"cannot fuse {type(network).__name__}: {reason}")
        operations = [
            found for found in lowered(network).operations if isinstance(found, Embed | Affine)
        ]
        maps = [found for found in operations if isinstance(found, Affine)]
        self.stem = operations[0] if isinstance(operations[0], Embed) else None
        num_blocks = [found.num_blocks for found in maps if isinstance(found, Blocks)]
        looks = ("layer_input", LAST_SYMBOLS if self.stem else "summary")
        check_names([observation], looks, "observation")
        if keep_all and choosers is not None:
            raise ValueError("expected no choosers beside keep_all=True")
        check_number(choosers, len(num_blocks))
        if observation == "summary" and choosers is not None and image_shape is None:
            raise ValueError("expected image_shape (channels, height, width) for 'summary'")
        self.in_features = maps[0].weight.shape[1]
        super().__init__(
            NetworkWriter(operations, choosers, observation, image_shape, keep_all).write(),
            choosers,
            num_blocks=() if keep_all else num_blocks,
            # A symbol takes the place of two floats.
            in_floats=2 * self.stem.window if self.stem else self.in_features,
            num_classes=len(maps[-1].weight),
            macs=sum(found.weight.numel() for found in maps),
        )

    def checked(self, inputs: Tensor) -> Tensor:
        """See `CompiledCall.checked`; whether there are such symbols, the program finds."""
        if self.stem is not None:
            length, shape = self.stem.window, inputs.shape
            if inputs.dtype is not torch.int64 or not inputs.is_cpu:
                raise TypeError(
                    f"expected symbols as int64 on the CPU, got {inputs.dtype} on {inputs.device}"
                )
            if len(shape) != 2 or shape[1] != length:
                raise ValueError(f"expected windows [batch, {length}], got {list(shape)}")
        elif inputs.dtype is not torch.float32 or not inputs.is_cpu:
            raise TypeError(
                f"expected float32 images on the CPU, got {inputs.dtype} on {inputs.device}"
            )
        elif inputs.numel() != inputs.shape[0] * self.in_features:
            raise ValueError(
                f"expected images of {self.in_features} features, got {list(inputs.shape)}"
            )
        return inputs.contiguous()

    def refused(self, inputs: Tensor) -> Exception:
        """The error of symbols that there are not: nothing is looked up of them."""
        assert self.stem is not None
        return ValueError(
            f"expected symbols in 0..{self.stem.num_symbols - 1}, got {int(inputs.min())} to "
            f"{int(inputs.max())}"
        )


__all__ = ["Chooser", "FusedClassifier", "why_not_fused"]
