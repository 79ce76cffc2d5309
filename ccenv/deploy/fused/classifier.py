"""A network and its policy in one compiled call: (network, choosers) -> images to logits and masks.

For one image the calls between layers take longer than the layers themselves: here there is one
call in all. It computes what `GatedMLP` and an affine policy compute, to rounding; of equal scores
the first one counts.
"""

from array import array
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ccenv.base.registry import check_names
from ccenv.deploy.fused.choosers import DRAWN_RULES, Chooser
from ccenv.deploy.fused.network import write_network
from ccenv.deploy.fused.program import header, run_program
from ccenv.deploy.fused.writer import ACTIVATIONS, Writer
from ccenv.networks.costs import gated_widths
from ccenv.networks.mlp import GatedMLP
from ccenv.sparse.cpu.layer import MIN_SHARED_ROWS, share_rows

# Rows at once: enough to share weights, few enough that what lies between layers stays in cache.
CHUNK_BYTES, MIN_CHUNK = 1 << 19, 64


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


class FusedClassifier:
    """Images to logits in one compiled call, on copies of the weights as they are now."""

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
        if choosers is not None and len(choosers) != len(network.num_blocks):
            raise ValueError(
                f"expected a chooser for each of {len(network.num_blocks)} gated layers, "
                f"got {len(choosers)}"
            )
        if observation == "summary" and choosers is not None and image_shape is None:
            raise ValueError("expected image_shape (channels, height, width) for 'summary'")
        self.num_blocks, self.in_features = network.num_blocks, network.in_features
        self.num_classes = network.head_sizes[-1]
        self.prepare: Callable[[Tensor], Tensor] | None = None
        """makes what the network sees of the images that a call is given; None: they are it."""
        self.stream: Callable[[Tensor], torch.Generator] | None = None
        """what draws the masks of images where a call is given no generator."""
        self.draws = any(chooser.rule in DRAWN_RULES for chooser in choosers or ())
        self.chooses = choosers is not None
        widths = [network.in_features, *gated_widths(network)]
        self._macs = sum(a * b for a, b in pairwise(widths))
        self._writer = Writer()
        write_network(self._writer, network, choosers, observation, image_shape)
        first = header(
            len(self._writer.codes),
            len(self.num_blocks),
            self.in_features,
            self.num_classes,
            max(MIN_CHUNK, CHUNK_BYTES // (4 * self._writer.floats)),
            self._writer.floats,
        )
        self._program = torch.tensor([first, *self._writer.codes], dtype=torch.int64)
        self._at_program = self._program.data_ptr()
        # They make masks and logits faster than torch.empty does.
        self._no_bits, self._no_floats = torch.empty(0, dtype=torch.bool), torch.empty(0)

    def __call__(
        self,
        images: Tensor,
        masks: Sequence[Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Classifies images.

        Args:
            images: [batch, ...] on the CPU, float32, or what `prepare` wants.
            masks: bool [batch, num_blocks] by layer, where there are no choosers.
            generator: of the uniform numbers of the rules "drawn" and "drawn_k".

        Returns:
            Logits [batch, num_classes] and the masks.

        Raises:
            TypeError: if images or masks have the wrong type.
            ValueError: if shapes do not fit, masks are missing or not wanted, or there is no
                generator to draw from.
        """
        if self.prepare is not None:
            images = self.prepare(images)
        batch = images.shape[0]
        if (
            images.dtype is not torch.float32
            or not images.is_cpu
            or images.numel() != batch * self.in_features
        ):
            raise self._misfit(images)
        if self.draws and generator is None and self.stream is not None:
            generator = self.stream(images)
        images = images.contiguous()
        if not self.chooses:
            masks = self._checked_masks(masks, batch)
        elif masks is not None:
            raise ValueError("expected no masks: choosers choose them")
        else:
            masks = [self._no_bits.new_empty(batch, n) for n in self.num_blocks]
        logits = self._no_floats.new_empty(batch, self.num_classes)
        uniforms = self._uniforms(batch, generator) if self.draws else ()
        used = (images, logits, *masks, *uniforms)
        job = array("q", [self._at_program, *[tensor.data_ptr() for tensor in used]])
        at_job = job.buffer_info()[0]
        if batch < MIN_SHARED_ROWS:
            # A call takes as long as a small network.
            run_program(at_job, 0, batch)
        else:
            share_rows(partial(run_program, at_job), batch, self._macs)
        return logits, masks

    def _uniforms(self, batch: int, generator: torch.Generator | None) -> list[Tensor]:
        if generator is None:
            raise ValueError("expected a generator: masks are drawn")
        return [torch.rand(batch, n, generator=generator) for n in self.num_blocks]

    def _misfit(self, images: Tensor) -> Exception:
        if images.dtype is not torch.float32 or not images.is_cpu:
            return TypeError(
                f"expected float32 images on the CPU, got {images.dtype} on {images.device}"
            )
        return ValueError(
            f"expected images of {self.in_features} features, got {list(images.shape)}"
        )

    def _checked_masks(self, masks: Sequence[Tensor] | None, batch: int) -> list[Tensor]:
        shapes = [(batch, n) for n in self.num_blocks]
        if masks is None or [tuple(mask.shape) for mask in masks] != shapes:
            got = "none" if masks is None else [list(mask.shape) for mask in masks]
            raise ValueError(f"expected masks of shapes {shapes}, got {got}")
        if any(mask.dtype is not torch.bool or not mask.is_cpu for mask in masks):
            raise TypeError("expected bool masks on the CPU")
        return [mask.contiguous() for mask in masks]


__all__ = ["Chooser", "FusedClassifier", "why_not_fused"]
