"""A network and its policy in one compiled call: (network, choosers) -> inputs to logits and masks.

It computes what a network of affine maps and an affine policy compute, to rounding; of equal scores
the first one counts. For one input the calls between layers take longer than the layers themselves.
"""

from array import array
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.base.registry import check_names
from ccenv.mdp.choosers import AnyChooser, Chooser, are_sampled, check_number
from ccenv.mdp.observations import LAST_SYMBOLS
from ccenv.networks.core.lowering import (
    Affine,
    Blocks,
    Embed,
    Operation,
    operations_of,
    why_not_lowered,
)
from ccenv.sparse.cpu.addresses import MIN_SHARED_ROWS, share_rows
from ccenv.sparse.linear import ACTIVATIONS

# Rows at once: enough to share weights, few enough that what lies between layers stays in cache.
CHUNK_BYTES, MIN_CHUNK = 1 << 19, 64


def why_not_fused(network: Any) -> str | None:
    """Why a network cannot run in one compiled call, None where it can."""
    return why_not_lowered(network) or why_not_written(operations_of(network))


def why_not_written(operations: Sequence[Operation]) -> str | None:
    """Why there is no program of some operations, None where there is."""
    kinds = set()
    for operation in operations:
        if isinstance(operation, Embed) and not isinstance(operation.rows, nn.Embedding):
            return "its stem is not embeddings side by side"
        if not isinstance(operation, Embed | Affine):
            return f"it has no layers of affine maps, but {type(operation).__name__}"
        if isinstance(operation, Affine) and operation.activation not in (None, *ACTIVATIONS):
            return f"its activation is {operation.activation!r}, not one of tanh and relu"
        kinds |= {(tensor.device.type, tensor.dtype) for tensor in operation.tensors()}
    return None if kinds == {("cpu", torch.float32)} else "it is not float32 on the CPU"


def reads_symbols(operations: Sequence[Operation]) -> bool:
    """Whether operations that run in one compiled call read symbols there."""
    return why_not_written(operations) is None and isinstance(operations[0], Embed)


class FusedClassifier:
    """A network and its policy in one compiled call.

    Inputs are images, float32 [batch, ...], or windows of symbols, int64. The weights are copied.

    >>> from ccenv.networks import GatedMLP
    >>> network = GatedMLP(64, num_blocks=(8,), block_size=4, activation="relu")
    >>> policy = Chooser([(torch.randn(8, 64), None)], "top_k", num_kept=2)
    >>> fused = FusedClassifier(network, [policy])
    >>> logits, masks = fused(torch.rand(3, 64))  # doctest: +SKIP
    """

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
        lowered = operations_of(network)
        if why_not_written(lowered) is not None:
            raise ValueError(f"cannot fuse {type(network).__name__}: {why_not_fused(network)}")
        operations = [one for one in lowered if isinstance(one, Embed | Affine)]
        maps = [operation for operation in operations if isinstance(operation, Affine)]
        self.stem = operations[0] if isinstance(operations[0], Embed) else None
        num_blocks = [operation.num_blocks for operation in maps if isinstance(operation, Blocks)]
        looks = ("layer_input", LAST_SYMBOLS if self.stem else "summary")
        check_names([observation], looks, "observation")
        if keep_all and choosers is not None:
            raise ValueError("expected no choosers with keep_all=True")
        check_number(choosers, len(num_blocks))
        if observation == "summary" and choosers is not None and image_shape is None:
            raise ValueError("expected image_shape (channels, height, width) for 'summary'")
        self.in_features = maps[0].weight.shape[1]
        num_classes, macs = (
            len(maps[-1].weight),
            sum(operation.weight.numel() for operation in maps),
        )
        # Imported on use: they compile kernels.
        from ccenv.annexes.deploy.fused.network import NetworkWriter
        from ccenv.annexes.deploy.fused.program import run_program

        writer = NetworkWriter(operations, choosers, observation, image_shape, keep_all).write()
        self.num_blocks = () if keep_all else tuple(num_blocks)
        self.num_classes, self._macs, self._writer = num_classes, macs, writer
        self.prepare: Callable[[Tensor], Tensor] | None = None
        """makes what the network sees of the inputs that a call is given; None: they are it."""
        self.stream: Callable[[Tensor], torch.Generator] | None = None
        """what draws the masks of inputs where a call is given no generator."""
        self.draws = are_sampled(choosers)
        # Where there is no gated layer there is nothing to choose.
        self.chooses = choosers is not None or not self.num_blocks
        lines = writer.program(
            layers=len(self.num_blocks),
            # A symbol takes the place of two floats.
            features=2 * self.stem.window if self.stem else self.in_features,
            classes=num_classes,
            chunk=max(MIN_CHUNK, CHUNK_BYTES // (4 * writer.floats)),
        )
        self._program = torch.tensor(lines, dtype=torch.int64)
        self._at_program = self._program.data_ptr()
        self._run_program = run_program
        # They make masks and logits faster than torch.empty does.
        self._no_bits, self._no_floats = torch.empty(0, dtype=torch.bool), torch.empty(0)

    def __call__(
        self,
        inputs: Tensor,
        masks: Sequence[Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Classifies inputs.

        Args:
            inputs: [batch, ...] on the CPU, or what `prepare` wants.
            masks: bool [batch, num_blocks] by layer, where there are no choosers.
            generator: of the uniform numbers of the rules "sampled" and "sampled_k".

        Returns:
            Logits [batch, num_classes] and the masks.

        Raises:
            TypeError: if inputs or masks have the wrong type.
            ValueError: if shapes do not fit, masks are missing or not wanted, or there is no
                generator to draw from.
        """
        if self.prepare is not None:
            inputs = self.prepare(inputs)
        inputs = self.checked(inputs)
        batch = inputs.shape[0]
        if self.draws and generator is None and self.stream is not None:
            generator = self.stream(inputs)
        if not self.chooses:
            masks = self._checked_masks(masks, batch)
        elif masks is not None:
            raise ValueError("expected no masks: choosers choose them")
        else:
            masks = [self._no_bits.new_empty(batch, n) for n in self.num_blocks]
        logits = self._no_floats.new_empty(batch, self.num_classes)
        uniforms = self._uniforms(batch, generator) if self.draws else ()
        used = (inputs, logits, *masks, *uniforms)
        job = array("q", [self._at_program, *[tensor.data_ptr() for tensor in used]])
        at_job = job.buffer_info()[0]
        if batch < MIN_SHARED_ROWS:
            # A call takes as long as a small network.
            wrong = self._run_program(at_job, 0, batch)
        else:
            refused: list[int] = []
            run_program = self._run_program
            share_rows(lambda *part: refused.append(run_program(at_job, *part)), batch, self._macs)
            wrong = sum(refused)
        if wrong:
            assert self.stem is not None
            raise ValueError(
                f"expected symbols in 0..{self.stem.num_symbols - 1}, got {int(inputs.min())} to "
                f"{int(inputs.max())}"
            )
        return logits, masks

    def checked(self, inputs: Tensor) -> Tensor:
        """Inputs as the program reads them, one after the other in memory.

        Raises:
            TypeError: if they have the wrong type.
            ValueError: if they do not fit; whether there are such symbols, the program finds.
        """
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

    def _uniforms(self, batch: int, generator: torch.Generator | None) -> list[Tensor]:
        if generator is None:
            raise ValueError("expected a generator: masks are drawn")
        return [torch.rand(batch, n, generator=generator) for n in self.num_blocks]

    def _checked_masks(self, masks: Sequence[Tensor] | None, batch: int) -> list[Tensor]:
        shapes = [(batch, n) for n in self.num_blocks]
        if masks is None or [tuple(mask.shape) for mask in masks] != shapes:
            got = "none" if masks is None else [list(mask.shape) for mask in masks]
            raise ValueError(f"expected masks of shapes {shapes}, got {got}")
        if any(mask.dtype is not torch.bool or not mask.is_cpu for mask in masks):
            raise TypeError("expected bool masks on the CPU")
        return [mask.contiguous() for mask in masks]


__all__ = ["Chooser", "FusedClassifier", "why_not_fused"]
