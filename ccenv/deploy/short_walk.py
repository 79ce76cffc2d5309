"""A policy and a network of stages with little between them: (images) -> logits and masks.

One image goes through modules and decisions alone (`ccenv.networks.core.one_row`): of a ResNet-20
half of whose units are skipped, walking layer by layer takes a fifth of the time. Many images walk
as everywhere, under the same rules.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ccenv.deploy.fused.choosers import DRAWN_RULES, Chooser
from ccenv.deploy.policy_scores import GateScores, least_score, mask_of, scores_of
from ccenv.networks.core.one_row import OneRow
from ccenv.networks.core.protocol import num_blocks_of, walk


class ShortWalk:
    """Images to logits and masks, with the weights that the network has now."""

    def __init__(self, network: Any, choosers: Sequence[Chooser], example: Tensor) -> None:
        """Prepares single rows.

        Args:
            network: a `GatedSequential` in evaluation mode, packed before for speed.
            choosers: one for each gate, of its look.
            example: an input [1, ...]; only its shape and dtype matter.

        Raises:
            ValueError: if the network has no single rows, or choosers do not fit it.
        """
        self.network, self.choosers = network, list(choosers)
        self.one = OneRow(network)
        self.scores = GateScores(self.one, self.choosers, example)
        self.num_blocks = num_blocks_of(network)
        self.starts = [0, *itertools.accumulate(self.num_blocks)]
        """where each gate's bits begin among those of all."""
        self.draws = any(chooser.rule in DRAWN_RULES for chooser in choosers)
        self.prepare: Callable[[Tensor], Tensor] | None = None
        """makes what the network sees of the images that a call is given; None: they are it."""
        self.stream: Callable[[Tensor], torch.Generator] | None = None
        """what draws the masks of images where a call is given no generator."""

    @torch.no_grad()
    def __call__(
        self, images: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Classifies images.

        Args:
            images: [batch, ...], or what `prepare` wants.
            generator: of the uniform numbers of the rules "drawn" and "drawn_k".

        Returns:
            Logits [batch, num_classes], and bool [batch, num_blocks] for each gate; behind an exit
            that one image alone has taken, nothing is kept.

        Raises:
            ValueError: if there is no generator to draw from.
        """
        if self.prepare is not None:
            images = self.prepare(images)
        if self.draws and generator is None:
            if self.stream is None:
                raise ValueError("expected a generator: masks are drawn")
            generator = self.stream(images)
        if len(images) == 1:
            # The same numbers as gate by gate.
            drawn = torch.rand(1, self.starts[-1], generator=generator) if self.draws else None
            return self._one(images, drawn)
        uniforms: list[Tensor | None] = [None] * len(self.num_blocks)
        if self.draws:
            uniforms = [torch.rand(len(images), n, generator=generator) for n in self.num_blocks]
        return self._many(images, uniforms)

    def _one(self, image: Tensor, drawn: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        numbers = [0.0] * self.starts[-1] if drawn is None else drawn[0].tolist()
        kept = [False] * self.starts[-1]

        def decide(gate: int, x: Tensor, early: Tensor | None) -> bool | Tensor:
            chooser, start, end = self.choosers[gate], self.starts[gate], self.starts[gate + 1]
            if end - start == 1:
                least = least_score(chooser, numbers[start])
                kept[start] = least == -math.inf or self.scores(gate, x, early) > least
                return kept[start]
            uniform = None if drawn is None else drawn[:, start:end]
            mask = mask_of(chooser, self.scores.all_of(gate, x, early), uniform)
            kept[start:end] = mask[0].tolist()
            return mask

        logits = self.one(image, decide)
        return logits, list(torch.tensor([kept]).split(self.num_blocks, dim=1))

    def _many(
        self, images: Tensor, uniforms: Sequence[Tensor | None]
    ) -> tuple[Tensor, list[Tensor]]:
        masks: list[Tensor] = []

        def choose(gate: int, hidden: Any) -> Tensor:
            scores = scores_of(self.choosers[gate], self.network.look(gate, hidden))
            masks.append(mask_of(self.choosers[gate], scores, uniforms[gate]))
            return masks[-1]

        return walk(self.network, images, choose), masks
