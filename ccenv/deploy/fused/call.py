"""A program that is ready to run: (inputs, masks or a generator) -> logits and masks, in one call.

For one input the calls between layers take longer than the layers themselves: here there is one
call in all. What the inputs are, `FusedClassifier` and `FusedTokens` say.
"""

from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ccenv.deploy.fused.choosers import AnyChooser, draws
from ccenv.deploy.fused.program import header, run_program
from ccenv.deploy.fused.writer import Writer
from ccenv.sparse.cpu.addresses import MIN_SHARED_ROWS, share_rows

# Rows at once: enough to share weights, few enough that what lies between layers stays in cache.
CHUNK_BYTES, MIN_CHUNK = 1 << 19, 64


class CompiledCall(ABC):
    """Inputs to logits in one compiled call, on copies of the weights as they are now."""

    def __init__(
        self,
        writer: Writer,
        choosers: Sequence[AnyChooser] | None,
        *,
        num_blocks: Sequence[int],
        in_floats: int,
        num_classes: int,
        macs: int,
    ) -> None:
        """Finishes a program.

        Args:
            writer: of its instructions.
            choosers: one for each gated layer; None where the caller gives masks.
            num_blocks: of each gated layer.
            in_floats: of an input, 4 bytes each.
            num_classes: columns of the logits.
            macs: of an input at most, for sharing between threads.
        """
        self.num_blocks, self.num_classes = tuple(num_blocks), num_classes
        self.prepare: Callable[[Tensor], Tensor] | None = None
        """makes what the network sees of the inputs that a call is given; None: they are it."""
        self.stream: Callable[[Tensor], torch.Generator] | None = None
        """what draws the masks of inputs where a call is given no generator."""
        self.draws = draws(choosers)
        # Where there is no gated layer there is nothing to choose.
        self.chooses = choosers is not None or not self.num_blocks
        self._macs, self._writer = macs, writer
        first = header(
            len(writer.codes),
            len(self.num_blocks),
            in_floats,
            num_classes,
            max(MIN_CHUNK, CHUNK_BYTES // (4 * writer.floats)),
            writer.floats,
        )
        self._program = torch.tensor([first, *writer.codes], dtype=torch.int64)
        self._at_program = self._program.data_ptr()
        # They make masks and logits faster than torch.empty does.
        self._no_bits, self._no_floats = torch.empty(0, dtype=torch.bool), torch.empty(0)

    @abstractmethod
    def checked(self, inputs: Tensor) -> Tensor:
        """Inputs as the program reads them, one after the other in memory.

        Raises:
            TypeError: if they have the wrong type.
            ValueError: if they do not fit.
        """

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
            generator: of the uniform numbers of the rules "drawn" and "drawn_k".

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
            wrong = run_program(at_job, 0, batch)
        else:
            found: list[int] = []
            share_rows(lambda *part: found.append(run_program(at_job, *part)), batch, self._macs)
            wrong = sum(found)
        if wrong:
            raise self.refused(inputs)
        return logits, masks

    def refused(self, inputs: Tensor) -> Exception:
        """The error of inputs that a program has refused."""
        return ValueError(f"expected inputs that the program reads, got {list(inputs.shape)}")

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
